import { execFile, spawn } from 'node:child_process'
import { accessSync, constants, mkdirSync, readdirSync, renameSync, rmSync, statSync } from 'node:fs'
import { createRequire } from 'node:module'
import { homedir } from 'node:os'
import { delimiter, dirname, join } from 'node:path'
import { promisify } from 'node:util'
import { foreignEnvironment, inheritedEnvironment } from '../config.js'
import type { Output } from './output.js'
import { killProcess, identify } from './processes.js'
import { StartError } from './start-error.js'

/** The newest version that `go install` can build; also the one that is downloaded, so that all machines run the same. */
const VERSION = 'v1.5.1'
/** The server inside a CLI of one's own must not be older than what this system is tested with. */
const OLDEST_SERVER = [1, 29] as const
const DOWNLOAD_STALL_MS = 30_000
const BUILD_LIMIT_MS = 20 * 60_000

export interface TemporalBinary {
  path: string
  /** Of the server inside, such as "1.29.1". */
  serverVersion: string
}

export interface FindTemporalOptions {
  /** The user's own choice (TEMPORAL_CLI): this one or none. */
  chosen?: string | undefined
  /** The folder for what is downloaded or built. */
  cacheDir?: string
  /** Gets a progress line while something is downloaded or built. */
  output: Output
  signal?: AbortSignal | undefined
}

/**
 * Finds the `temporal` binary: TEMPORAL_CLI, `temporal` on the PATH, the user's cache folder, the SDK's official
 * download, `go install`, the first that works. Throws a StartError: one sentence for a TEMPORAL_CLI that does not work,
 * else all that was tried, each with its reason.
 */
export async function findTemporal({
  chosen,
  cacheDir = userCache(),
  output,
  signal,
}: FindTemporalOptions): Promise<TemporalBinary> {
  if (chosen !== undefined) {
    try {
      return await check(chosen)
    } catch (error) {
      throw new StartError(`TEMPORAL_CLI names ${chosen}, which does not work: ${reason(error)}.`)
    }
  }
  const cached = join(cacheDir, `temporal-${VERSION}`, 'temporal')
  const fetched = (what: string, fetch: (folder: string) => Promise<void>) =>
    output.during(what, () => fetchTo(cached, fetch))
  const sources: Record<string, () => Promise<TemporalBinary>> = {
    'on the PATH': async () => recentEnough(await check(onPath('temporal'))),
    [`in the cache (${cached})`]: async () => await check(present(cached)),
    "the SDK's download": async () => await fetched('Temporal: downloading its CLI', (to) => download(to, signal)),
    'go install': async () => {
      const go = onPath('go')
      return await fetched('Temporal: building its CLI with Go, once', (to) => build(go, to, signal))
    },
  }
  const tried: string[] = []
  for (const [where, find] of Object.entries(sources)) {
    try {
      return await find()
    } catch (error) {
      signal?.throwIfAborted()
      tried.push(`  ${where}: ${reason(error)}`)
    }
  }
  throw new StartError(
    'No `temporal` binary could be found or fetched. Install it (https://docs.temporal.io/cli) and start again, or set TEMPORAL_CLI to its path.',
    `Tried:\n${tried.join('\n')}`,
  )
}

/** Fetches into a folder beside the cache's, and moves what works into place at once, for others may be at it as well. */
async function fetchTo(cached: string, fetch: (folder: string) => Promise<void>): Promise<TemporalBinary> {
  const folder = join(dirname(cached), `unfinished-${process.pid}`)
  mkdirSync(folder, { recursive: true })
  try {
    await fetch(folder)
    const file = join(folder, readdirSync(folder).find((name) => name.startsWith('temporal')) ?? 'temporal')
    await check(file)
    renameSync(file, cached)
    return await check(cached)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

/** A candidate counts when it says its version. Throws an Error whose message says what it did instead. */
async function check(path: string): Promise<TemporalBinary> {
  const env = foreignEnvironment()
  const { stdout } = await promisify(execFile)(path, ['--version'], { env, timeout: 20_000, killSignal: 'SIGKILL' })
  const serverVersion = /^temporal version .*\bServer (\d+\.\d+\.\d+)/i.exec(stdout)?.[1]
  if (!serverVersion)
    throw new Error(`it is not Temporal's CLI (\`--version\` prints ${JSON.stringify(stdout.slice(0, 60).trim())})`)
  return { path, serverVersion }
}

function recentEnough(binary: TemporalBinary): TemporalBinary {
  const [major = 0, minor = 0] = binary.serverVersion.split('.').map(Number)
  if (major > OLDEST_SERVER[0] || (major === OLDEST_SERVER[0] && minor >= OLDEST_SERVER[1])) return binary
  throw new Error(
    `${binary.path} has server ${binary.serverVersion}, older than ${OLDEST_SERVER.join('.')} (TEMPORAL_CLI=${binary.path} uses it all the same)`,
  )
}

/**
 * Lets the SDK download the CLI: it does so on its way to a test server, which is stopped at once. In a process of its
 * own, which can be ended: the download itself takes no time limit, and a network that swallows packets has no end.
 */
async function download(folder: string, signal: AbortSignal | undefined): Promise<void> {
  const sdk = createRequire(import.meta.url).resolve('@temporalio/testing')
  const script = `
    const [sdk, downloadDir, version] = process.argv.slice(1)
    const { TestWorkflowEnvironment } = require(sdk)
    TestWorkflowEnvironment.createLocal({ server: { executable: { type: 'cached-download', downloadDir, version } } })
      .then((server) => server.teardown())
      .catch((error) => { console.error(error.message); process.exitCode = 1 })`
  const growing = () => readdirSync(folder).reduce((bytes, name) => bytes + statSync(join(folder, name)).size, 0)
  const run = execute(process.execPath, ['--input-type=commonjs', '-e', script, sdk, folder, VERSION], { signal })
  let seen = { bytes: 0, at: Date.now() }
  const watch = setInterval(() => {
    const bytes = growing()
    if (bytes !== seen.bytes) seen = { bytes, at: Date.now() }
    else if (Date.now() - seen.at > DOWNLOAD_STALL_MS) run.end(`nothing arrived for ${DOWNLOAD_STALL_MS / 1_000} s`)
  }, 1_000)
  try {
    await run.done
  } finally {
    clearInterval(watch)
  }
}

async function build(go: string, folder: string, signal: AbortSignal | undefined): Promise<void> {
  const env = { ...foreignEnvironment(), GOBIN: folder }
  const run = execute(go, ['install', `github.com/temporalio/cli/cmd/temporal@${VERSION}`], { env, signal })
  const limit = setTimeout(() => run.end(`not done after ${BUILD_LIMIT_MS / 60_000} minutes`), BUILD_LIMIT_MS)
  try {
    await run.done
  } finally {
    clearTimeout(limit)
  }
}

interface Execution {
  /** Rejects with what the program said last, where it fails. */
  done: Promise<void>
  /** Kills it with all that it started. */
  end(why: string): void
}

function execute(
  file: string,
  args: string[],
  { env, signal }: { env?: NodeJS.ProcessEnv; signal: AbortSignal | undefined },
): Execution {
  const child = spawn(file, args, { env, detached: true, stdio: ['ignore', 'ignore', 'pipe'] })
  const record = child.pid === undefined ? undefined : identify(child.pid)
  let said = ''
  let ended: string | undefined
  child.stderr.setEncoding('utf8').on('data', (text: string) => (said = (said + text).slice(-4_000)))
  const end = (why: string) => {
    ended = why
    if (record) killProcess(record)
  }
  const onAbort = () => end('given up')
  const done = new Promise<void>((resolve, reject) => {
    child.once('error', reject)
    child.once('close', (code) =>
      code === 0 ? resolve() : reject(new Error(ended ?? (lastWords(said) || `exit code ${code}`))),
    )
    if (signal?.aborted) onAbort()
    signal?.addEventListener('abort', onAbort, { once: true })
  }).finally(() => signal?.removeEventListener('abort', onAbort))
  return { done, end }
}

function onPath(name: string): string {
  for (const folder of (inheritedEnvironment().PATH ?? '').split(delimiter)) {
    const file = join(folder, name)
    try {
      accessSync(file, constants.X_OK)
      if (folder && statSync(file).isFile()) return file
    } catch {
      // Not in this one.
    }
  }
  throw new Error(`there is no \`${name}\` on the PATH`)
}

function present(file: string): string {
  if (!statSync(file, { throwIfNoEntry: false })) throw new Error('nothing there')
  return file
}

function userCache(): string {
  return join(inheritedEnvironment().XDG_CACHE_HOME || join(homedir(), '.cache'), 'durable-sagas')
}

/** Go reports each module that it fetches; what went wrong stands at the end. */
function lastWords(said: string): string {
  const lines = said.split('\n').map((line) => line.trim())
  return lines
    .filter((line) => line && !line.startsWith('go: downloading'))
    .slice(-2)
    .join(' ')
}

/** What execFile rejects with: `code` is the exit code where the program ran. */
interface Failure extends Error {
  code?: string | number
  syscall?: string
  killed?: boolean
}

/** Why a candidate fell out, as a part of a sentence. */
function reason(error: unknown): string {
  const { code, syscall, killed, message } = error as Failure
  if (syscall?.startsWith('spawn')) return code === 'ENOENT' ? 'there is no such program' : 'it may not be executed'
  if (killed) return '`--version` gets no answer'
  if (typeof code === 'number') return `\`--version\` ends with exit code ${code}`
  return message.trim().replace(/\.$/, '')
}

import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import {
  chownSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
} from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { promisify } from 'node:util'
import { Client } from 'pg'
import { isDatabaseAway } from '../saga/node/db.js'
import { writeWhole } from './files.js'
import { findBinaries, postgresUser, type User } from './postgres-binaries.js'
import { findPostgresHome } from './postgres-home.js'
import { findPorts } from '../system/ports.js'
import { commandLine, type Ending, endProcess, identify, isPidTaken, isRunning } from '../system/processes.js'
import { type Server, type ServerProcess, spawnServer, untilUp } from './servers.js'
import { StartError } from '../system/start-error.js'

export interface PostgresOptions {
  /** The server's own folder: its password and, in `data`, the cluster. Made where it is missing. */
  dataDir: string
  /** On 127.0.0.1; 0: any free one. */
  port: number
  /** Gets the server's log, appended. */
  logFile: string
  /** Where to note its process, see `readRecord`. */
  recordFile?: string
  /** Gives the start up. */
  signal?: AbortSignal
}

export interface PostgresServer extends Server {
  /** Of the database `saga`, with user and password. */
  url: string
  port: number
  /** Such as "18.4". */
  version: string
  /** Where the data really is: not under `dataDir` where the user `postgres` cannot reach that. */
  home: string
}

/** SIGINT: PostgreSQL's fast shutdown. SIGQUIT: at once, with a recovery at the next start. */
export const STOP_POSTGRES: Ending = [
  ['SIGINT', 4_500],
  ['SIGQUIT', 1_000],
  ['SIGKILL', 1_000],
]

const DATABASE = 'saga'
/** Terse: the details of an error would put the values of a row, which may be personal, into the log. */
const SETTINGS = {
  listen_addresses: '127.0.0.1',
  unix_socket_directories: '',
  max_connections: 200,
  log_error_verbosity: 'terse',
}
/** No PG* or locale of the caller: they change where initdb and the server look, and the language of their log. */
const ENVIRONMENT = { PATH: '/usr/local/bin:/usr/bin:/bin', LC_ALL: 'C' }
const UP_TIMEOUT_MS = 120_000 // a recovery after a crash takes its time

/**
 * Starts a real PostgreSQL on 127.0.0.1 and resolves when it answers and has its database `saga`. The first start makes
 * the cluster (1 to 2 s). A server that an earlier, killed program left on the same data is stopped first. Durability is
 * PostgreSQL's default: what was committed survives a kill -9. Any number of servers may run side by side, each with
 * its own folder. Throws a StartError that says what is wrong.
 */
export async function startPostgres(options: PostgresOptions): Promise<PostgresServer> {
  const user = chooseUser(options.dataDir)
  const bin = join(findBinaries(user), 'bin')
  const home = realpathSync(findPostgresHome(options.dataDir, user))
  const data = join(home, 'data')
  await stopEarlier(data)
  const password = readOrMakePassword(home)
  if (!existsSync(data)) await initialise({ initdb: join(bin, 'initdb'), home, user, signal: options.signal })

  const port =
    options.port || (await findPorts({ port: { variable: 'POSTGRES_PORT', host: '127.0.0.1', port: 0 } })).port
  const makeUrl = (database: string) => `postgres://postgres:${password}@127.0.0.1:${port}/${database}`
  const probe = (signal: AbortSignal) => makeDatabase(makeUrl, signal)
  const settings = Object.entries(SETTINGS).flatMap(([name, value]) => ['-c', `${name}=${value}`])
  const { logFile, recordFile, signal } = options
  const args = ['-D', data, '-p', String(port), ...settings]

  for (let retries = 0; ; retries++) {
    const server = await spawnServer({ file: join(bin, 'postgres'), args, env: ENVIRONMENT, user, logFile, recordFile })
    try {
      const version = await untilUp(server, probe, { name: 'PostgreSQL', timeoutMs: UP_TIMEOUT_MS, signal })
      return { url: makeUrl(DATABASE), port, version, home, ...manage(server) }
    } catch (error) {
      // Its processes outlive a killed postmaster for a moment, and hold its memory so long.
      const lingering = error instanceof StartError && /pre-existing shared memory block/.test(error.detail ?? '')
      if (!lingering || retries === 50) throw error
      await delay(200)
    }
  }
}

function manage({ record, exited }: ServerProcess): Server {
  return { pid: record.pid, exited, stop: () => endProcess(record, STOP_POSTGRES) }
}

/** Waits until the server takes connections, makes the database where it is missing, and returns the server's version. */
async function makeDatabase(makeUrl: (database: string) => string, signal: AbortSignal): Promise<string> {
  for (;;) {
    const client = new Client({ connectionString: makeUrl('postgres'), connectionTimeoutMillis: 5_000 })
    client.on('error', () => {})
    try {
      await client.connect()
      const { rows } = await client.query(
        `SELECT current_setting('server_version') AS version, EXISTS (SELECT FROM pg_database WHERE datname = $1) AS present`,
        [DATABASE],
      )
      if (!rows[0].present) await client.query(`CREATE DATABASE ${DATABASE}`)
      return rows[0].version
    } catch (error) {
      if (!isDatabaseAway(error))
        throw new StartError(`PostgreSQL refuses its own connection: ${(error as Error).message}.`)
    } finally {
      await client.end().catch(() => {})
    }
    await delay(40, undefined, { signal })
  }
}

/**
 * The user to run as: root takes an ordinary user's data over as that user, or PostgreSQL would refuse it.
 */
function chooseUser(dataDir: string): User | undefined {
  const owner = process.getuid?.() === 0 ? statSync(join(dataDir, 'data'), { throwIfNoEntry: false }) : undefined
  return owner && owner.uid !== 0 ? { uid: owner.uid, gid: owner.gid } : postgresUser()
}

/**
 * Stops the postmaster that still runs on this data, or takes its `postmaster.pid` away where that is known to name
 * another process: PostgreSQL refuses to start as long as any process has that pid.
 */
async function stopEarlier(data: string): Promise<void> {
  const pidFile = join(data, 'postmaster.pid')
  if (!existsSync(pidFile)) return
  const pid = Number.parseInt(readFileSync(pidFile, 'utf8'), 10)
  const record = identify(pid)
  if (!record) {
    // Killed, but perhaps not yet buried by its parent; in a container whose first process buries nobody, never.
    for (let waits = 0; isPidTaken(pid) && waits < 40; waits++) await delay(50)
    if (isPidTaken(pid)) rmSync(pidFile, { force: true })
    return
  }
  const command = commandLine(pid)
  if (command?.includes(`-D ${data} `)) {
    await endProcess(record, STOP_POSTGRES)
    if (isRunning(record)) throw new StartError(`PostgreSQL of an earlier run (pid ${pid}) cannot be stopped.`)
  } else if (command && !/(^|\/)postgres:? /.test(command)) {
    rmSync(pidFile) // The pid has passed to another program, as it soon does in containers.
  }
}

function readOrMakePassword(home: string): string {
  const file = join(home, 'password')
  if (!existsSync(file)) {
    if (existsSync(join(home, 'data')))
      throw new StartError(
        `The database's password is missing (${file}); put it back, or remove ${home} to begin anew.`,
      )
    writeWhole(file, randomBytes(24).toString('hex'))
  }
  return readFileSync(file, 'utf8').trim()
}

interface Initialisation {
  initdb: string
  home: string
  user: User | undefined
  signal: AbortSignal | undefined
}

/** Makes the cluster beside its place and moves it there when it is whole, so that an interrupted one is in nobody's way. */
async function initialise({ initdb, home, user, signal }: Initialisation): Promise<void> {
  for (const name of readdirSync(home)) {
    if (name.startsWith('unfinished-')) rmSync(join(home, name), { recursive: true, force: true, maxRetries: 5 })
  }
  const unfinished = join(home, `unfinished-${process.pid}`)
  mkdirSync(unfinished, { mode: 0o700 })
  if (user) for (const path of [unfinished, join(home, 'password')]) chownSync(path, user.uid, user.gid)
  try {
    // The built-in C.UTF-8: the same order and the same rules for letters on every machine, whatever its locale.
    const locale = ['--encoding=UTF8', '--locale=C', '--locale-provider=builtin', '--builtin-locale=C.UTF-8']
    const access = ['--username=postgres', '--auth=scram-sha-256', `--pwfile=${join(home, 'password')}`]
    const run = { ...user, cwd: '/', env: ENVIRONMENT }
    const args = [`--pgdata=${unfinished}`, ...access, ...locale, '--no-instructions']
    signal?.throwIfAborted()
    const made = promisify(execFile)(initdb, args, run)
    // Not by execFile's own `signal`, which does not wait until initdb, and what that has started, is gone.
    const kill = () => made.child.kill('SIGKILL')
    signal?.addEventListener('abort', kill)
    await made.finally(() => signal?.removeEventListener('abort', kill))
    renameSync(unfinished, join(home, 'data'))
  } catch (error) {
    rmSync(unfinished, { recursive: true, force: true, maxRetries: 5 })
    signal?.throwIfAborted()
    const { stderr, message } = error as Error & { stderr?: string }
    throw new StartError(`PostgreSQL's files could not be made in ${home}.`, stderr?.trim() || message)
  }
}

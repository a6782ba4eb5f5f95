import { execFile } from 'node:child_process'
import { devNull } from 'node:os'
import { setTimeout as delay } from 'node:timers/promises'
import { promisify } from 'node:util'
import { foreignEnvironment } from '../config.js'
import { findPorts } from '../system/ports.js'
import { type Ending, endProcess } from '../system/processes.js'
import { type Server, spawnServer, untilUp } from './servers.js'

export interface TemporalOptions {
  /** The `temporal` binary. */
  cli: string
  /** The server's database; its folder must be there. */
  dbFile: string
  /** On 127.0.0.1; 0: any free one. */
  port: number
  /** Of the Web UI; 0: any free one. Left out: no Web UI. */
  uiPort?: number
  /** Where its Web UI has payloads decrypted. */
  codecEndpoint?: string | undefined
  /** Gets the server's warnings and errors, appended. */
  logFile: string
  /** Where to note its process, see `readRecord`. */
  recordFile?: string
  /** Gives the start up. */
  signal?: AbortSignal
}

export interface TemporalServer extends Server {
  /** Such as "127.0.0.1:7233". */
  address: string
  port: number
  uiUrl?: string
}

export const STOP_TEMPORAL: Ending = [
  ['SIGTERM', 4_000],
  ['SIGKILL', 1_000],
]

const UP_TIMEOUT_MS = 60_000

/**
 * Starts Temporal's dev server on 127.0.0.1, with its state in a file, and resolves when it answers and its namespace
 * `default` keeps closed workflows for 30 days (its own default is 24 hours). Any number may run side by side, each with
 * its own file. Throws a StartError that says what is wrong.
 */
export async function startTemporal(options: TemporalOptions): Promise<TemporalServer> {
  const { cli, dbFile, codecEndpoint, logFile, recordFile, signal } = options
  const host = '127.0.0.1'
  const { port, uiPort } = await choosePorts(options.port, options.uiPort)
  const address = `${host}:${port}`
  const args = [
    ...['server', 'start-dev', '--ip', host, '--port', String(port), '--db-filename', dbFile],
    ...(uiPort === undefined ? ['--headless'] : ['--ui-port', String(uiPort)]),
    ...(codecEndpoint === undefined ? [] : ['--ui-codec-endpoint', codecEndpoint]),
    ...['--search-attribute', 'SagaStatus=Keyword'],
    // As safe as the default journal, and 1.3 to 1.8 times as fast.
    ...['--sqlite-pragma', 'journal_mode=wal', '--sqlite-pragma', 'synchronous=full'],
    // Its default, 20 polls a second, lets every regular activity wait 100 ms: the dev server has a single shard.
    ...['--dynamic-config-value', 'history.transferProcessorMaxPollRPS=1000'],
    ...['--log-level', 'warn', '--log-format', 'json', '--color', 'never'],
  ]
  const server = await spawnServer({ file: cli, args, env: withoutTemporalSettings(), logFile, recordFile })
  await untilUp(server, (over) => setRetention({ cli, address, signal: over }), {
    name: 'Temporal',
    timeoutMs: UP_TIMEOUT_MS,
    signal,
  })
  return {
    address,
    port,
    ...(uiPort === undefined ? {} : { uiUrl: `http://${host}:${uiPort}` }),
    pid: server.record.pid,
    exited: server.exited,
    stop: () => endProcess(server.record, STOP_TEMPORAL),
    check: (signal) => readNamespace({ cli, address, signal }),
  }
}

/**
 * Our environment, or the part of it given, without what would point a Temporal client, or this server, elsewhere: the
 * user's TEMPORAL_* and temporal.toml, which may well hold the keys of a cloud.
 */
export function withoutTemporalSettings(environment = foreignEnvironment()): NodeJS.ProcessEnv {
  const others = Object.entries(environment).filter(([name]) => !name.startsWith('TEMPORAL_'))
  return { ...Object.fromEntries(others), TEMPORAL_CONFIG_FILE: devNull }
}

/** Asked until it succeeds, and so the proof that the server answers and has its namespace. A call takes some 60 ms. */
async function setRetention({
  cli,
  address,
  signal,
}: {
  cli: string
  address: string
  signal: AbortSignal
}): Promise<void> {
  const args = ['operator', 'namespace', 'update', '--namespace', 'default', '--retention', '30d', '--address', address]
  for (;;) {
    try {
      await promisify(execFile)(cli, args, { env: withoutTemporalSettings(), signal, timeout: 10_000 })
      return
    } catch {
      await delay(50, undefined, { signal })
    }
  }
}

/**
 * Rejects where the server can't read its namespace from its store. SQLite has been seen to answer every call with "interrupted
 * (9)" for minutes, until the process was killed, while the server went on answering what needs no store.
 */
async function readNamespace({ cli, address, signal }: { cli: string; address: string; signal: AbortSignal }) {
  const args = ['operator', 'namespace', 'describe', '--namespace', 'default', '--address', address]
  try {
    await promisify(execFile)(cli, args, { env: withoutTemporalSettings(), signal, killSignal: 'SIGKILL' })
  } catch (error) {
    const { code } = error as { code?: string | number }
    // The question could not even be put, as where the machine has no room for a process: that says nothing of the server.
    if (typeof code === 'string' && code !== 'ABORT_ERR') return
    throw error
  }
}

async function choosePorts(
  port: number,
  uiPort: number | undefined,
): Promise<{ port: number; uiPort: number | undefined }> {
  const host = '127.0.0.1'
  const wanted = {
    port: { variable: 'TEMPORAL_PORT', host, port },
    uiPort: { variable: 'TEMPORAL_UI_PORT', host, port: uiPort ?? 0 },
  }
  const found = port === 0 || uiPort === 0 ? await findPorts(wanted) : { port, uiPort: uiPort ?? 0 }
  return { port: found.port, uiPort: uiPort === undefined ? undefined : found.uiPort }
}

import { inheritedEnvironment, loadPayloadKeys, type StartConfig } from '../config.js'
import { migrate } from '../migrations.js'
import { type AppServer, startApp } from './app-process.js'
import { makeDataFolder, removeUrls, runningParts, stopParts, takeDataFolder, writeUrls } from './data-folder.js'
import { KeptPart } from './kept-part.js'
import { type Output, seconds } from '../system/output.js'
import { findPorts } from '../system/ports.js'
import { startPostgres } from './postgres.js'
import { killProcess } from '../system/processes.js'
import { dataPaths, type Part } from '../system/running-system.js'
import type { Server } from './servers.js'
import { startTemporal, withoutTemporalSettings } from './temporal.js'
import { findTemporal } from '../system/temporal-binary.js'

export interface SuperviseOptions {
  config: StartConfig
  /** The program of the child process with API and worker. */
  appPath: string
  output: Output
  /** Stops everything cleanly, also in the middle of the start. */
  stop: AbortSignal
  /** Kills what has not stopped yet. */
  kill: AbortSignal
}

const NAMES: Record<Part, string> = { app: 'API + worker', temporal: 'Temporal', postgres: 'PostgreSQL' }

/**
 * Runs the whole system on one data folder: PostgreSQL, Temporal, the migrations, and a child process with API and
 * worker. Restarts what dies; resolves when `stop` has been given and nothing runs any more. Throws a StartError, with
 * nothing left running, when a part cannot come up at its first start or the folder is in use.
 *
 * Should this process be killed, the child ends by itself and stops the others (`stopLeftovers`); should the child be
 * killed as well, the next start does so.
 */
export async function supervise({ config, appPath, output, stop, kill }: SuperviseOptions): Promise<void> {
  const begun = Date.now()
  const dataDir = dataPaths(config.DATA_DIR).root
  makeDataFolder(dataDir)
  takeDataFolder(dataDir)
  removeUrls(dataDir)
  kill.addEventListener('abort', () => runningParts(dataDir).forEach(({ record }) => killProcess(record)))
  const parts: Partial<Record<Part, KeptPart<Server>>> = {}
  try {
    await stopEarlierRun(dataDir, output)
    await startAll({ config, dataDir, appPath, output, stop, parts })
    output.line(`Ready in ${seconds(Date.now() - begun)}. Ctrl-C stops everything.`)
    await new Promise((resolve) => stop.addEventListener('abort', resolve, { once: true }))
  } catch (error) {
    if (!stop.aborted) throw error
  } finally {
    const stopping = Date.now()
    if (stop.aborted) output.line('\nStopping …')
    removeUrls(dataDir)
    for (const part of ['app', 'temporal', 'postgres'] as const) await parts[part]?.stop()
    await stopParts(dataDir)
    if (stop.aborted) output.line(`Stopped in ${seconds(Date.now() - stopping)}; the data stays in ${config.DATA_DIR}.`)
  }
}

interface StartAll extends Pick<SuperviseOptions, 'config' | 'appPath' | 'output' | 'stop'> {
  dataDir: string
  /** Gets each part as soon as it runs, so that a start that fails later can stop it. */
  parts: Partial<Record<Part, KeptPart<Server>>>
}

async function startAll({ config, dataDir, appPath, output, stop, parts }: StartAll): Promise<void> {
  const paths = dataPaths(dataDir)
  const local = '127.0.0.1'
  const ports = await findPorts({
    postgres: { variable: 'POSTGRES_PORT', host: local, port: config.POSTGRES_PORT },
    temporal: { variable: 'TEMPORAL_PORT', host: local, port: config.TEMPORAL_PORT },
    temporalUi: { variable: 'TEMPORAL_UI_PORT', host: local, port: config.TEMPORAL_UI_PORT },
    api: { variable: 'PORT', host: config.HOST, port: config.PORT },
  })
  const files = (part: Part) => ({ logFile: paths.log(part), recordFile: paths.record(part) })
  const failing = new AbortController()
  const signal = AbortSignal.any([stop, failing.signal])

  const postgresUp = async () => {
    const begun = Date.now()
    const start = (signal: AbortSignal) =>
      startPostgres({ dataDir: paths.postgres, port: ports.postgres, ...files('postgres'), signal })
    const postgres = (parts.postgres = await KeptPart.start(NAMES.postgres, { start, output, signal }))
    const { version, url } = postgres.current
    output.part(`PostgreSQL ${version}`, { ms: Date.now() - begun, where: `${local}:${ports.postgres}` })
    const migrating = Date.now()
    const applied = await migrate(url)
    if (applied.length > 0) output.part('Migrations', { ms: Date.now() - migrating, did: `${applied.length} applied` })
    return postgres
  }
  const codec = loadPayloadKeys().areThere ? `http://${reachable(config.HOST)}:${ports.api}/codec` : undefined
  const temporalUp = async () => {
    const cli = await findTemporal({ chosen: config.TEMPORAL_CLI, output, signal })
    const begun = Date.now()
    const start = (signal: AbortSignal) =>
      startTemporal({
        cli: cli.path,
        dbFile: paths.temporalDb,
        port: ports.temporal,
        uiPort: ports.temporalUi,
        codecEndpoint: codec,
        ...files('temporal'),
        signal,
      })
    const temporal = (parts.temporal = await KeptPart.start(NAMES.temporal, { start, output, signal }))
    output.part(`Temporal ${cli.serverVersion}`, { ms: Date.now() - begun, where: temporal.current.address })
    return { temporal, cli }
  }
  const [postgres, { temporal, cli }] = await allOrNone([postgresUp(), temporalUp()], failing)

  const begun = Date.now()
  const temporalUi = `http://${local}:${ports.temporalUi}`
  const env = {
    ...withoutTemporalSettings(inheritedEnvironment()),
    DATABASE_URL: postgres.current.url,
    TEMPORAL_ADDRESS: temporal.current.address,
    TEMPORAL_NAMESPACE: 'default',
    TEMPORAL_UI_URL: temporalUi,
    PORT: String(ports.api),
    HOST: config.HOST,
    SAGA_DATA_DIR: dataDir,
  }
  const start = async (signal: AbortSignal): Promise<AppServer> => {
    await Promise.all([postgres.up, temporal.up])
    return await startApp({ path: appPath, env, ...files('app'), signal })
  }
  const app = (parts.app = await KeptPart.start(NAMES.app, { start, output, signal }))
  const { url } = app.current
  output.part(NAMES.app, { ms: Date.now() - begun, where: `${config.HOST}:${ports.api}` })
  writeUrls(dataDir, {
    api: url,
    temporal: temporal.current.address,
    temporalUi,
    database: postgres.current.url,
    temporalCli: cli.path,
    ...(codec !== undefined && { codec }),
  })
  output.urls({ 'Web page and API': url, 'Temporal Web UI': temporalUi, Logs: `${config.DATA_DIR}/logs` })
}

/** The address under which this machine reaches what listens on `host`. */
function reachable(host: string): string {
  if (host === '0.0.0.0' || host === '::') return '127.0.0.1'
  return host.includes(':') ? `[${host}]` : host
}

/** Both results; or, when one fails, its error, once the other one has given up too. */
async function allOrNone<A, B>(work: [Promise<A>, Promise<B>], failing: AbortController): Promise<[A, B]> {
  try {
    return await Promise.all(work)
  } catch (error) {
    failing.abort()
    await Promise.allSettled(work)
    throw error
  }
}

async function stopEarlierRun(dataDir: string, output: Output): Promise<void> {
  const left = runningParts(dataDir)
  if (left.length === 0) return
  output.note(`An earlier run was killed; stopping what it left: ${left.map(({ part }) => NAMES[part]).join(', ')}.`)
  await stopParts(dataDir)
}

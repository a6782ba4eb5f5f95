import { execFile } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { Client as Postgres } from 'pg'
import { startApp, type AppServer } from '../embedded/app-process.js'
import { Output } from '../system/output.js'
import { startPostgres, type PostgresServer } from '../embedded/postgres.js'
import { startTemporal, withoutTemporalSettings, type TemporalServer } from '../embedded/temporal.js'
import { findTemporal } from '../system/temporal-binary.js'
import { migrate } from '../migrations.js'

/** What a bench is run on: servers of its own, with the settings of `npm start`. */
export interface BenchServers {
  postgres: PostgresServer
  temporal: TemporalServer
  /** Such as "1.31.2". */
  temporalVersion: string
  /** A migrated database and a Temporal namespace that nobody else uses. */
  makeHome: (name: string) => Promise<Home>
  /** Starts a program of `src/bench/` or beside it as a process that says when it is ready. */
  start: (home: Home, program: string, env?: NodeJS.ProcessEnv) => Promise<AppServer>
  /** To be called, last first, when the bench is over. */
  stops: (() => Promise<unknown>)[]
  output: Output
  signal: AbortSignal
}

/** Where a program works, with none of another's work to do. */
export interface Home {
  name: string
  database: Postgres
  env: NodeJS.ProcessEnv
}

/** Runs a bench on servers of its own and stops them; the exit code. */
export async function runBench(bench: (servers: BenchServers) => Promise<void>): Promise<number> {
  const output = new Output(process.stderr)
  const folder = mkdtempSync(join(tmpdir(), 'saga-bench-'))
  const log = (name: string) => join(folder, 'logs', `${name}.log`)
  mkdirSync(join(folder, 'logs'))
  const stops: BenchServers['stops'] = [async () => rmSync(folder, { recursive: true, force: true })]
  const interrupted = new AbortController()
  for (const name of ['SIGINT', 'SIGTERM'] as const) {
    process.once(name, () => interrupted.abort(new Error(`stopped by ${name}`)))
  }
  const { signal } = interrupted
  try {
    const { path: cli, serverVersion: temporalVersion } = await findTemporal({ chosen: undefined, output, signal })
    const dataDir = join(folder, 'postgres')
    const postgres = await startPostgres({ dataDir, port: 0, logFile: log('postgres'), signal })
    stops.unshift(async () => {
      await postgres.stop()
      rmSync(postgres.home, { recursive: true, force: true })
    })
    const dbFile = join(folder, 'temporal.db')
    const temporal = await startTemporal({ cli, dbFile, port: 0, uiPort: 0, logFile: log('temporal'), signal })
    stops.unshift(() => temporal.stop())
    const admin = await connect(postgres.url)
    stops.unshift(() => admin.end())
    const makeHome = async (name: string): Promise<Home> => {
      await admin.query(`CREATE DATABASE "${name}"`)
      const url = Object.assign(new URL(postgres.url), { pathname: `/${name}` }).href
      await migrate(url)
      const database = await connect(url)
      stops.unshift(() => database.end())
      const args = ['operator', 'namespace', 'create', '--address', temporal.address, '--retention', '30d', '-n', name]
      await promisify(execFile)(cli, args, { env: withoutTemporalSettings() })
      const env = {
        ...withoutTemporalSettings(),
        DATABASE_URL: url,
        TEMPORAL_ADDRESS: temporal.address,
        TEMPORAL_NAMESPACE: name,
        PORT: '0',
        HOST: '127.0.0.1',
        API_TOKENS: '',
        SAGA_GROUPING: 'off',
      }
      return { name, database, env }
    }
    const start: BenchServers['start'] = async ({ name, env }, program, more = {}) => {
      const path = fileURLToPath(new URL(program, import.meta.url))
      const server = await startApp({
        path,
        env: { ...env, ...more },
        logFile: log(name),
        recordFile: join(folder, `${name}.json`),
        signal,
      })
      stops.unshift(() => server.stop())
      return server
    }
    await bench({ postgres, temporal, temporalVersion, makeHome, start, stops, output, signal })
    return 0
  } catch (error) {
    output.failure('The bench failed.', (error as Error).message)
    return 1
  } finally {
    for (const stop of stops) await stop()
  }
}

async function connect(url: string): Promise<Postgres> {
  const database = new Postgres({ connectionString: url })
  await database.connect()
  return database
}

/** A whole number of the command line. */
export function count(option: string, value: string): number {
  const number = Number(value)
  if (!Number.isInteger(number) || number < 1) throw new Error(`--${option} has to be a whole number, 1 or more`)
  return number
}

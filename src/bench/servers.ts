import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Client as Postgres } from 'pg'
import { startApp, type AppServer } from '../embedded/app-process.js'
import { Output } from '../embedded/output.js'
import { startPostgres, type PostgresServer } from '../embedded/postgres.js'
import { startTemporal, withoutTemporalSettings, type TemporalServer } from '../embedded/temporal.js'
import { findTemporal } from '../embedded/temporal-binary.js'
import { migrate } from '../migrations.js'

/** What a bench is run on: servers of its own, with the settings of `npm start`. */
export interface BenchServers {
  postgres: PostgresServer
  temporal: TemporalServer
  database: Postgres
  /** Starts a program of `src/bench/` or beside it as a process that says when it is ready. */
  start: (name: string, program: string) => Promise<AppServer>
  /** To be called, last first, when the bench is over. */
  stops: (() => Promise<unknown>)[]
  output: Output
  signal: AbortSignal
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
    const { path: cli } = await findTemporal({ chosen: undefined, output, signal })
    const dataDir = join(folder, 'postgres')
    const postgres = await startPostgres({ dataDir, port: 0, logFile: log('postgres'), signal })
    stops.unshift(async () => {
      await postgres.stop()
      rmSync(postgres.home, { recursive: true, force: true })
    })
    await migrate(postgres.url)
    const dbFile = join(folder, 'temporal.db')
    const temporal = await startTemporal({ cli, dbFile, port: 0, uiPort: 0, logFile: log('temporal'), signal })
    stops.unshift(() => temporal.stop())
    const database = new Postgres({ connectionString: postgres.url })
    await database.connect()
    stops.unshift(() => database.end())
    const env = {
      ...withoutTemporalSettings(),
      DATABASE_URL: postgres.url,
      TEMPORAL_ADDRESS: temporal.address,
      TEMPORAL_NAMESPACE: 'default',
      PORT: '0',
      HOST: '127.0.0.1',
      API_TOKENS: '',
    }
    const start = async (name: string, program: string) => {
      const path = fileURLToPath(new URL(program, import.meta.url))
      const server = await startApp({ path, env, logFile: log(name), recordFile: join(folder, `${name}.json`), signal })
      stops.unshift(() => server.stop())
      return server
    }
    await bench({ postgres, temporal, database, start, stops, output, signal })
    return 0
  } catch (error) {
    output.failure('The bench failed.', (error as Error).message)
    return 1
  } finally {
    for (const stop of stops) await stop()
  }
}

/** A whole number of the command line. */
export function count(option: string, value: string): number {
  const number = Number(value)
  if (!Number.isInteger(number) || number < 1) throw new Error(`--${option} has to be a whole number, 1 or more`)
  return number
}

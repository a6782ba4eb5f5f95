import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { Client } from 'pg'
import { startApp } from '../../dist/embedded/app-process.js'
import { Output } from '../../dist/system/output.js'
import { startPostgres } from '../../dist/embedded/postgres.js'
import { startTemporal } from '../../dist/embedded/temporal.js'
import { findTemporal } from '../../dist/system/temporal-binary.js'
import { migrate } from '../../dist/migrations.js'

// Jest runs this file before its transforms are there: JavaScript, on what `npm run build` made.

/**
 * One PostgreSQL, one Temporal and one API + worker for the whole run, with folders and ports of their own, beside
 * whatever else runs on this machine. Tests that kill something bring a system of their own (system.ts).
 */
export default async function setUp() {
  const folder = mkdtempSync(join(tmpdir(), 'saga-test-'))
  const log = (name) => join(folder, 'logs', `${name}.log`)
  mkdirSync(join(folder, 'logs'))
  const { path: cli } = await findTemporal({ chosen: process.env.TEMPORAL_CLI, output: new Output(process.stderr) })
  const [postgres, temporal] = await Promise.all([
    startPostgres({ dataDir: join(folder, 'postgres'), port: 0, logFile: log('postgres') }),
    startTemporal({ cli, dbFile: join(folder, 'temporal.db'), port: 0, uiPort: 0, logFile: log('temporal') }),
  ])
  const databaseUrl = (name) => Object.assign(new URL(postgres.url), { pathname: `/${name}` }).href
  await query(postgres.url, 'CREATE DATABASE saga_template')
  await migrate(databaseUrl('saga_template'))
  await query(postgres.url, 'CREATE DATABASE shared TEMPLATE saga_template')
  execFileSync(cli, ['operator', 'namespace', 'create', '--address', temporal.address, '-n', 'shared'])
  const app = await startApp({
    path: resolve('dist/embedded/app.js'),
    env: {
      ...process.env,
      DATABASE_URL: databaseUrl('shared'),
      TEMPORAL_ADDRESS: temporal.address,
      TEMPORAL_NAMESPACE: 'shared',
      TEMPORAL_UI_URL: temporal.uiUrl,
      PORT: '0',
    },
    logFile: log('shared'),
    recordFile: join(folder, 'shared-app.json'),
    signal: AbortSignal.timeout(60_000),
  })
  process.env.SAGA_TEST_SHARED = join(folder, 'shared.json')
  const shared = {
    folder,
    postgres: postgres.url,
    temporal: temporal.address,
    temporalUi: temporal.uiUrl,
    temporalCli: cli,
    system: { api: app.url, database: databaseUrl('shared'), namespace: 'shared' },
  }
  writeFileSync(process.env.SAGA_TEST_SHARED, JSON.stringify(shared))

  // A run that is interrupted leaves nothing behind either.
  for (const signal of ['SIGINT', 'SIGTERM']) {
    process.once(signal, () => void globalThis.stopTestRun().finally(() => process.exit(130)))
  }
  globalThis.stopTestRun = async () => {
    await app.stop()
    await Promise.all([temporal.stop(), postgres.stop()])
    if (!process.env.SAGA_TEST_KEEP) rmSync(folder, { recursive: true, force: true })
    rmSync(postgres.home, { recursive: true, force: true })
  }
}

async function query(database, statement) {
  const client = new Client({ connectionString: database })
  await client.connect()
  await client.query(statement)
  await client.end()
}

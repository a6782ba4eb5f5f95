import { chmodSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from '@jest/globals'
import { makeSagaStore } from '../../src/activities/index.js'
import { makePool } from '../../src/db.js'
import { startPostgres, type PostgresServer } from '../../src/embedded/postgres.js'
import { migrate } from '../../src/migrations.js'
import { createUserSaga } from '../../src/workflows/create-user.js'
import { createUser } from '../../src/workflows/create-user-input.js'
import { ada, everywhere, nowhere, Sagas, testReplay } from '../helpers/sagas.js'
import { query } from '../helpers/shared.js'
import { listeningAt, makeProgramEnv, startProgram, startSystem, type Program, type System } from '../helpers/system.js'
import { until } from '../helpers/until.js'

// The programs alone, with nothing but DATABASE_URL and TEMPORAL_*, so that the worker can die by itself.
const env = await makeProgramEnv('crashes')
const api = startProgram('api.js', 'crashes-api', { ...env, PORT: '0' })
let worker = startProgram('worker.js', 'crashes-worker', env)
const sagas = new Sagas({
  api: await listeningAt(api),
  database: env['DATABASE_URL'] ?? '',
  namespace: env['TEMPORAL_NAMESPACE'] ?? '',
})
const others: (System | Program | PostgresServer)[] = []

afterAll(async () => {
  await Promise.all([api.kill('SIGTERM'), worker.kill('SIGTERM')])
  for (const one of others.toReversed()) await ('stop' in one ? one.stop() : one.kill())
})

async function replaceWorker(): Promise<void> {
  await worker.kill('SIGKILL')
  worker = startProgram('worker.js', 'crashes-worker', env)
}

test('a saga whose worker is killed in the middle goes on with the next worker', async () => {
  const sagaId = await sagas.start({ C: { mode: 'first', n: 1, kind: 'hang' } })
  await sagas.logged(sagaId, 'B success 1')
  await replaceWorker()
  expect(await sagas.ended(sagaId)).toMatchObject({ status: 'COMPLETED' })
  expect(await sagas.rows(sagaId)).toEqual(everywhere)
  expect((await sagas.log(sagaId)).filter((row) => row.startsWith('SAGA'))).toEqual(['SAGA started', 'SAGA completed'])
})

test('a saga that is cancelled while its worker is down is undone by the next worker', async () => {
  const sagaId = await sagas.start({ C: { mode: 'first', n: 1, kind: 'hang' } })
  await sagas.logged(sagaId, 'B success 1')
  await worker.kill('SIGKILL')
  await sagas.temporal('workflow', 'cancel', '-w', sagaId)
  worker = startProgram('worker.js', 'crashes-worker', env)
  expect(await sagas.ended(sagaId)).toMatchObject({ status: 'COMPENSATED', error: { type: 'Cancelled' } })
  expect(await sagas.rows(sagaId)).toEqual(nowhere)
  expect(await sagas.closing(sagaId)).toEqual({ status: 'CANCELED' })
})

test('what a lost run had reached is undone in order, however often an undo fails', async () => {
  const sagaId = await sagas.start({
    C: { mode: 'first', n: 1, kind: 'hang' },
    B: { mode: 'first', n: 2, on: 'compensate' },
  })
  await sagas.logged(sagaId, 'B success 1')
  await worker.kill('SIGKILL')
  await sagas.temporal('workflow', 'cancel', '-w', sagaId)
  worker = startProgram('worker.js', 'crashes-worker', env)
  expect(await sagas.ended(sagaId)).toMatchObject({ status: 'COMPENSATED' })
  expect(await sagas.rows(sagaId)).toEqual(nowhere)
  expect((await sagas.log(sagaId)).filter((row) => /COMPENSATE_[AB]/.test(row))).toEqual([
    ...['COMPENSATE_B failed 1', 'COMPENSATE_B failed 2', 'COMPENSATE_B success 3'],
    'COMPENSATE_A success 1',
    ...['COMPENSATE_B verified', 'COMPENSATE_A verified'],
  ])
})

test('a step that kills its process each time is undone once its attempts are used up', async () => {
  const system = await startSystem('crash-loop')
  others.push(system)
  const done = new AbortController()
  const restarting = (async () => {
    while (!done.signal.aborted) await system.restart().catch(() => {})
  })()
  const crashing = new Sagas(system.where)
  const sagaId = await crashing.start({ B: { mode: 'always', kind: 'crash' } })
  const saga = await crashing.ended(sagaId, { timeoutMs: 110_000 })
  done.abort()
  expect(saga).toMatchObject({ status: 'COMPENSATED', failedStep: 'B' })
  expect(await crashing.rows(sagaId)).toEqual(nowhere)
  const attempts = (await crashing.log(sagaId)).filter((row) => row.startsWith('B '))
  expect(attempts).toEqual(['B failed 1', 'B failed 2', 'B failed 3'])
  await system.kill()
  await restarting
})

test('TC-09: PostgreSQL is killed in the middle and started again: the saga ends right, and the log says so', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'saga-test-pg-'))
  // Reachable for the user that PostgreSQL runs as where this one is root.
  chmodSync(folder, 0o711)
  mkdirSync(join(folder, 'logs'))
  const start = (port: number) =>
    startPostgres({ dataDir: join(folder, 'postgres'), port, logFile: join(folder, 'logs', 'postgres.log') })
  let postgres = await start(0)
  await migrate(postgres.url)
  const system = await startSystem('postgres-down', { DATABASE_URL: postgres.url })
  others.push(system)
  const sagas = new Sagas(system.where)

  const waiting = sagas.post('/saga?wait=60', { ...ada, failures: { B: { mode: 'first', n: 1, kind: 'hang' } } })
  const [{ sagaId }] = await until('A has succeeded', async () => {
    const rows = await query<{ sagaId: string }>(
      postgres.url,
      `SELECT saga_id AS "sagaId" FROM saga_log WHERE service = 'A' AND status = 'success'`,
    )
    return rows.length > 0 && (rows as [{ sagaId: string }])
  })
  process.kill(postgres.pid, 'SIGKILL')
  await postgres.exited
  const killedAt = Date.now()
  const refused = await sagas.post('/saga', ada)
  expect({ status: refused.status, retryAfter: refused.headers.get('retry-after') }).toEqual({
    status: 503,
    retryAfter: expect.stringMatching(/^\d+$/),
  })
  // Long enough for several attempts to connect again, of which each must leave nothing behind.
  await until('the outage has lasted', () => Date.now() - killedAt > 3_000)
  postgres = await start(postgres.port)

  const answer = await waiting
  expect({ status: answer.status, saga: await answer.json() }).toMatchObject({
    status: 200,
    saga: { sagaId, status: 'COMPLETED' },
  })
  expect(await sagas.rows(sagaId)).toEqual(everywhere)
  expect(await sagas.log(sagaId)).toEqual([
    'SAGA started',
    ...['A success 1', 'B failed 1', 'B success 2', 'C success 1'],
    'SAGA completed',
  ])
  await until('the API is ready again', async () => (await sagas.request('/health/ready')).ok)
  expect(await sagas.run()).toMatchObject({ status: 'COMPLETED' })
  const feeds = `SELECT count(*) AS feeds FROM pg_stat_activity WHERE application_name = 'saga-feed'`
  expect(await query(postgres.url, feeds)).toEqual([{ feeds: 1 }])
  await system.stop()
  await postgres.stop()
  for (const made of [folder, postgres.home]) rmSync(made, { recursive: true, force: true })
})

test('a saga that a crash left between PostgreSQL and Temporal is started by the sweep', async () => {
  const pool = makePool(sagas.where.database, { max: 1, name: 'test' })
  const sagaId = `left-behind-${process.pid}`
  const answer = await makeSagaStore(pool).writeIntent({
    sagaId,
    saga: createUser,
    steps: createUserSaga.steps,
    input: ada,
    failures: {},
    maxOpen: 500,
  })
  await pool.end()
  expect(answer.kind).toBe('written')
  sagas.started.push(sagaId)
  expect(await sagas.ended(sagaId)).toMatchObject({ status: 'COMPLETED' })
  expect(await sagas.rows(sagaId)).toEqual(everywhere)
})

testReplay(() => sagas)

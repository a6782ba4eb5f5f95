import { rmSync } from 'node:fs'
import { afterAll, expect, test } from '@jest/globals'
import { sagas as sagaTypes } from '../../src/activities/index.js'
import { SagaStore } from '../../src/saga/node/saga-store.js'
import { makePool } from '../../src/saga/node/db.js'
import type { PostgresServer } from '../../src/embedded/postgres.js'
import { migrate } from '../../src/migrations.js'
import type { FailuresInput } from '../../src/saga/failure.js'
import { createUserSaga } from '../../src/workflows/create-user.js'
import { createUser } from '../../src/workflows/create-user-input.js'
import { testEnded } from '../helpers/check-ended.js'
import { ada, everywhere, nowhere, Sagas, testReplay } from '../helpers/sagas.js'
import { query } from '../helpers/shared.js'
import { listeningAt, makeProgramEnv, startProgram, startSystem, type Program, type System } from '../helpers/system.js'
import { until } from '../helpers/until.js'
import { makeOwnPostgres, testPostgresDown } from './postgres-down.js'

// The programs alone, with nothing but DATABASE_URL and TEMPORAL_*, so that the worker can die by itself.
const env = await makeProgramEnv('crashes')
const api = startProgram('api.js', 'crashes-api', { ...env, PORT: '0' })
let worker = startProgram('worker.js', 'crashes-worker', env)
const sagas = new Sagas({
  api: await listeningAt(api),
  database: env['DATABASE_URL'] ?? '',
  namespace: env['TEMPORAL_NAMESPACE'] ?? '',
})
const others: (System | Program | Pick<PostgresServer, 'stop'>)[] = []

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

testPostgresDown(async (env) => {
  const system = await startSystem('postgres-down', env)
  return { sagas: new Sagas(system.where), databaseOfB: system.where.database, stop: () => system.stop() }
})

test('a sweep that finds no PostgreSQL is repeated until it does, and takes up what was lost', async () => {
  const { folder, start } = makeOwnPostgres()
  let postgres = await start(0)
  others.push({ stop: () => postgres.stop() })
  await migrate(postgres.url)
  const system = await startSystem('sweep-alone', { DATABASE_URL: postgres.url })
  others.push(system)
  const sagas = new Sagas(system.where)
  const sagaId = await sagas.start({ C: { mode: 'first', n: 1, kind: 'hang', when: 'after' } })
  await sagas.logged(sagaId, 'B success 1')
  await sagas.temporal('workflow', 'terminate', '-w', sagaId, '--reason', 'by mistake')
  process.kill(postgres.pid, 'SIGKILL')
  await postgres.exited
  await until('a sweep has failed', async () => {
    const args = ['workflow', 'describe', '-w', 'saga-sweep-v1', '--output', 'json']
    const { pendingActivities = [] } = JSON.parse(await sagas.temporal(...args))
    return pendingActivities.some(({ attempt = 1 }: { attempt?: number }) => attempt > 1)
  })
  postgres = await start(postgres.port)
  expect(await sagas.ended(sagaId)).toMatchObject({ status: 'COMPENSATED', error: { type: 'Terminated' } })
  expect(await sagas.rows(sagaId)).toEqual(nowhere)
  expect((await sagas.log(sagaId)).filter((row) => /^(SAGA|ROLLBACK)/.test(row))).toEqual([
    ...['SAGA started', 'SAGA recovered', 'ROLLBACK triggered', 'SAGA compensated'],
  ])
  await system.stop()
  await postgres.stop()
  for (const made of [folder, postgres.home]) rmSync(made, { recursive: true, force: true })
}, 180_000)

test('a saga that a crash left between PostgreSQL and Temporal is started by the sweep', async () => {
  const pool = makePool(sagas.where.database, { max: 1, name: 'test' })
  const sagaId = `left-behind-${process.pid}`
  const answer = await new SagaStore(pool, sagaTypes).writeIntent({
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

test('a saga that was terminated before a worker opened it is undone by the first that comes', async () => {
  await worker.kill('SIGKILL')
  const sagaId = await sagas.start()
  await sagas.temporal('workflow', 'terminate', '-w', sagaId, '--reason', 'nobody was there')
  // As if it had waited for long: the sweep leaves young ones to those who wrote them down.
  await query(
    sagas.where.database,
    `UPDATE saga SET started_at = started_at - interval '1 minute' WHERE saga_id = $1`,
    [sagaId],
  )
  worker = startProgram('worker.js', 'crashes-worker', env)
  expect(await sagas.ended(sagaId)).toMatchObject({
    status: 'COMPENSATED',
    error: { type: 'Terminated', message: 'its run was terminated: nobody was there' },
    steps: [{ status: 'pending' }, { status: 'pending' }, { status: 'pending' }],
    compensations: [],
  })
  expect(await sagas.rows(sagaId)).toEqual(nowhere)
  expect(await sagas.log(sagaId)).toEqual(['SAGA recovered', 'ROLLBACK triggered', 'SAGA compensated'])
})

test('20 rollbacks whose undos fail end right, however often their worker is killed', async () => {
  const failures: FailuresInput[] = [
    // Refused, with undos that fail before and behind their commit.
    {
      C: { mode: 'always', kind: 'reject' },
      B: { mode: 'first', n: 3, on: 'compensate', when: 'after' },
      A: { mode: 'first', n: 2, on: 'compensate' },
    },
    // Not known, for it hangs behind its commit.
    { C: { mode: 'always', kind: 'hang', when: 'after' }, B: { mode: 'first', n: 2, on: 'compensate' } },
    // An undo that hangs until its worker is gone.
    {
      C: { mode: 'always', when: 'after' },
      B: { mode: 'first', n: 1, kind: 'hang', on: 'compensate', when: 'after' },
      A: { mode: 'first', n: 1, kind: 'hang', on: 'compensate' },
    },
    // The last of what was done is not the last that is declared.
    { B: { mode: 'always', kind: 'reject' }, A: { mode: 'first', n: 4, on: 'compensate', when: 'after' } },
  ]
  const ids = await Promise.all(Array.from({ length: 20 }, (_, i) => sagas.start(failures[i % failures.length])))
  for (let kill = 0; kill < 5; kill += 1) {
    const before = await attempts(ids)
    // Some way on, wherever each of them is then.
    await until('they have moved', async () => (await attempts(ids)) >= before + 7 || (await areEnded(ids)))
    await replaceWorker()
  }
  for (const sagaId of ids) {
    expect(await sagas.ended(sagaId, { timeoutMs: 110_000 })).toMatchObject({ status: 'COMPENSATED' })
    expect(await sagas.rows(sagaId)).toEqual(nowhere)
  }
}, 240_000)

/** Rows of attempts that these sagas have in the log. */
async function attempts(ids: string[]): Promise<number> {
  const [row] = await query<{ n: number }>(
    sagas.where.database,
    'SELECT count(*)::int AS n FROM saga_log WHERE attempt IS NOT NULL AND saga_id = ANY($1)',
    [ids],
  )
  return row?.n ?? 0
}

async function areEnded(ids: string[]): Promise<boolean> {
  const open = await query(sagas.where.database, 'SELECT FROM saga WHERE ended_at IS NULL AND saga_id = ANY($1)', [ids])
  return open.length === 0
}

testEnded(
  () => sagas,
  async (sagaId) => Object.values(await sagas.rows(sagaId)),
)

testReplay(() => sagas)

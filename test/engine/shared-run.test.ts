import { afterAll, expect, test } from '@jest/globals'
import { startEngine } from '../helpers/engine.js'
import { query } from '../helpers/shared.js'
import { Gated } from './gates.js'
import { tripSaga } from './sagas.js'

// What looks after sagas knows of those that have no run of their own.

const names = ['flight', 'hotel', 'charge', 'ticket', 'letter']
const gated = new Gated()
const engine = await startEngine('shared-run', {
  workflows: new URL('./sagas.ts', import.meta.url),
  services: names.map((name) => gated.service(name)),
  types: ['tripSaga'],
  steps: { tripSaga: tripSaga.steps },
  // Those that hold at a gate stay with the others.
  stepTimeoutMs: 60_000,
})
const { sagas } = engine
afterAll(() => engine.stop())

const ago = `now() - interval '1 minute'`
const change = (what: string, sagaIds: string[]) =>
  query(sagas.where.database, `UPDATE saga SET ${what} WHERE saga_id = ANY ($1)`, [sagaIds])

/** Two sagas that share a run, both held in their first step. */
async function startHeld(): Promise<{ sagaIds: [string, string]; run: string }> {
  const held = { input: { hold: 'flight invoke' } }
  const [one = '', other = ''] = await engine.startGroup('tripSaga', [held, held])
  await Promise.all([one, other].map((sagaId) => gated.at(sagaId).reached))
  return { sagaIds: [one, other], run: `saga-group-${one}` }
}

const open = (sagaIds: string[]) => {
  for (const sagaId of sagaIds) gated.at(sagaId).open()
}

const hasRun = (sagaId: string) =>
  engine.client.workflow
    .getHandle(sagaId)
    .describe()
    .then(
      () => true,
      () => false,
    )

test('a sweep leaves sagas to the run that they share, also one that waits for its cancel to be seen', async () => {
  const { sagaIds } = await startHeld()
  const [cancelled, other] = sagaIds
  expect((await sagas.post(`/saga/${cancelled}/cancel`, { reason: 'changed my mind' })).status).toBe(202)
  await change(`progress_at = ${ago}, looked_at = NULL`, sagaIds)
  await change(`cancel = cancel || jsonb_build_object('at', ${ago})`, [cancelled])
  expect(await engine.sweep.sweep()).toMatchObject({ cancelled: 0, recovered: 0, started: 0 })
  open(sagaIds)
  expect((await sagas.ended(cancelled)).status).toBe('COMPENSATED')
  expect((await sagas.ended(other)).status).toBe('COMPLETED')
  expect(await Promise.all(sagaIds.map(hasRun))).toEqual([false, false])
})

test('sagas whose shared run was terminated are each taken up again', async () => {
  const { sagaIds, run } = await startHeld()
  await engine.client.workflow.getHandle(run).terminate('by mistake')
  await change(`progress_at = ${ago}, looked_at = NULL`, sagaIds)
  expect(await engine.sweep.sweep()).toMatchObject({ recovered: 2 })
  await Promise.all(sagaIds.map((sagaId) => sagas.logged(sagaId, 'ROLLBACK triggered')))
  open(sagaIds)
  for (const sagaId of sagaIds) {
    const saga = await sagas.ended(sagaId)
    expect(saga).toMatchObject({ status: 'COMPENSATED', error: { type: 'Terminated' } })
    expect(saga.error?.message).toBe('the run that it shared was terminated: by mistake')
    expect(await engine.effects(sagaId)).toEqual([])
  }
})

test('the mirror asks nothing of Temporal for sagas that share a run, however long they took', async () => {
  const { sagaIds } = await startHeld()
  open(sagaIds)
  await Promise.all(sagaIds.map((sagaId) => sagas.ended(sagaId)))
  await change(
    `started_at = ${ago} - interval '1 minute', ended_at = ${ago}, progress_at = ${ago}, mirrored_at = NULL`,
    sagaIds,
  )
  const before = await Promise.all(sagaIds.map((sagaId) => sagas.log(sagaId)))
  expect((await engine.sweep.sweep()).mirrored).toBe(0)
  expect(await Promise.all(sagaIds.map((sagaId) => sagas.log(sagaId)))).toEqual(before)
  const [left] = await query<{ n: number }>(
    sagas.where.database,
    `SELECT count(*)::int AS n FROM saga WHERE saga_id = ANY ($1) AND mirrored_at IS NOT NULL`,
    [sagaIds],
  )
  expect(left).toEqual({ n: 0 })
})

test('every run replays', () => expect(engine.replay()).resolves.toBeGreaterThanOrEqual(0))

import { randomUUID } from 'node:crypto'
import { afterAll, expect, test } from '@jest/globals'
import type { FailuresInput } from '../../src/saga/failure.js'
import { startEngine } from '../helpers/engine.js'
import { query } from '../helpers/shared.js'
import { until } from '../helpers/until.js'
import { Gated, type Asked } from './gates.js'

const names = ['flight', 'hotel', 'charge', 'ticket', 'letter']
const gated = new Gated()
const deadlineMs = 5_000
const engine = await startEngine('deadline', {
  workflows: new URL('./sagas.ts', import.meta.url),
  services: names.map((name) => gated.service(name)),
  types: ['napSaga'],
  stepTimeoutMs: 2_000,
  deadlineMs,
})
const { sagas } = engine
afterAll(() => engine.stop())

/** Waits until the saga's time is up, by the clock of its row. */
function timeIsUp(sagaId: string): Promise<unknown> {
  return until(`the time of ${sagaId} is up`, async () => {
    const late = `SELECT FROM saga WHERE saga_id = $1 AND started_at < now() - ($2 + 500) * interval '1 ms'`
    return (await query(sagas.where.database, late, [sagaId, deadlineMs])).length > 0
  })
}

const rollbacks = async (sagaId: string) => (await sagas.log(sagaId)).filter((row) => row.startsWith('ROLLBACK'))

test.concurrent.each<[when: string, input: Asked & { naps?: { [before: string]: number } }, failures: FailuresInput]>([
  ["in the code's own sleep", { naps: { hotel: 3_600_000 } }, {}],
  ['during a step', { naps: { hotel: 4_000 } }, { hotel: { mode: 'always', kind: 'hang' } }],
  ['in the delay between two attempts', { naps: { hotel: 4_800 } }, { hotel: { mode: 'always' } }],
  ['while a pivot is under way that fails', { naps: { charge: 4_500 } }, { charge: { mode: 'always', kind: 'hang' } }],
])('a saga whose time is up %s is undone', async (_, input, failures) => {
  const sagaId = await engine.start('napSaga', input, { failures })
  const saga = await sagas.ended(sagaId)
  expect(saga).toMatchObject({
    status: 'COMPENSATED',
    error: { type: 'DeadlineExceeded', message: 'not done within 5 s, which is all the time that a saga has' },
  })
  expect(saga).not.toHaveProperty('failedStep')
  expect(await engine.effects(sagaId)).toEqual([])
  expect(await rollbacks(sagaId)).toEqual(['ROLLBACK triggered'])
  expect(await sagas.closing(sagaId)).toMatchObject({ status: 'FAILED', failure: { type: 'SagaCompensated' } })
})

test.concurrent('the deadline does not touch a saga that is past its pivot', async () => {
  const sagaId = await engine.start('napSaga', { naps: { ticket: 7_000 } })
  await sagas.logged(sagaId, 'charge success 1')
  await timeIsUp(sagaId)
  expect(await sagas.ended(sagaId)).toMatchObject({ status: 'COMPLETED' })
  expect(await engine.effects(sagaId)).toEqual(names)
  expect(await rollbacks(sagaId)).toEqual([])
})

test.concurrent('the deadline does not touch a saga that rolls back', async () => {
  const failures: FailuresInput = { flight: { mode: 'first', n: 5, on: 'compensate' } }
  const sagaId = await engine.start('napSaga', { refuse: ['charge invoke'] }, { failures })
  await timeIsUp(sagaId)
  expect(await sagas.ended(sagaId)).toMatchObject({ status: 'COMPENSATED', error: { type: 'Rejected' } })
  expect(await engine.effects(sagaId)).toEqual([])
  expect(await rollbacks(sagaId)).toEqual(['ROLLBACK triggered'])
})

test.concurrent('a saga that is started when its time is up already is undone before it has begun', async () => {
  const sagaId = randomUUID()
  // As an intent whose start was lost, found by the sweep long after.
  const saga = {
    type: 'napSaga',
    parse: () => ({ problems: [] }),
    view: () => ({}),
    label: () => '',
    secrets: () => [],
  }
  const steps = Object.fromEntries(names.map((service) => [service, { service, kind: kindOf(service) } as const]))
  await engine.store.writeIntent({ sagaId, saga, steps, input: {}, failures: {}, maxOpen: 500 })
  await query(sagas.where.database, `UPDATE saga SET started_at = now() - interval '1 minute' WHERE saga_id = $1`, [
    sagaId,
  ])
  const record = await engine.store.get(sagaId)
  if (!record) throw new Error('the intent is gone')
  await engine.starter.start(record, engine.store.requestOf(record))
  sagas.started.push(sagaId)
  expect(await sagas.ended(sagaId)).toMatchObject({ status: 'COMPENSATED', error: { type: 'DeadlineExceeded' } })
  expect(await sagas.log(sagaId)).toEqual(['SAGA started', 'ROLLBACK triggered', 'SAGA compensated'])
  expect(await engine.effects(sagaId)).toEqual([])
})

function kindOf(service: string) {
  if (service === 'charge') return 'pivot'
  return service === 'ticket' || service === 'letter' ? 'retriable' : 'compensatable'
}

test('every run replays', async () => {
  expect(await engine.replay()).toBe(sagas.started.length)
})

import { randomUUID } from 'node:crypto'
import { afterAll, expect, test } from '@jest/globals'
import { compensatable, defineSaga, nested } from '../../src/saga/workflow/define-saga.js'
import type { FailuresInput } from '../../src/saga/failure.js'
import { startEngine, type effectService } from '../helpers/engine.js'
import { query } from '../helpers/shared.js'
import { until } from '../helpers/until.js'
import { cancel, decide, Gated, parked, type Asked } from './gates.js'
import { staySaga } from './nested-sagas.js'

const gated = new Gated()
const names = ['flight', 'ticket', 'room', 'breakfast', 'car', 'charge', 'letter']
const engine = await startEngine('nested-engine', {
  workflows: new URL('./nested-sagas.ts', import.meta.url),
  services: names.map((name) => gated.service(name)),
  types: ['roomSaga', 'staySaga', 'tripSaga', 'paidTripSaga', 'pairSaga'],
})
const { sagas, client } = engine
const { database } = sagas.where
afterAll(() => engine.stop())

const stay = (sagaId: string) => `${sagaId}.stay`
const hotel = (sagaId: string) => `${sagaId}.stay.hotel`
const family = (sagaId: string) => [sagaId, stay(sagaId), hotel(sagaId)]

const start = (type: string, asked: Asked = {}, failures: FailuresInput = {}, sagaId = randomUUID()) =>
  engine.start(type, asked, { failures, sagaId })

/** The services of which a saga and those nested in it have effects. */
async function effects(sagaId: string): Promise<string[]> {
  const rows = await query<{ service: string }>(
    database,
    `SELECT service FROM effect WHERE saga_id = $1 OR saga_id LIKE $1 || '.%' ORDER BY id`,
    [sagaId],
  )
  return rows.map(({ service }) => service)
}

/** What was undone, in the order in which it was, in the saga and in those nested in it. */
async function undone(sagaId: string): Promise<string[]> {
  const rows = await query<{ service: string }>(
    database,
    `SELECT service FROM saga_log
     WHERE (saga_id = $1 OR saga_id LIKE $1 || '.%') AND service LIKE 'COMPENSATE_%' AND status = 'success' ORDER BY id`,
    [sagaId],
  )
  return rows.map(({ service }) => service.replace('COMPENSATE_', ''))
}

const statuses = async (ids: string[]) => Promise.all(ids.map(async (id) => (await sagas.get(id)).status))
const message = async (sagaId: string, service: string, status: string) =>
  (await sagas.logRows(sagaId)).findLast((row) => row.service === service && row.status === status)?.message

/** Does what the sweep does a minute later, until these sagas and all that are nested in them have ended. */
async function sweepUntilEnded(ids: string[]): Promise<void> {
  const hour = `interval '1 hour'`
  const theirs = `split_part(saga_id, '.', 1) = ANY ($1)`
  await until(`${ids.join(', ')} have ended`, async () => {
    await query(
      database,
      // Locked in the order in which the engine does, or each would wait for the other.
      `UPDATE saga SET progress_at = now() - ${hour}, looked_at = now() - ${hour}
       WHERE saga_id IN (SELECT saga_id FROM saga WHERE ${theirs} ORDER BY saga_id FOR UPDATE)`,
      [ids],
    )
    await engine.sweep.sweep()
    const rows = await query<{ saga_id: string; over: boolean }>(
      database,
      `SELECT saga_id, ended_at IS NOT NULL AS over FROM saga WHERE ${theirs}`,
      [ids],
    )
    return rows.every(({ over }) => over) && ids.every((id) => rows.some((row) => row.saga_id === id))
  })
}

test.concurrent('a nested saga succeeds, stays open until its parent has ended, and completes with it', async () => {
  const sagaId = await start('tripSaga', { hold: 'ticket invoke' })
  const gate = gated.at(sagaId)
  await gate.reached
  expect(await statuses(family(sagaId))).toEqual(['RUNNING', 'RUNNING', 'RUNNING'])
  expect(await sagas.get(stay(sagaId))).toMatchObject({
    parent: { sagaId, step: 'stay' },
    steps: [
      { step: 'hotel', status: 'succeeded', sagaId: hotel(sagaId) },
      { step: 'car', status: 'succeeded' },
    ],
  })
  gate.open()
  expect(await sagas.ended(sagaId)).toMatchObject({
    status: 'COMPLETED',
    wheels: 4,
    steps: [{}, { step: 'stay', service: 'staySaga', sagaId: stay(sagaId), outcome: 'applied', attempts: 1 }, {}],
  })
  expect(await statuses(family(sagaId))).toEqual(['COMPLETED', 'COMPLETED', 'COMPLETED'])
  expect(await effects(sagaId)).toEqual(['flight', 'room', 'breakfast', 'car', 'ticket'])
  expect(await sagas.log(sagaId)).toEqual([
    'SAGA started',
    ...['flight success 1', 'stay success 1', 'ticket success 1'],
    'SAGA completed',
  ])
  expect(await sagas.log(stay(sagaId))).toEqual(['SAGA started', 'hotel success 1', 'car success 1', 'SAGA completed'])
  expect(await message(sagaId, 'stay', 'success')).toBe(`applied by saga ${stay(sagaId)}`)
})

test.concurrent('a parent that rolls back undoes its nested sagas in their own code, last first', async () => {
  const sagaId = await start('tripSaga', { refuse: ['ticket invoke'] })
  expect(await sagas.ended(sagaId)).toMatchObject({
    status: 'COMPENSATED',
    failedStep: 'ticket',
    compensations: [
      { step: 'ticket', status: 'empty' },
      { step: 'stay', status: 'done', attempts: 1 },
      { step: 'flight', status: 'done' },
    ],
  })
  expect(await effects(sagaId)).toEqual([])
  expect(await undone(sagaId)).toEqual(['car', 'breakfast', 'room', 'hotel', 'stay', 'flight'])
  expect(await sagas.get(stay(sagaId))).toMatchObject({
    status: 'COMPENSATED',
    error: { type: 'Cancelled', message: `cancelled by saga ${sagaId}: it is rolled back` },
  })
  expect(await message(sagaId, 'COMPENSATE_stay', 'success')).toBe(`undone by saga ${stay(sagaId)}`)
  expect(await sagas.log(stay(sagaId))).toEqual([
    'SAGA started',
    ...['hotel success 1', 'car success 1'],
    'ROLLBACK triggered',
    ...['COMPENSATE_car success 1', 'COMPENSATE_hotel success 1', 'COMPENSATE_car verified'],
    'SAGA compensated',
  ])
})

test.concurrent('a nested saga that fails undoes its own, then its parent the rest', async () => {
  const sagaId = await start('tripSaga', { refuse: ['car invoke'] })
  expect(await sagas.ended(sagaId)).toMatchObject({
    status: 'COMPENSATED',
    failedStep: 'stay',
    error: { type: 'Rejected', message: expect.stringContaining('car invoke is refused') },
    steps: [{}, { step: 'stay', status: 'failed', outcome: 'rejected', attempts: 1 }, { status: 'pending' }],
  })
  expect(await effects(sagaId)).toEqual([])
  expect(await undone(sagaId)).toEqual(['breakfast', 'room', 'hotel', 'stay', 'flight'])
  expect(await statuses(family(sagaId))).toEqual(['COMPENSATED', 'COMPENSATED', 'COMPENSATED'])
})

test.concurrent('failures that a saga brings along reach those nested in it, as step.step', async () => {
  const failures: FailuresInput = { 'stay.hotel.breakfast': { mode: 'always', when: 'after' } }
  const sagaId = await start('tripSaga', {}, failures)
  expect(await sagas.ended(sagaId)).toMatchObject({ status: 'COMPENSATED', failedStep: 'stay' })
  expect(await sagas.get(hotel(sagaId))).toMatchObject({ failedStep: 'breakfast' })
  expect(await effects(sagaId)).toEqual([])
})

test.concurrent.each(['API', 'CLI'] as const)(
  'a cancel of the parent by the %s undoes a nested saga that is under way',
  async (door) => {
    const sagaId = await start('tripSaga', { hold: 'breakfast invoke' })
    const gate = gated.at(hotel(sagaId))
    await gate.reached
    expect(await cancel(engine, sagaId, door)).toBe(202)
    gate.open()
    expect(await sagas.ended(sagaId)).toMatchObject({ status: 'COMPENSATED', error: { type: 'Cancelled' } })
    expect(await effects(sagaId)).toEqual([])
    expect(await statuses(family(sagaId))).toEqual(['COMPENSATED', 'COMPENSATED', 'COMPENSATED'])
  },
)

test.concurrent('a nested saga whose parent is terminated goes back by itself, and then its parent is taken up', async () => {
  const sagaId = await start('tripSaga', { hold: 'breakfast invoke' })
  const gate = gated.at(hotel(sagaId))
  await gate.reached
  await client.workflow.getHandle(sagaId).terminate('by mistake')
  gate.open()
  await Promise.all([sagas.ended(hotel(sagaId)), sagas.ended(stay(sagaId))])
  expect(await effects(sagaId)).toEqual(['flight'])
  expect(await statuses(family(sagaId))).toEqual(['RUNNING', 'COMPENSATED', 'COMPENSATED'])
  await sweepUntilEnded([sagaId])
  expect(await sagas.get(sagaId)).toMatchObject({ status: 'COMPENSATED', error: { type: 'Terminated' } })
  expect(await effects(sagaId)).toEqual([])
})

test.concurrent('a parent terminated behind its nested saga has it undone by its recovery', async () => {
  const sagaId = await start('tripSaga', {}, { ticket: { mode: 'first', n: 1, kind: 'hang' } })
  await sagas.logged(sagaId, 'stay success 1')
  await client.workflow.getHandle(sagaId).terminate('by mistake')
  await sweepUntilEnded([sagaId])
  expect(await sagas.get(sagaId)).toMatchObject({ status: 'COMPENSATED', error: { type: 'Terminated' } })
  expect(await statuses(family(sagaId))).toEqual(['COMPENSATED', 'COMPENSATED', 'COMPENSATED'])
  expect(await effects(sagaId)).toEqual([])
})

test.concurrent('a nested saga that is terminated is undone, and its parent with it', async () => {
  // Its second attempt is a regular activity: a local one would let the run go on behind its termination.
  const sagaId = await start('tripSaga', { hold: 'car invoke' }, { 'stay.car': { mode: 'first', n: 1 } })
  const gate = gated.at(stay(sagaId))
  await gate.reached
  await client.workflow.getHandle(stay(sagaId)).terminate('by mistake')
  gate.open()
  expect(await sagas.ended(sagaId)).toMatchObject({ status: 'COMPENSATED', failedStep: 'stay' })
  expect(await statuses(family(sagaId))).toEqual(['COMPENSATED', 'COMPENSATED', 'COMPENSATED'])
  expect(await effects(sagaId)).toEqual([])
})

test.concurrent('a whole family that is terminated is undone', async () => {
  const sagaId = await start('tripSaga', { hold: 'breakfast invoke' })
  const gate = gated.at(hotel(sagaId))
  await gate.reached
  for (const id of family(sagaId)) await client.workflow.getHandle(id).terminate('by mistake')
  gate.open()
  await sweepUntilEnded([sagaId])
  expect(await statuses(family(sagaId))).toEqual(['COMPENSATED', 'COMPENSATED', 'COMPENSATED'])
  expect(await effects(sagaId)).toEqual([])
})

test.concurrent('an undo that is stuck in a nested saga holds its parent until a person decides', async () => {
  const sagaId = await start('tripSaga', { refuse: ['ticket invoke', 'room compensate'] })
  expect(await parked(engine, hotel(sagaId))).toEqual(['room'])
  expect(await effects(sagaId)).toEqual(['flight', 'room'])
  expect(await statuses([sagaId, stay(sagaId)])).toEqual(['COMPENSATING', 'COMPENSATING'])
  // It is in the list of those that wait, and says whose it is.
  const list = await (await sagas.request(`/saga?status=NEEDS_ATTENTION&q=${sagaId}`)).json()
  expect(list).toMatchObject({ sagas: [{ sagaId: hotel(sagaId), parent: { sagaId: stay(sagaId) } }], nextCursor: null })
  expect(await decide(engine, hotel(sagaId), { step: 'room', action: 'skip' })).toBe(200)
  await sagas.ended(sagaId)
  expect(await statuses(family(sagaId))).toEqual(Array.from({ length: 3 }, () => 'PARTIALLY_COMPENSATED'))
  expect(await effects(sagaId)).toEqual(['room'])
})

test.concurrent('a saga that waits for the person of one nested in it is none without progress', async () => {
  const sagaId = await start('tripSaga', { refuse: ['ticket invoke', 'room compensate'] })
  await parked(engine, hotel(sagaId))
  const standStill = (ids: string[]) =>
    query(database, `UPDATE saga SET progress_at = now() - interval '9 days' WHERE saga_id = ANY ($1)`, [ids])
  const count = () => engine.store.unfinished.countWithoutProgress(8 * 24 * 3_600_000)
  await standStill(family(sagaId))
  expect(await count()).toBe(0)
  expect(await decide(engine, hotel(sagaId), { step: 'room', action: 'resolve' })).toBe(200)
  await sagas.ended(sagaId)

  const held = await start('tripSaga', { hold: 'car invoke' })
  const gate = gated.at(stay(held))
  await gate.reached
  await standStill(family(held))
  // The saga and the one under way; the innermost has handed over.
  expect(await count()).toBe(2)
  gate.open()
  await sagas.ended(held)
})

test.concurrent('a nested saga that is done is not cancelled alone', async () => {
  const sagaId = await start('tripSaga', { hold: 'ticket invoke' })
  const gate = gated.at(sagaId)
  await gate.reached
  const response = await sagas.post(`/saga/${stay(sagaId)}/cancel`, { reason: 'changed my mind' })
  expect(response.status).toBe(409)
  expect(await response.json()).toMatchObject({ detail: expect.stringContaining(`cancel that one`) })
  gate.open()
  expect(await sagas.ended(sagaId)).toMatchObject({ status: 'COMPLETED' })
})

test.concurrent('a nested saga that is cancelled while it is under way is a step that was refused', async () => {
  const sagaId = await start('tripSaga', { hold: 'car invoke' })
  const gate = gated.at(stay(sagaId))
  await gate.reached
  expect(await cancel(engine, stay(sagaId), 'API')).toBe(202)
  gate.open()
  expect(await sagas.ended(sagaId)).toMatchObject({
    status: 'COMPENSATED',
    failedStep: 'stay',
    error: { message: expect.stringContaining('changed my mind') },
  })
  expect(await effects(sagaId)).toEqual([])
})

test.concurrent('behind the pivot a terminated parent goes on, and its nested saga answers as it has', async () => {
  const sagaId = await start('paidTripSaga', {}, { letter: { mode: 'first', n: 1, kind: 'hang' } })
  await sagas.logged(sagaId, 'charge success 1')
  await client.workflow.getHandle(sagaId).terminate('by mistake')
  await sweepUntilEnded([sagaId])
  expect(await sagas.get(sagaId)).toMatchObject({ status: 'COMPLETED', paid: true })
  expect(await statuses(family(sagaId))).toEqual(['COMPLETED', 'COMPLETED', 'COMPLETED'])
  expect(await effects(sagaId)).toEqual(['room', 'breakfast', 'car', 'charge', 'letter'])
})

test.concurrent('a pivot that never happened takes the nested saga before it back', async () => {
  const sagaId = await start('paidTripSaga', { refuse: ['charge invoke'] })
  expect(await sagas.ended(sagaId)).toMatchObject({ status: 'COMPENSATED', failedStep: 'charge' })
  expect(await statuses(family(sagaId))).toEqual(['COMPENSATED', 'COMPENSATED', 'COMPENSATED'])
  expect(await effects(sagaId)).toEqual([])
})

test.concurrent('nested sagas run side by side, and are undone one after the other', async () => {
  const sagaId = await start('pairSaga', { refuse: ['ticket invoke'] })
  expect(await sagas.ended(sagaId)).toMatchObject({ status: 'COMPENSATED', failedStep: 'ticket' })
  expect(await undone(sagaId)).toEqual(['there', 'here'].flatMap((step) => ['car', 'breakfast', 'room', 'hotel', step]))
  expect(await effects(sagaId)).toEqual([])
})

test.concurrent('a nested saga does not open any more once its parent rolls back', async () => {
  const sagaId = await start('tripSaga', { refuse: ['flight invoke'] })
  await sagas.ended(sagaId)
  const late = await client.workflow.start('staySaga', {
    workflowId: stay(sagaId),
    taskQueue: 'saga',
    args: [{}],
    memo: { nestedIn: { sagaId, step: 'stay' } },
  })
  await expect(late.result()).rejects.toMatchObject({ cause: { type: 'LateInvoke' } })
  expect((await sagas.request(`/saga/${stay(sagaId)}`)).status).toBe(404)
  expect(await effects(sagaId)).toEqual([])
})

/** Deals out a family's fates: who of it is hit, how, and behind how many log rows of it. */
const blows = ['nobody', 'parent', 'stay', 'hotel'].flatMap((who) =>
  ['cancel', 'terminate'].flatMap((how) => [1, 3, 5, 7, 9, 11].map((atRow) => ({ who, how, atRow }))),
)

test('families that are cancelled or terminated at any moment, in any member, are whole or gone', async () => {
  const ids = await Promise.all(
    blows.map(async ({ who, how, atRow }, i) => {
      // Every other one would have rolled back anyway.
      const sagaId = await start('tripSaga', i % 2 ? { refuse: ['ticket invoke'] } : {})
      const member = { nobody: undefined, parent: sagaId, stay: stay(sagaId), hotel: hotel(sagaId) }[who]
      if (member === undefined) return sagaId
      const look = async () => {
        const [row] = await query<{ rows: number; over: boolean }>(
          database,
          `SELECT (SELECT count(*)::int FROM saga_log WHERE saga_id = $1 OR saga_id LIKE $1 || '.%') AS rows,
                  EXISTS (SELECT FROM saga WHERE saga_id = $1 AND ended_at IS NOT NULL) AS over`,
          [sagaId],
        )
        return row && (row.rows >= atRow || row.over)
      }
      // All of them start at once.
      await until(`${atRow} rows`, look, { timeoutMs: 150_000 })
      const run = client.workflow.getHandle(member)
      // It may not be there yet, or have closed.
      await (how === 'cancel' ? run.cancel() : run.terminate('by mistake')).catch(() => {})
      return sagaId
    }),
  )
  await sweepUntilEnded(ids)
  for (const sagaId of ids) {
    const { status } = await sagas.get(sagaId)
    const isWhole = status === 'COMPLETED'
    const members = await query<{ status: string }>(
      database,
      `SELECT DISTINCT status FROM saga WHERE saga_id = $1 OR saga_id LIKE $1 || '.%'`,
      [sagaId],
    )
    expect({ sagaId, effects: await effects(sagaId), members }).toEqual({
      sagaId,
      effects: isWhole ? ['flight', 'room', 'breakfast', 'car', 'ticket'] : [],
      members: [{ status: isWhole ? 'COMPLETED' : 'COMPENSATED' }],
    })
  }
}, 300_000)

test('the step of a nested saga takes its input and gives its result', () => {
  const typed = defineSaga(
    'typed',
    { stay: nested(staySaga), car: compensatable<ReturnType<typeof effectService>>('car') },
    async (step) => {
      const { wheels, bed } = await step.stay({})
      // @ts-expect-error: it gives no wings
      const { wings } = await step.stay({})
      return { wheels, bed, wings } satisfies { wheels: number; bed: string; wings: unknown }
    },
  )
  expect(typed.steps['stay']).toEqual({ kind: 'compensatable', service: 'staySaga', isSaga: true })
})

test('every run replays', async () => {
  const nestedOnes = await query<{ saga_id: string }>(database, 'SELECT saga_id FROM saga WHERE parent_id IS NOT NULL')
  sagas.started.push(...nestedOnes.map((row) => row.saga_id))
  const runs = await engine.replay()
  expect(runs).toBeGreaterThan(30)
})

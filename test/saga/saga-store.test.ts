import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, expect, jest, test } from '@jest/globals'
import { sagas } from '../../src/activities/index.js'
import { makePool, sagaBounds, type Pool } from '../../src/saga/node/db.js'
import type { AttemptEnd } from '../../src/saga/node/projection.js'
import { PayloadKeys } from '../../src/saga/node/payload-keys.js'
import { hashedText, SagaStore } from '../../src/saga/node/saga-store.js'
import type { SagaType } from '../../src/saga/node/saga-type.js'
import type { Json, StepDeclarations } from '../../src/saga/types.js'
import { createUser } from '../../src/workflows/create-user-input.js'
import { createUserSaga } from '../../src/workflows/create-user.js'
import { makeDatabase } from '../helpers/system.js'

let pool: Pool
let store: SagaStore
let gathering: SagaStore

beforeAll(async () => {
  pool = makePool(await makeDatabase('saga-store'), { max: 20, name: 'test', bounds: sagaBounds })
  store = new SagaStore(pool, sagas)
  gathering = new SagaStore(pool, sagas, { gathering: {} })
})
afterAll(() => pool.end())

const input = { username: 'Jane', address: 'here', payment: '4242 4242' }

const times = { stepTimeoutMs: 5_000, deadlineMs: 60_000 }

/** An open saga. */
async function open(steps: StepDeclarations = createUserSaga.steps): Promise<string> {
  const sagaId = randomUUID()
  await store.writeIntent({ sagaId, saga: createUser, steps, input, maxOpen: 500 })
  await store.open(sagaId, { type: 'createUserSaga', steps, input, firstRunId: 'run' }, times)
  return sagaId
}

const invokeA = {
  op: 'invoke' as const,
  step: 'A',
  service: 'user',
  kind: 'compensatable' as const,
  input,
  budget: 100,
  decisions: 0,
  timeoutMs: 5_000,
}
const failure = {
  kind: 'failed' as const,
  outcome: 'unknown' as const,
  error: { type: 'OutcomeUnknown', message: 'no answer' },
}

test('a saga has its whole time, whatever the clock of its worker says', async () => {
  const real = Date.now
  const ahead = jest.spyOn(Date, 'now').mockImplementation(() => real() + 7_200_000)
  try {
    const { steps } = createUserSaga
    const order = { type: 'createUserSaga', steps, input, firstRunId: 'run' }
    expect(await store.open(randomUUID(), order, times)).toMatchObject({ go: 'forward' })
  } finally {
    ahead.mockRestore()
  }
})

/** Each write for itself, and all that are made at the same time as one statement. */
const ways = [
  { way: 'single', storeOf: () => store },
  { way: 'gathered', storeOf: () => gathering },
]

test.each(ways)(
  'attempts that end at once, all on the same reading of the saga, are counted apart, in the order of their log ids ($way)',
  async ({ storeOf }) => {
    const sagaId = await open()
    const { seen } = await storeOf().beginAttempt(sagaId, invokeA)
    const end = () =>
      storeOf().endAttempt(
        sagaId,
        { entryId: randomUUID(), order: invokeA, startedAt: new Date(), endedAt: new Date(), end: failure },
        seen,
      )
    await Promise.all(Array.from({ length: 20 }, end))
    const { rows } = await pool.query(`SELECT attempt FROM saga_log WHERE saga_id = $1 AND service = 'A' ORDER BY id`, [
      sagaId,
    ])
    expect(rows.map(({ attempt }) => attempt)).toEqual(Array.from({ length: 20 }, (_, i) => i + 1))
    expect((await store.get(sagaId))?.steps[0]?.attempts).toBe(20)
  },
)

test.each(ways)('attempts of two steps that end at once are both in the log, and in the saga ($way)', async (by) => {
  const sagaId = await open()
  const orders = [invokeA, { ...invokeA, step: 'B', service: 'address' }]
  const { seen } = await by.storeOf().beginAttempt(sagaId, invokeA)
  const applied = { kind: 'applied' as const, message: 'applied' }
  const end = (order: AttemptEnd['order']) =>
    by
      .storeOf()
      .endAttempt(
        sagaId,
        { entryId: randomUUID(), order, startedAt: new Date(), endedAt: new Date(), end: applied },
        seen,
      )
  await Promise.all(orders.map(end))
  expect(await by.storeOf().complete(sagaId, null)).toMatchObject({ go: 'ended' })
  const { rows } = await pool.query(
    `SELECT service FROM saga_log WHERE saga_id = $1 AND status = 'success' ORDER BY service`,
    [sagaId],
  )
  expect(rows).toEqual([{ service: 'A' }, { service: 'B' }])
  expect((await store.get(sagaId))?.steps).toMatchObject([
    { step: 'A', status: 'succeeded', attempts: 1 },
    { step: 'B', status: 'succeeded', attempts: 1 },
    { step: 'C', status: 'pending' },
  ])
})

/** A saga that rolls back, and waits for an operator at A. */
async function stuck(): Promise<string> {
  const sagaId = await open()
  await store.claimRollback(sagaId, { cause: { failedStep: 'A', error: failure.error }, reached: ['A'] })
  await store.park(sagaId, { step: 'A', at: 'compensate', error: failure.error, decisions: 0 })
  return sagaId
}

const ofAnn = { step: 'A', action: 'retry' as const, reason: 'it is back', actor: 'ann' }
const ofBob = { step: 'A', action: 'skip' as const, reason: 'it may stay', actor: 'bob' }

test.each(ways)(
  'of two decisions at once one is recorded, and the other one is refused ($way)',
  async ({ storeOf }) => {
    const sagaId = await stuck()
    const answers = await Promise.all([storeOf().decide(sagaId, ofAnn), storeOf().decide(sagaId, ofBob)])
    expect(answers.map(({ kind }) => kind).toSorted()).toEqual(['recorded', 'refused'])
    const recorded = answers.find((one) => one.kind === 'recorded')
    const { rows } = await pool.query(
      `SELECT message FROM saga_log WHERE saga_id = $1 AND service = 'COMPENSATE_A' AND status = 'decision'`,
      [sagaId],
    )
    expect(rows).toHaveLength(1)
    expect((await store.get(sagaId))?.compensations[0]?.decision?.actor).toBe(
      recorded?.kind === 'recorded' ? recorded.decision.actor : undefined,
    )
  },
)

test.each(ways)('of a cancel and a decision at once both are kept ($way)', async ({ storeOf }) => {
  const sagaId = await open()
  const error = failure.error
  await store.park(sagaId, { step: 'A', at: 'settle', error, decisions: 0 })
  const cancel = { actor: 'ann', reason: 'no longer needed' }
  const retry = { ...ofAnn, actor: 'bob' }
  const [, decided] = await Promise.all([storeOf().requestCancel(sagaId, cancel), storeOf().decide(sagaId, retry)])
  expect(decided).toMatchObject({ kind: 'recorded' })
  const record = await store.get(sagaId)
  expect(record?.cancel).toMatchObject(cancel)
  expect(record?.steps[0]?.decision).toMatchObject({ actor: 'bob' })
})

test.each(ways)(
  'an attempt whose row was written, and its answer lost, is written once ($way)',
  async ({ storeOf }) => {
    const sagaId = await open()
    const { seen } = await storeOf().beginAttempt(sagaId, invokeA)
    const attempt = { entryId: randomUUID(), order: invokeA, startedAt: new Date(), endedAt: new Date(), end: failure }
    await storeOf().endAttempt(sagaId, attempt, seen)
    await storeOf().endAttempt(sagaId, attempt, seen)
    const { rows } = await pool.query(`SELECT attempt FROM saga_log WHERE saga_id = $1 AND service = 'A'`, [sagaId])
    expect(rows).toEqual([{ attempt: 1 }])
    expect((await store.get(sagaId))?.steps[0]?.attempts).toBe(1)
  },
)

test('the undo of a step that was never reached writes nothing, and waits for nobody who holds the saga', async () => {
  const sagaId = await open()
  const cause = { failedStep: 'A', error: failure.error }
  await store.claimRollback(sagaId, { cause, reached: ['A'] })
  const order = { ...invokeA, op: 'compensate' as const, step: 'B', service: 'address', reached: false }
  const { seen } = await store.beginAttempt(sagaId, order)
  const holder = await pool.connect()
  await holder.query('BEGIN')
  await holder.query('SELECT FROM saga WHERE saga_id = $1 FOR UPDATE', [sagaId])
  try {
    const end = { kind: 'compensated' as const, verdict: 'empty' as const, message: 'nothing to undo' }
    const ended = store.endAttempt(
      sagaId,
      { entryId: randomUUID(), order, startedAt: new Date(), endedAt: new Date(), end },
      seen,
    )
    expect(await ended).toEqual({})
  } finally {
    await holder.query('ROLLBACK')
    holder.release()
  }
  const { rowCount } = await pool.query(`SELECT FROM saga_log WHERE saga_id = $1 AND service = 'COMPENSATE_B'`, [
    sagaId,
  ])
  expect(rowCount).toBe(0)
})

test('a pivot that is settled behind its own answer has one row of its success', async () => {
  const sagaId = await open({ A: { service: 'user', kind: 'pivot' } })
  const applied = { kind: 'applied' as const, message: 'applied' }
  const end = (order: AttemptEnd['order']) =>
    store.endAttempt(sagaId, { entryId: randomUUID(), order, startedAt: new Date(), endedAt: new Date(), end: applied })
  await end({ ...invokeA, kind: 'pivot' })
  const { op, kind, input: _, ...call } = { ...invokeA, reached: true }
  expect(await end({ ...call, op: 'settle' })).toMatchObject({ step: { step: 'A', status: 'succeeded' } })
  const { rows } = await pool.query(`SELECT status, attempt FROM saga_log WHERE saga_id = $1 AND service = 'A'`, [
    sagaId,
  ])
  expect(rows).toEqual([{ status: 'success', attempt: 1 }])
})

test('a nested saga that has handed over is not rolled back but by its parent', async () => {
  const parentId = await open({ stay: { service: 'createUserSaga', kind: 'compensatable', isSaga: true } })
  const { steps } = createUserSaga
  const sagaId = `${parentId}.stay`
  await store.open(
    sagaId,
    { type: 'createUserSaga', steps, input, firstRunId: 'run', nestedIn: { sagaId: parentId, step: 'stay' } },
    times,
  )
  expect(await store.complete(sagaId, null)).toMatchObject({ go: 'ended', ending: { fate: 'completed' } })
  // Another run of it, which took it up while the first was at its last call.
  const cause = { failedStep: null, error: { type: 'Terminated', message: 'by mistake' } }
  expect(await store.claimRollback(sagaId, { cause, reached: [] })).toMatchObject({
    go: 'ended',
    ending: { fate: 'completed' },
  })
  expect(await store.claimNested(parentId, { nestedId: sagaId })).toMatchObject({ go: 'run' })
  expect(await store.claimRollback(sagaId, { cause, reached: [] })).toMatchObject({ go: 'rollback' })
})

test.each(ways)('of a cancel and a completion at once one wins, and the other one sees it ($way)', async (by) => {
  const cancelled = { actor: 'me', reason: 'enough' }
  const ends = await Promise.all(
    Array.from({ length: 20 }, async () => {
      const sagaId = await open()
      const [claim, record] = await Promise.all([
        by.storeOf().complete(sagaId, null),
        by.storeOf().requestCancel(sagaId, cancelled),
      ])
      return { completed: claim.go === 'ended', cancelled: record?.fate === 'open' }
    }),
  )
  expect(ends.filter((end) => end.completed === end.cancelled)).toEqual([])
})

/** A saga that waits for a word on the compensation of B. */
async function parked(): Promise<string> {
  const sagaId = await open()
  const error = { type: 'OutcomeUnknown', message: 'no answer' }
  await store.claimRollback(sagaId, { cause: { failedStep: 'C', error }, reached: ['A', 'B', 'C'] })
  await store.park(sagaId, { step: 'B', at: 'compensate', error, decisions: 0 })
  return sagaId
}

const deep = JSON.parse(`${'['.repeat(10_000)}${']'.repeat(10_000)}`)
const half = '\ud800'

const odd: SagaType = {
  type: 'oddSaga',
  parse: (request) => ({ input: request }),
  view: () => ({}),
  label: () => 'odd',
  secrets: () => [],
}
const fails = () => {
  throw new Error('4242 4242')
}

test.each<[what: string, saga: SagaType, input: unknown, words: string]>([
  ['a NUL', odd, { a: ['\0'] }, '/a/0 holds a NUL'],
  ['half a character', odd, { a: half }, '/a holds half a character'],
  ['half a character in a name', odd, { [half]: 1 }, 'has a name that holds half a character'],
  ['10,000 levels', odd, deep, '/0/0/0 is nested more than 100 levels deep'],
  ['an integer beyond 2^53 - 1', odd, { id: 2 ** 53 }, '/id is a number that loses digits'],
  ['a parse that throws', { ...odd, parse: fails }, {}, 'parse of oddSaga threw Error'],
  ['a view that throws', { ...odd, view: fails }, {}, 'view of oddSaga threw Error'],
  ['a label that throws', { ...odd, label: fails }, {}, 'label of oddSaga threw Error'],
  ['secrets that throw', { ...odd, secrets: fails }, {}, 'secrets of oddSaga threw Error'],
  ['a view that is no JSON', { ...odd, view: () => ({ id: 1n }) }, {}, 'view of oddSaga returned is a BigInt'],
  ['a view that is a text', { ...odd, view: () => 'x' as never }, {}, 'view of oddSaga returned is not what'],
  ['a label with a NUL', { ...odd, label: () => '\0' }, {}, 'label of oddSaga returned holds a NUL'],
  ['no label', { ...odd, label: () => undefined as never }, {}, 'label of oddSaga returned is not what'],
  ['secrets that are no texts', { ...odd, secrets: () => [7] as never }, {}, 'secrets of oddSaga returned is not what'],
  ['a parse without an answer', { ...odd, parse: () => undefined as never }, {}, 'parse of oddSaga threw TypeError'],
  ['problems with a NUL', { ...odd, parse: () => ({ problems: [{ path: '/\0', message: 'x' }] }) }, {}, '/'],
])(
  'an opening with %s ends the saga as InvalidInput, and a second one finds it so',
  async (_what, saga, input, words) => {
    const own = new SagaStore(pool, [saga])
    const sagaId = randomUUID()
    const order = { type: saga.type, steps: {}, input: input as Json, firstRunId: 'run' }
    const opened = () => own.open(sagaId, order, times).catch((error: unknown) => error)
    for (const failure of [await opened(), await opened()]) {
      expect(failure).toMatchObject({ type: 'InvalidInput', message: expect.stringContaining(words) })
      expect((failure as Error).message).not.toContain('4242')
    }
    const message = expect.stringContaining(words) as unknown as string
    expect(await own.get(sagaId)).toMatchObject({ status: 'COMPENSATED', error: { type: 'InvalidInput', message } })
    const { rows } = await pool.query('SELECT service, status FROM saga_log WHERE saga_id = $1', [sagaId])
    expect(rows).toEqual([{ service: 'SAGA', status: 'compensated' }])
  },
)

test('an intent whose input cannot be kept is refused as InvalidInput, and nothing is written', async () => {
  const sagaId = randomUUID()
  const intent = { sagaId, saga: odd, steps: {}, maxOpen: 500 }
  for (const wrong of [deep, { a: '\0' }, { a: 2 ** 60 }]) {
    await expect(store.writeIntent({ ...intent, input: wrong })).rejects.toMatchObject({ type: 'InvalidInput' })
  }
  expect(await store.get(sagaId)).toBeUndefined()
})

test('a saga that was written down before such input was refused opens as it is', async () => {
  const own = new SagaStore(pool, [odd])
  const sagaId = randomUUID()
  const input = { id: 2 ** 53 }
  await own.writeIntent({ sagaId, saga: odd, steps: {}, input: { id: 1 }, maxOpen: 500 })
  const { rows } = await pool.query(
    `UPDATE saga SET input = $2, input_hash = $3 WHERE saga_id = $1 RETURNING saga_id`,
    [sagaId, JSON.stringify(input), new PayloadKeys([]).hash(hashedText(input, undefined))],
  )
  expect(rows).toHaveLength(1)
  const opening = await own.open(sagaId, { type: 'oddSaga', steps: {}, input, firstRunId: 'run' }, times)
  expect(opening).toMatchObject({ go: 'forward', input })
})

test.each([
  ['a NUL', { a: '\0' }, '/a holds a NUL'],
  ['10,000 levels', deep, 'is nested more than 100 levels deep'],
  ['an integer beyond 2^53 - 1', [2 ** 53], '/0 is a number that loses digits'],
  ['a number that is none', -Infinity, 'it is not a finite number'],
])('a decision whose input has %s is refused, and nothing is written', async (_what, input, words) => {
  const sagaId = await parked()
  const before = await store.get(sagaId)
  const decision = { step: 'B', action: 'retry' as const, reason: 'mended', actor: 'grace', input: input as Json }
  expect(await store.decide(sagaId, decision)).toEqual({ kind: 'refused', why: expect.stringContaining(words) })
  expect(await store.get(sagaId)).toEqual(before)
})

test.each([null, false, 0, ''])('a decision with the input %p is kept with it', async (input) => {
  const sagaId = await parked()
  const decision = { step: 'B', action: 'retry' as const, reason: 'mended', actor: 'grace', input }
  expect(await store.decide(sagaId, decision)).toMatchObject({ kind: 'recorded', decision: { input, number: 1 } })
  const order = { step: 'B', at: 'compensate' as const, error: null, decisions: 0 }
  expect(await store.park(sagaId, order)).toMatchObject({ go: 'on', decision: { input } })
})

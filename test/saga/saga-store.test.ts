import { createHash, createSecretKey, randomBytes, randomUUID } from 'node:crypto'
import { afterAll, beforeAll, expect, jest, test } from '@jest/globals'
import { pino } from 'pino'
import { sagas } from '../../src/activities/index.js'
import { makeSagaCalls } from '../../src/saga/node/activities.js'
import type { BarredParticipant } from '../../src/saga/node/barrier.js'
import { makePool, sagaBounds, type Pool } from '../../src/saga/node/db.js'
import type { AttemptEnd } from '../../src/saga/node/projection.js'
import { PayloadKeys } from '../../src/saga/node/payload-keys.js'
import type { SagaRecord } from '../../src/saga/node/saga-record.js'
import { hashedText, SagaStore } from '../../src/saga/node/saga-store.js'
import type { SagaType } from '../../src/saga/node/saga-type.js'
import type { Json, Outcome, SagaError, StepDeclarations } from '../../src/saga/types.js'
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

test('a refusal stays why a saga rolls back, also if the step is asked once more after it was settled', async () => {
  const sagaId = await open()
  const refused = { type: 'Rejected', message: 'sold out' }
  const late = { type: 'LateInvoke', message: 'C has been compensated already' }
  const order = { ...invokeA, step: 'C', service: 'payment', kind: 'pivot' as const }
  const ended = (error: SagaError, outcome: Outcome) => ({
    ...{ entryId: randomUUID(), order, startedAt: new Date(), endedAt: new Date() },
    end: { kind: 'failed' as const, outcome, error },
  })
  await store.endAttempt(sagaId, ended(refused, 'rejected'))
  await store.endAttempt(sagaId, ended(late, 'unknown'))
  await store.claimRollback(sagaId, { cause: { failedStep: 'C', error: late }, reached: ['C'] })
  const record = await store.get(sagaId)
  expect(record).toMatchObject({ failedStep: 'C', error: refused })
  expect(record?.steps[2]).toMatchObject({ outcome: 'rejected', error: refused, attempts: 2 })
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
    `UPDATE saga SET input = $2, sealing = 0, input_hash = $3 WHERE saga_id = $1 RETURNING saga_id`,
    [sagaId, JSON.stringify(input), (await store.keys()).hash(hashedText(input, undefined))],
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
  const written = async () => ({ ...(await store.get(sagaId)), readAt: null })
  const before = await written()
  const decision = { step: 'B', action: 'retry' as const, reason: 'mended', actor: 'grace', input: input as Json }
  expect(await store.decide(sagaId, decision)).toEqual({ kind: 'refused', why: expect.stringContaining(words) })
  expect(await written()).toEqual(before)
})

test.each([null, false, 0, ''])('a decision with the input %p is kept with it', async (input) => {
  const sagaId = await parked()
  const decision = { step: 'B', action: 'retry' as const, reason: 'mended', actor: 'grace', input }
  expect(await store.decide(sagaId, decision)).toMatchObject({ kind: 'recorded', decision: { input, number: 1 } })
  const order = { step: 'B', at: 'compensate' as const, error: null, decisions: 0 }
  expect(await store.park(sagaId, order)).toMatchObject({ go: 'on', decision: { input } })
})

// What is secret, and how it is kept.

const k1 = { id: 'k1', key: createSecretKey(randomBytes(32)) }
const withKeys = () => new SagaStore(pool, sagas, { payloadKeys: new PayloadKeys([k1]) })

/** A row as it stands. */
async function rowOf(sagaId: string): Promise<SagaRecord> {
  const record = await store.get(sagaId)
  if (!record) throw new Error(`no row of ${sagaId}`)
  return record
}

/** Writes down that somebody wants a saga. */
async function intend(by: SagaStore, over: { idempotencyKey?: string } = {}): Promise<string> {
  const sagaId = randomUUID()
  await by.writeIntent({ sagaId, saga: createUser, steps: createUserSaga.steps, input, maxOpen: 500, ...over })
  return sagaId
}

const openedBy = (by: SagaStore, sagaId: string) =>
  by.open(sagaId, { type: 'createUserSaga', steps: createUserSaga.steps, input, firstRunId: 'run' }, times)

test.each([
  { what: 'input', column: 'input', read: openedBy },
  { what: 'secrets', column: 'secrets', read: (by: SagaStore, id: string) => by.beginAttempt(id, invokeA) },
])("with keys nobody reads one saga's $what in the row of another", async ({ column, read }) => {
  const keyed = withKeys()
  const [one, two] = [await intend(keyed), await intend(keyed)]
  await read(keyed, one)
  await pool.query(`UPDATE saga SET ${column} = (SELECT ${column} FROM saga WHERE saga_id = $1) WHERE saga_id = $2`, [
    one,
    two,
  ])
  await expect(read(keyed, two)).rejects.toThrow(/does not fit: it is another key, or the data was changed/)
})

test('what is secret is encrypted without keys too, and is gone when a single saga can act no more', async () => {
  const sagaId = await open()
  expect(JSON.stringify((await rowOf(sagaId)).secrets)).not.toContain('4242')
  expect(await store.secretsOf(await rowOf(sagaId))).toEqual([input.payment])
  await store.complete(sagaId, {})
  expect(await rowOf(sagaId)).toMatchObject({ fate: 'completed', input: null, secrets: null })
})

test('a row that an earlier version has written is gone on with, and its key known again', async () => {
  const idempotencyKey = randomUUID()
  const sagaId = await intend(store, { idempotencyKey })
  const hash = createHash('sha256').update(hashedText(input, undefined)).digest('base64')
  await pool.query('UPDATE saga SET input = $2, sealing = 0, secrets = NULL, input_hash = $3 WHERE saga_id = $1', [
    ...[sagaId, input, hash],
  ])
  expect(await store.secretsOf(await rowOf(sagaId))).toEqual([input.payment])
  const again = { sagaId: randomUUID(), saga: createUser, steps: createUserSaga.steps, maxOpen: 500, idempotencyKey }
  expect(await store.writeIntent({ ...again, input })).toMatchObject({ kind: 'replayed', record: { sagaId } })
  expect(await store.writeIntent({ ...again, input: { ...input, username: 'Joe' } })).toEqual({ kind: 'mismatch' })
  expect(store.requestOf(await rowOf(sagaId))).toEqual(input)
  expect(await openedBy(store, sagaId)).toMatchObject({ go: 'forward', input })
})

test('an input that looks like something encrypted comes back as it was given', async () => {
  const given = { keyId: 'x', sealed: 'y' }
  const sagaId = randomUUID()
  const saga: SagaType = {
    ...createUser,
    parse: () => ({ input: given }),
    view: () => ({}),
    label: () => '',
    secrets: () => [],
  }
  const odd = new SagaStore(pool, [saga])
  const intent = { sagaId, saga, steps: createUserSaga.steps, input: given, maxOpen: 500 }
  await odd.writeIntent(intent)
  expect(odd.requestOf(await rowOf(sagaId))).toEqual(given)
  expect(await openedBy(odd, sagaId)).toMatchObject({ go: 'forward', input: given })
})

test('a saga knows what its parent knows to be secret', async () => {
  const steps = { stay: { service: 'createUserSaga', kind: 'compensatable' as const, isSaga: true as const } }
  const parent = await open(steps)
  const order = {
    type: 'createUserSaga',
    steps: createUserSaga.steps,
    firstRunId: 'run',
    nestedIn: { sagaId: parent, step: 'stay' },
  }
  await store.open(`${parent}.stay`, { ...order, input: { ...input, payment: 'another card' } }, times)
  expect(await store.secretsOf(await rowOf(`${parent}.stay`))).toEqual(['another card', input.payment])
})

test('what a person corrects of a retriable step is masked where the step is shown, and in what it says', async () => {
  const steps: StepDeclarations = {
    P: { service: 'user', kind: 'pivot' },
    C: { service: 'payment', kind: 'retriable' },
  }
  const sagaId = await open(steps)
  const asked: Json[] = []
  const participant = (): BarredParticipant => ({
    invoke: async (call) => {
      asked.push(call.input)
      throw new Error(`card ${(call.input as typeof input).payment.replaceAll('-', '')} is unknown`)
    },
    compensate: () => Promise.resolve('empty'),
    settle: () => Promise.resolve({ verdict: 'empty' }),
    forbid: () => Promise.resolve(),
    probe: () => Promise.resolve(undefined),
    verify: () => Promise.resolve(undefined),
  })
  const logger = pino({ level: 'silent' })
  const calls = makeSagaCalls({ store, participant, logger, ...times, hasSagaStatus: () => Promise.resolve(false) })
  const given = { userId: 1, payment: input.payment }
  const invokeC = { ...invokeA, step: 'C', service: 'payment', kind: 'retriable' as const, input: given, budget: null }
  await expect(calls.invoke(sagaId, invokeC)).rejects.toThrow('card **** is unknown')
  await calls.parkSaga(sagaId, { step: 'C', at: 'invoke', error: failure.error, decisions: 0 })
  const corrected = { userId: 1, payment: '9929-1234-5678-9016' }
  const decision = {
    step: 'C',
    action: 'retry' as const,
    reason: 'typed 9929 1234 wrongly',
    actor: 'grace',
    input: corrected,
  }
  expect(await store.decide(sagaId, decision)).toMatchObject({
    kind: 'recorded',
    decision: { reason: 'typed **** wrongly', input: corrected },
  })
  await expect(calls.invoke(sagaId, { ...invokeC, input: corrected, decisions: 1 })).rejects.toThrow(
    'card **** is unknown',
  )
  expect(asked).toEqual([given, corrected])
  const { steps: shown, secrets } = await rowOf(sagaId)
  expect(shown[1]).toMatchObject({ input: { userId: 1, payment: '****' }, error: { message: 'card **** is unknown' } })
  expect(secrets).toHaveLength(2)
  const { rows } = await pool.query('SELECT message FROM saga_log WHERE saga_id = $1', [sagaId])
  expect(JSON.stringify(rows)).not.toMatch(/9929|9016/)
})

test('an opening answers with what the steps were given only as far as it is small', async () => {
  const sagaId = await open()
  const large = { document: 'x'.repeat(150_000) }
  for (const step of ['A', 'B', 'C']) {
    const order = { ...invokeA, step, input: large }
    const end = { kind: 'applied' as const, message: 'applied' }
    const times = { startedAt: new Date(), endedAt: new Date() }
    await store.endAttempt(sagaId, { entryId: randomUUID(), order, ...times, input: large, end })
  }
  const opening = await openedBy(store, sagaId)
  expect(opening).toMatchObject({ go: 'forward', inputs: { A: large } })
  expect(JSON.stringify(opening).length).toBeLessThan(300_000)
})

test('a cancel does not wait for a key that is gone', async () => {
  const sagaId = await intend(withKeys())
  const cancel = { actor: 'grace', reason: 'no longer needed' }
  expect(await store.requestCancel(sagaId, cancel)).toMatchObject({ sagaId })
  expect((await rowOf(sagaId)).cancel).toMatchObject(cancel)
})

test('with the key of a decision gone, a saga whose input has no secrets takes the next one, too', async () => {
  const [before, after] = [{ id: 'old', key: createSecretKey(randomBytes(32)) }, k1]
  const open = { ...createUser, secrets: () => [] }
  const [both, one] = [[before, after], [after]].map(
    (keys) => new SagaStore(pool, [open], { payloadKeys: new PayloadKeys(keys) }),
  ) as [SagaStore, SagaStore]
  const sagaId = randomUUID()
  await one.writeIntent({ sagaId, saga: open, steps: createUserSaga.steps, input, maxOpen: 500 })
  await openedBy(one, sagaId)
  await one.claimRollback(sagaId, { cause: { failedStep: 'C', error: failure.error }, reached: ['C'] })
  await one.park(sagaId, { step: 'C', at: 'compensate', error: failure.error, decisions: 0 })
  const decision = {
    step: 'C',
    action: 'retry' as const,
    reason: 'mended',
    actor: 'grace',
    input: { payment: 'first' },
  }
  expect(await both.decide(sagaId, decision)).toMatchObject({ kind: 'recorded' })
  const next = { ...decision, input: { payment: 'second' } }
  expect(await one.decide(sagaId, next)).toMatchObject({ kind: 'recorded', decision: { number: 2 } })
})

test('with the key of a decision gone, the next decision takes its place, and the saga goes on', async () => {
  const [before, after] = [{ id: 'old', key: createSecretKey(randomBytes(32)) }, k1]
  const [both, one] = [
    new SagaStore(pool, sagas, { payloadKeys: new PayloadKeys([before, after]) }),
    new SagaStore(pool, sagas, { payloadKeys: new PayloadKeys([after]) }),
  ]
  const sagaId = await intend(one)
  await openedBy(one, sagaId)
  await one.claimRollback(sagaId, { cause: { failedStep: 'C', error: failure.error }, reached: ['C'] })
  await one.park(sagaId, { step: 'C', at: 'compensate', error: failure.error, decisions: 0 })
  const decision = {
    step: 'C',
    action: 'retry' as const,
    reason: 'mended',
    actor: 'grace',
    input: { payment: 'first' },
  }
  expect(await both.decide(sagaId, decision)).toMatchObject({ kind: 'recorded' })
  const compensateC = {
    ...invokeA,
    op: 'compensate' as const,
    step: 'C',
    service: 'payment',
    reached: true,
    decisions: 1,
  }
  await expect(one.beginAttempt(sagaId, compensateC)).rejects.toThrow(/the key "old"/)
  await expect(
    one.claimRollback(sagaId, { cause: { failedStep: 'C', error: failure.error }, reached: ['C'] }),
  ).rejects.toThrow(/the key "old"/)
  const next = { ...decision, input: { payment: 'second' } }
  expect(await one.decide(sagaId, next)).toMatchObject({ kind: 'recorded', decision: { number: 2 } })
  expect(await one.beginAttempt(sagaId, compensateC)).toMatchObject({ secrets: [input.payment, 'second'] })
  const claim = await one.claimRollback(sagaId, { cause: { failedStep: 'C', error: failure.error }, reached: ['C'] })
  expect(claim).toMatchObject({
    due: expect.arrayContaining([expect.objectContaining({ step: 'C', input: next.input })]),
  })
  // A run that is told of the first one only now learns that it counts no more.
  expect(await both.decide(sagaId, { ...decision, number: 1 })).toMatchObject({ kind: 'refused' })
})

import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { makePool, type Client, type Pool } from '../../src/saga/node/db.js'
import { completeFailures, type Failure, type FailureInput } from '../../src/saga/failure.js'
import { throughBarrier, type BarredParticipant } from '../../src/saga/node/barrier.js'
import {
  countCalls,
  refusing,
  readFailures,
  replaceFailures,
  withFailureInjection,
} from '../../src/saga/node/failure-injection.js'
import type { Json, Operation, Participant } from '../../src/saga/types.js'
import { makeDatabase } from '../helpers/system.js'

type Service = Participant<Json, Json | void, Client>

let pool: Pool
beforeAll(async () => {
  pool = makePool(await makeDatabase('failure-injection'), { max: 20, name: 'failure-injection-test' })
})
afterAll(() => pool.end())

const user: Service = {
  name: 'user',
  async invoke(tx, { sagaId }) {
    await tx.query('INSERT INTO table_a (username, saga_id) VALUES ($1, $2)', ['ada', sagaId])
    return 'created'
  },
  async compensate(tx, { sagaId }) {
    await tx.query('DELETE FROM table_a WHERE saga_id = $1', [sagaId])
  },
}

/** Service A behind its barrier, with these failures injected; whoever shares the scope shares the counts. */
function failing(
  input: FailureInput | FailureInput[],
  scope: string = randomUUID(),
  service = user,
): BarredParticipant {
  const failures: Failure[] = completeFailures({ A: input })['A'] ?? []
  const real = throughBarrier(pool, service)
  // Its hang lasts 1 ms: the time-out that it sleeps past, and 2 s.
  return withFailureInjection(countCalls(pool), real, throughBarrier(pool, refusing(service)), {
    scope,
    failures,
    timeoutMs: -1_999,
  })
}

const callOf = (sagaId: string) => ({ sagaId, step: 'A', input: {} })

/** One call: "ok", or the failure's type, and for a crash its name. */
const make = (as: BarredParticipant, op: Operation, sagaId: string): Promise<string> =>
  as[op](callOf(sagaId)).then(
    () => 'ok',
    ({ type, constructor }) => type ?? constructor.name,
  )

/** So many calls of sagas of their own: "." for one that went through, "x" for one that failed. */
async function calls(as: BarredParticipant, op: Operation, times: number): Promise<string> {
  let marks = ''
  for (let i = 0; i < times; i++) marks += (await make(as, op, randomUUID())) === 'ok' ? '.' : 'x'
  return marks
}

const rowsOf = async (sagaId: string): Promise<number> =>
  (await pool.query('SELECT FROM table_a WHERE saga_id = $1', [sagaId])).rows.length

const modes: { failure: FailureInput; marks: string }[] = [
  { failure: { mode: 'none' }, marks: '........' },
  { failure: { mode: 'alternate' }, marks: '.x.x.x.x' },
  { failure: { mode: 'always' }, marks: 'xxxxxxxx' },
  { failure: { mode: 'first', n: 1 }, marks: 'x.......' },
  { failure: { mode: 'first', n: 3 }, marks: 'xxx.....' },
  { failure: { mode: 'rate', rate: 0 }, marks: '........' },
  { failure: { mode: 'rate', rate: 1 }, marks: 'xxxxxxxx' },
]
const matrix = modes.flatMap(({ failure, marks }) =>
  (['invoke', 'compensate'] as const).flatMap((on) =>
    (['before', 'after'] as const).map((when) => ({ ...failure, n: failure.n ?? '', on, when, failure, marks })),
  ),
)

test.each(matrix)('$mode $n on $on, $when the commit: $marks', async ({ failure, on, when, marks }) => {
  const as = failing({ ...failure, on, when })
  expect(await calls(as, on, 8)).toBe(marks)
  const other = on === 'invoke' ? 'compensate' : 'invoke'
  expect(await calls(as, other, 4)).toBe('....')
})

test('a rate is kept over many calls, and falls the same way when the same calls are made again', async () => {
  const scope = 'rate'
  const as = failing({ mode: 'rate', rate: 0.3 }, scope)
  const marks = await calls(as, 'invoke', 400)
  const failed = marks.split('x').length - 1
  expect(failed).toBeGreaterThan(400 * 0.2)
  expect(failed).toBeLessThan(400 * 0.4)
  await pool.query('DELETE FROM failure_call WHERE scope = $1', [scope])
  expect(await calls(as, 'invoke', 400)).toBe(marks)
})

const kinds = [
  { kind: 'error', when: 'before', outcome: 'OutcomeUnknown', rows: 0 },
  { kind: 'error', when: 'after', outcome: 'OutcomeUnknown', rows: 1 },
  { kind: 'crash', when: 'before', outcome: 'InjectedCrash', rows: 0 },
  { kind: 'crash', when: 'after', outcome: 'InjectedCrash', rows: 1 },
  { kind: 'reject', when: 'before', outcome: 'Rejected', rows: 0 },
  { kind: 'hang', when: 'before', outcome: 'ok', rows: 1 },
  { kind: 'hang', when: 'after', outcome: 'ok', rows: 1 },
] as const

test.each(kinds)('$kind $when ends an invoke as $outcome, with $rows rows', async ({ kind, when, outcome, rows }) => {
  const sagaId = randomUUID()
  expect(await make(failing({ mode: 'always', kind, when }), 'invoke', sagaId)).toBe(outcome)
  expect(await rowsOf(sagaId)).toBe(rows)
})

test.each(kinds.filter(({ kind }) => kind !== 'reject'))(
  '$kind $when ends a compensate as $outcome, and what is committed is committed',
  async ({ kind, when, outcome }) => {
    const sagaId = randomUUID()
    const as = failing({ mode: 'always', kind, when, on: 'compensate' })
    await as.invoke(callOf(sagaId))
    expect(await make(as, 'compensate', sagaId)).toBe(outcome)
    expect(await rowsOf(sagaId)).toBe(when === 'before' && kind !== 'hang' ? 1 : 0)
  },
)

test('a hang before the transaction that is compensated meanwhile is late, and commits nothing', async () => {
  const sagaId = randomUUID()
  const hanging = failing({ mode: 'always', kind: 'hang' })
  await throughBarrier(pool, user).compensate(callOf(sagaId))
  expect(await make(hanging, 'invoke', sagaId)).toBe('LateInvoke')
  expect(await rowsOf(sagaId)).toBe(0)
})

test('a duplicate is failed after its commit as well', async () => {
  const sagaId = randomUUID()
  const as = failing({ mode: 'first', n: 2, when: 'after' })
  expect([await make(as, 'invoke', sagaId), await make(as, 'invoke', sagaId)]).toEqual(Array(2).fill('OutcomeUnknown'))
  expect(await as.invoke(callOf(sagaId))).toEqual({ verdict: 'duplicate', result: 'created' })
  expect(await rowsOf(sagaId)).toBe(1)
})

test('an injected refusal is kept like a real one', async () => {
  const sagaId = randomUUID()
  const as = failing({ mode: 'first', n: 1, kind: 'reject' })
  const refusal = { type: 'Rejected', nonRetryable: true, message: 'injected: user refuses' }
  await expect(as.invoke(callOf(sagaId))).rejects.toMatchObject(refusal)
  await expect(as.invoke(callOf(sagaId))).rejects.toMatchObject(refusal)
  expect(await as.compensate(callOf(sagaId))).toBe('empty')
})

test('a failure says which service it is, what it does and where', async () => {
  const cases: [FailureInput, Operation, string][] = [
    [{ mode: 'always' }, 'invoke', 'injected (always): invoke of A fails before its transaction'],
    [{ mode: 'first', n: 1, when: 'after' }, 'invoke', 'injected (first): invoke of A fails after its commit'],
    [
      { mode: 'always', on: 'compensate', kind: 'crash' },
      'compensate',
      'injected (always): compensate of A ends its process before its transaction',
    ],
  ]
  for (const [failure, op, message] of cases) {
    await expect(failing(failure)[op](callOf(randomUUID()))).rejects.toThrow(message)
  }
})

const lists: { what: string; list: FailureInput[]; op: Operation; outcomes: string[] }[] = [
  {
    what: 'the first that fires wins',
    list: [
      { mode: 'first', n: 2 },
      { mode: 'always', kind: 'reject' },
    ],
    op: 'invoke',
    outcomes: ['OutcomeUnknown', 'OutcomeUnknown', 'Rejected', 'Rejected'],
  },
  {
    what: 'one that never fires leaves room for the next',
    list: [{ mode: 'none' }, { mode: 'rate', rate: 0, kind: 'crash' }, { mode: 'alternate' }],
    op: 'invoke',
    outcomes: ['ok', 'OutcomeUnknown', 'ok', 'OutcomeUnknown'],
  },
  {
    what: 'all of one operation count the same calls, whoever fires',
    list: [{ mode: 'first', n: 1, kind: 'crash' }, { mode: 'alternate' }, { mode: 'first', n: 3, kind: 'reject' }],
    op: 'invoke',
    outcomes: ['InjectedCrash', 'OutcomeUnknown', 'Rejected', 'OutcomeUnknown'],
  },
  {
    what: 'those of the other operation are passed over',
    list: [{ mode: 'always' }, { mode: 'first', n: 1, on: 'compensate', kind: 'crash' }],
    op: 'compensate',
    outcomes: ['InjectedCrash', 'ok', 'ok', 'ok'],
  },
]

test.each(lists)('of a list $what', async ({ list, op, outcomes }) => {
  const as = failing(list)
  const made: string[] = []
  for (const _ of outcomes) made.push(await make(as, op, randomUUID()))
  expect(made).toEqual(outcomes)
})

test('invokes and compensates are counted apart', async () => {
  const as = failing([{ mode: 'alternate' }, { mode: 'alternate', on: 'compensate' }])
  let marks = ''
  for (let i = 0; i < 3; i++) marks += (await calls(as, 'invoke', 1)) + (await calls(as, 'compensate', 1))
  expect(marks).toBe('..xx..')
})

test('a call that its participant rolled back has been counted all the same', async () => {
  const broken: Service = { ...user, invoke: () => Promise.reject(new Error('out of order')) }
  const scope = randomUUID()
  const as = failing({ mode: 'first', n: 2 }, scope, broken)
  expect(await calls(as, 'invoke', 2)).toBe('xx')
  await expect(as.invoke(callOf(randomUUID()))).rejects.toThrow('out of order')
  const { rows } = await pool.query('SELECT step, op, calls::int FROM failure_call WHERE scope = $1', [scope])
  expect(rows).toEqual([{ step: 'A', op: 'invoke', calls: 3 }])
  expect(await calls(failing({ mode: 'first', n: 4 }, scope), 'invoke', 2)).toBe('x.')
})

test('those who share a scope share its counts, at once too; another scope counts for itself', async () => {
  const scope = randomUUID()
  const workers = [failing({ mode: 'alternate' }, scope), failing({ mode: 'alternate' }, scope)]
  const marks = await Promise.all(
    Array.from({ length: 20 }, (_, i) => calls(workers[i % 2] ?? failing([]), 'invoke', 2)),
  )
  expect(marks.join('').replaceAll('.', '')).toBe('x'.repeat(20))
  expect(await calls(failing({ mode: 'alternate' }), 'invoke', 2)).toBe('.x')
})

/** Service A that also takes many calls at once. */
const userForMany: Service = {
  ...user,
  async invokeMany(tx, calls) {
    await tx.query(`INSERT INTO table_a (username, saga_id) SELECT 'ada', unnest($1::text[])`, [
      calls.map(({ sagaId }) => sagaId),
    ])
    return calls.map(() => 'created')
  },
  async compensateMany(tx, calls) {
    await tx.query('DELETE FROM table_a WHERE saga_id = ANY ($1)', [calls.map(({ sagaId }) => sagaId)])
  },
}

/** The same participant, whose calls go together with those that are made at the same time. */
const together = (as: BarredParticipant): BarredParticipant => ({ ...as, ...as.together })

test.each(kinds)(
  'of calls that go together $kind $when ends every second as $outcome, with $rows rows',
  async ({ kind, when, outcome, rows }) => {
    const as = together(failing({ mode: 'alternate', kind, when }, randomUUID(), userForMany))
    const sagaIds = Array.from({ length: 10 }, () => randomUUID())
    const ends = await Promise.all(sagaIds.map((sagaId) => make(as, 'invoke', sagaId)))
    expect(ends).toEqual(sagaIds.map((_, i) => (i % 2 === 0 ? 'ok' : outcome)))
    const found = await Promise.all(sagaIds.map(rowsOf))
    expect(found).toEqual(sagaIds.map((_, i) => (i % 2 === 0 ? 1 : rows)))
  },
)

test.each(kinds.filter(({ kind }) => kind !== 'reject'))(
  'of undos that go together $kind $when ends every second as $outcome, and what is committed is committed',
  async ({ kind, when, outcome }) => {
    const as = together(failing({ mode: 'alternate', kind, when, on: 'compensate' }, randomUUID(), userForMany))
    const sagaIds = Array.from({ length: 10 }, () => randomUUID())
    await Promise.all(sagaIds.map((sagaId) => as.invoke(callOf(sagaId))))
    const ends = await Promise.all(sagaIds.map((sagaId) => make(as, 'compensate', sagaId)))
    expect(ends).toEqual(sagaIds.map((_, i) => (i % 2 === 0 ? 'ok' : outcome)))
    const found = await Promise.all(sagaIds.map(rowsOf))
    expect(found).toEqual(sagaIds.map((_, i) => (i % 2 === 1 && when === 'before' && kind !== 'hang' ? 1 : 0)))
  },
)

test('each step of a scope counts for itself', async () => {
  const as = failing({ mode: 'alternate' })
  const ofStep = (step: string) => as.invoke({ ...callOf(randomUUID()), step })
  await ofStep('A')
  await ofStep('B')
  await expect(ofStep('A')).rejects.toThrow('invoke of A')
  await expect(ofStep('B')).rejects.toThrow('invoke of B')
})

test('nothing is counted where nothing can fail', async () => {
  const scope = randomUUID()
  await calls(failing([{ mode: 'none' }, { mode: 'always', on: 'compensate' }], scope), 'invoke', 3)
  expect((await pool.query('SELECT FROM failure_call WHERE scope = $1', [scope])).rows).toEqual([])
})

test("what is in force is the demo's, until it is replaced as a whole; every replacement is a new generation", async () => {
  const generation = async () => (await pool.query('SELECT generation FROM failure_injection')).rows
  expect(await readFailures(pool)).toEqual(
    completeFailures({ A: { mode: 'alternate' }, B: { mode: 'alternate', when: 'after' }, C: { mode: 'none' } }),
  )
  const failures = completeFailures({ C: [{ mode: 'first', n: 1 }] })
  await replaceFailures(pool, failures)
  await replaceFailures(pool, failures)
  expect(await readFailures(pool)).toEqual(failures)
  expect(await generation()).toEqual([{ generation: '3' }])
})

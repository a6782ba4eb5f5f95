import { afterAll, expect, test } from '@jest/globals'
import type { FailuresInput } from '../../src/saga/failure.js'
import { startEngine } from '../helpers/engine.js'
import { decide, expectAgreement, Gated, parked, type Asked } from './gates.js'
import { sideBySideSaga, tripSaga } from './sagas.js'

const names = ['flight', 'hotel', 'charge', 'ticket', 'letter']
const gated = new Gated()
const engine = await startEngine('group', {
  workflows: new URL('./sagas.ts', import.meta.url),
  services: names.map((name) => gated.service(name)),
  types: ['tripSaga', 'sideBySideSaga'],
  steps: { tripSaga: tripSaga.steps, sideBySideSaga: sideBySideSaga.steps },
})
const { sagas } = engine
afterAll(() => engine.stop())

interface Case {
  what: string
  input?: Asked
  failures?: FailuresInput
  /** It leaves the group, and what it has done is called once more, for its barriers to answer. */
  leaves?: boolean
}

const cases: Case[] = [
  { what: 'nothing' },
  { what: 'a refusal of the first step', input: { refuse: ['flight invoke'] } },
  { what: 'a refusal of the second step', input: { refuse: ['hotel invoke'] } },
  { what: 'a refusal of the pivot', input: { refuse: ['charge invoke'] } },
  { what: 'a step that fails for good before its commit', failures: { hotel: { mode: 'always', when: 'before' } } },
  { what: 'a step that fails for good behind its commit', failures: { hotel: { mode: 'always', when: 'after' } } },
  { what: 'a step that fails twice', failures: { flight: { mode: 'first', n: 2 } } },
  { what: 'a pivot that fails behind its commit', failures: { charge: { mode: 'always', when: 'after' } } },
  { what: 'a pivot that fails before its commit', failures: { charge: { mode: 'always', when: 'before' } } },
  { what: 'a step that hangs once', failures: { hotel: { mode: 'first', n: 1, kind: 'hang' } }, leaves: true },
  { what: 'a retriable step that fails thrice', failures: { ticket: { mode: 'first', n: 3 } } },
  {
    what: 'a compensation that fails twice',
    input: { refuse: ['charge invoke'] },
    failures: { flight: { mode: 'first', n: 2, on: 'compensate' } },
  },
]

async function told(sagaId: string) {
  const { status, failedStep, error, steps, compensations } = await sagas.ended(sagaId)
  const timeless = steps.map(({ startedAt, endedAt, ...step }) => step)
  const rows = (await sagas.logRows(sagaId)).map(({ service, status, attempt, message }) => ({
    row: [service, status, attempt].filter((word) => word !== null).join(' '),
    // A call that hangs may have ended by the next attempt, or not.
    message: message
      .replaceAll(sagaId, 'ID')
      .replace('was applied by an earlier attempt; its result was kept', 'applied'),
  }))
  return { status, failedStep, error, steps: timeless, compensations, rows, effects: await engine.effects(sagaId) }
}

async function toldInShort(sagaId: string) {
  const { status, failedStep, effects } = await told(sagaId)
  return { status, failedStep, effects: effects.toSorted() }
}

// Which of two steps that go side by side is heard of first nobody knows.
test.each([
  { type: 'tripSaga', tell: told },
  { type: 'sideBySideSaga', tell: toldInShort },
])('$type ends in a group as it does alone, whatever meets it', async ({ type, tell }) => {
  const to = { to: 'Zürich' }
  const alone = await Promise.all(
    cases.map(({ input, failures }) => engine.start(type, { ...to, ...input }, failures && { failures })),
  )
  const together = await engine.startGroup(
    type,
    cases.map(({ input, failures }) => ({ input: { ...to, ...input }, ...(failures && { failures }) })),
  )
  for (const [i, { what, leaves }] of cases.entries()) {
    const telling = leaves ? toldInShort : tell
    const one = await telling(alone[i] ?? '')
    expect({ what, ...(await telling(together[i] ?? '')) }).toEqual({ what, ...one })
  }
})

test('a saga that is stuck leaves its group, and a person decides', async () => {
  const refuse = ['charge invoke', 'flight compensate']
  const [stuck = '', other = ''] = await engine.startGroup('tripSaga', [{ input: { refuse } }, { input: {} }])
  expect(await parked(engine, stuck)).toEqual(['flight'])
  expect((await sagas.ended(other)).status).toBe('COMPLETED')
  gated.mend(stuck, 'flight compensate')
  expect(await decide(engine, stuck, { step: 'flight', action: 'retry' })).toBe(200)
  expect(await sagas.ended(stuck)).toMatchObject({ status: 'COMPENSATED' })
  expect(await engine.effects(stuck)).toEqual([])
  await sagas.closing(stuck)
  await expectAgreement(engine, stuck)
})

test('a saga that waits for its next attempt goes on in time, however busy the others keep the run', async () => {
  const slow = { 'hotel invoke': 700, 'charge invoke': 700, 'ticket invoke': 700 }
  const [waiting = '', busy = ''] = await engine.startGroup('tripSaga', [
    { input: {}, failures: { flight: { mode: 'first', n: 1 } } },
    { input: { slow } },
  ])
  const rows = (await Promise.all([waiting, busy].map((id) => sagas.ended(id).then(() => sagas.logRows(id))))).flat()
  const idOf = (sagaId: string, service: string) =>
    rows.find((row) => row.sagaId === sagaId && row.service === service && row.status === 'success')?.id
  expect(idOf(waiting, 'flight')).toBeLessThan(idOf(busy, 'ticket') ?? 0)
})

test('every run replays', async () => {
  expect(await engine.replay()).toBeGreaterThan(0)
})

import { expect, test } from '@jest/globals'
import type { ForwardParticipant, Participant } from '../../src/saga/types.js'
import { compensatable, defineSaga, nested, pivot, retriable } from '../../src/saga/workflow/define-saga.js'

// What the compiler refuses is proved by `npm run typecheck`: a line below its directive that compiled would be an error.

interface Flight extends Participant<{ to: string }, { seat: number }> {
  readonly name: 'flight'
}
interface Charge extends ForwardParticipant<{ amount: number }, { receipt: string }> {
  readonly name: 'charge'
}
interface Letter extends ForwardParticipant<{ to: string }, void> {
  readonly name: 'letter'
}

const steps = {
  flight: compensatable<Flight>('flight'),
  charge: pivot<Charge>('charge'),
  letter: retriable<Letter>('letter'),
}

test('right sagas compile, with inputs and results typed by their participants', () => {
  const saga = defineSaga('right', steps, async (step, { to }: { to: string }) => {
    const { seat } = await step.flight({ to })
    const { receipt }: { receipt: string } = await step.charge({ amount: seat })
    await step.letter({ to })
    return { seat, receipt }
  })
  const started: (input: { to: string }) => Promise<{ seat: number; receipt: string }> = saga
  expect(started).toBe(saga)
  expect(saga.steps).toEqual({
    flight: { kind: 'compensatable', service: 'flight' },
    charge: { kind: 'pivot', service: 'charge' },
    letter: { kind: 'retriable', service: 'letter' },
  })
  // A pivot and a retriable step may well have a compensate, which nobody calls.
  expect(defineSaga('also right', { flight: pivot<Flight>('flight') }, async () => {}).type).toBe('also right')
})

test('wrong sagas do not compile', () => {
  // @ts-expect-error a participant without compensate
  compensatable<Charge>('charge')
  // @ts-expect-error another participant's name
  compensatable<Flight>('hotel')
  // @ts-expect-error another participant's name
  pivot<Charge>('flight')
  const wrong = defineSaga(
    'wrong',
    { ...steps, ticket: retriable<Charge>('charge') },
    async (step, { to }: { to: string }) => {
      // @ts-expect-error a step that is not declared
      await step.fligth({ to })
      // @ts-expect-error wrong input
      await step.flight({ too: to })
      // @ts-expect-error input that is missing
      await step.flight()
      // @ts-expect-error a wrong result
      const { row } = await step.flight({ to })
      // @ts-expect-error a result of another type
      const receipt: number = (await step.charge({ amount: 1 })).receipt
      // @ts-expect-error a retriable step gives nothing where a person has done it by hand
      const ticket: { receipt: string } = await step.ticket({ amount: 1 })
      const byHand: { receipt: string } | undefined = ticket
      return [row, receipt, byHand]
    },
  )
  // @ts-expect-error a saga with a pivot can't be undone
  nested(defineSaga('final', { charge }, async () => {}))
  // To the compiler they are wrong, and only to it.
  expect(wrong.type).toBe('wrong')
})

const flight = compensatable<Flight>('flight')
const charge = pivot<Charge>('charge')
const letter = retriable<Letter>('letter')

test.each([
  ['a compensatable step behind the pivot', { charge, flight }, /Saga trip: step flight .* behind the pivot charge/],
  ['a second pivot', { flight, charge, again: charge }, /Saga trip has two pivots, charge and again/],
  ['a retriable step and no pivot', { flight, letter }, /Saga trip: step letter is retriable, but no pivot/],
  ['a retriable step before the pivot', { letter, charge }, /Saga trip: step letter is retriable, but no pivot/],
  ['a compensatable step behind a retriable one', { charge, letter, flight }, /Saga trip: step flight/],
])('%s is refused when the saga is defined, by name', (_, wrong, message) => {
  expect(() => defineSaga('trip', wrong, async () => {})).toThrow(message)
})

test.each([
  ['compensatable steps alone', { flight }],
  ['a pivot alone', { charge }],
  ['no pivot behind others', { flight, other: flight }],
  ['a pivot last', { flight, charge }],
  ['all three kinds', { flight, charge, letter }],
  ['retriable steps behind a first pivot', { charge, letter, other: letter }],
  ['no steps', {}],
])('%s make a saga', (_, right) => {
  expect(defineSaga('trip', right, async () => {}).steps).toBe(right)
})

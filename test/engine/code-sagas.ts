import { compensatable, defineSaga, pivot, retriable, type SagaBody } from '../../src/saga/workflow/define-saga.js'
import type { effectService } from '../helpers/engine.js'

export { recoverSaga } from '../../src/saga/workflow/recover-saga.js'

type Effect = ReturnType<typeof effectService>

/** A mistake is to compile: what the compiler would refuse is not what these sagas are about. */
type Loose = SagaBody<typeof steps, { bug: string }, unknown>

const steps = {
  flight: compensatable<Effect>('flight'),
  hotel: compensatable<Effect>('hotel'),
  charge: pivot<Effect>('charge'),
  ticket: retriable<Effect>('ticket'),
  letter: retriable<Effect>('letter'),
}

const undefinedTrip = undefined as unknown as { to: string }

/** Mistakes in a saga's own code, before its point of no return. `hotel` and `charge` fail where the test says so. */
const mistakes: Record<string, Loose> = {
  async 'an Error'(step, input) {
    await step.flight(input)
    throw new Error('it went wrong')
  },
  async 'an Error before the first step'() {
    throw new Error('it went wrong')
  },
  async 'a TypeError'(step, input) {
    await step.flight(input)
    return undefinedTrip.to
  },
  async 'a text thrown'(step, input) {
    await step.flight(input)
    throw 'it went wrong'
  },
  async 'nothing thrown'(step, input) {
    await step.flight(input)
    throw undefined
  },
  async 'an object thrown that has no text'(step, input) {
    await step.flight(input)
    throw Object.create(null)
  },
  async 'an Error whose message no database takes'(step, input) {
    await step.flight(input)
    throw new Error('it went \u0000 wrong \ud800')
  },
  async 'a BigInt returned'(step, input) {
    await step.flight(input)
    return 7n
  },
  async 'a function returned'(step, input) {
    await step.flight(input)
    return () => 7
  },
  async 'a symbol returned'(step, input) {
    await step.flight(input)
    return Symbol('7')
  },
  async 'a circle returned'(step, input) {
    await step.flight(input)
    const circle: { next?: object } = {}
    return Object.assign(circle, { next: circle })
  },
  async 'a step called twice'(step, input) {
    await step.flight(input)
    await step.flight(input)
  },
  async 'a step called twice, the second not awaited'(step, input) {
    await step.flight(input)
    void step.flight(input)
  },
  async 'a retriable step called before the pivot'(step, input) {
    await step.flight(input)
    await step.ticket(input)
  },
  async 'the pivot called beside a step'(step, input) {
    await Promise.all([step.flight(input), step.charge(input)])
  },
  async "a step's failure caught"(step, input) {
    await step.flight(input)
    try {
      await step.hotel(input)
    } catch {
      // As if nothing had happened.
    }
    return 'all is well'
  },
  async "a step's failure caught, and the next one called"(step, input) {
    await step.flight(input)
    await step.hotel(input).catch(() => {})
    await step.charge(input)
  },
  async 'a step that fails, not awaited'(step, input) {
    await step.flight(input)
    void step.hotel(input)
    return 'all is well'
  },
}

export const mistakeSaga = defineSaga('mistakeSaga', steps, async (step, input: { bug: string }) => {
  const body = mistakes[input.bug]
  if (!body) throw new Error(`no mistake is called ${input.bug}`)
  return body(step, input)
})

/** Mistakes behind the point of no return. */
const lateMistakes: Record<string, Loose> = {
  async 'an Error'() {
    throw new Error('it went wrong')
  },
  async 'a TypeError behind a step'(step, input) {
    await step.ticket(input)
    return undefinedTrip.to
  },
  async 'a BigInt returned'(step, input) {
    await step.ticket(input)
    return 7n
  },
  async 'a step called twice'(step, input) {
    await step.ticket(input)
    await step.ticket(input)
  },
  async 'a step called twice, and its failure caught'(step, input) {
    await step.ticket(input)
    await step.ticket(input).catch(() => {})
    return 'all is well'
  },
  async 'a compensatable step'(step, input) {
    await step.hotel(input)
  },
}

export const lateMistakeSaga = defineSaga('lateMistakeSaga', steps, async (step, input: { bug: string }) => {
  await step.flight(input)
  await step.charge(input)
  const body = lateMistakes[input.bug]
  if (!body) throw new Error(`no mistake is called ${input.bug}`)
  return body(step, input)
})

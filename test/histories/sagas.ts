import { compensatable, defineSaga, nested, pivot } from '../../src/saga/workflow/define-saga.js'
import type { effectService } from '../helpers/engine.js'

/** The workflow code of the scenarios that the shipped saga has no steps for. */
export { tripSaga } from '../engine/sagas.js'
export { recoverSaga } from '../../src/saga/workflow/recover-saga.js'
export { sagaDecisions } from '../../src/saga/workflow/saga-decisions.js'

type Effect = ReturnType<typeof effectService>

/** Two steps at once. */
export const parallelSaga = defineSaga(
  'parallelSaga',
  { flight: compensatable<Effect>('flight'), hotel: compensatable<Effect>('hotel') },
  async (step, input: { to: string }) => {
    await Promise.all([step.flight(input), step.hotel(input)])
    return { to: input.to }
  },
)

/** Its code fails before its pivot. */
export const earlyBugSaga = defineSaga(
  'earlyBugSaga',
  { flight: compensatable<Effect>('flight'), charge: pivot<Effect>('charge') },
  async (step, input: { to: string }) => {
    await step.flight(input)
    throw new TypeError('a mistake before the pivot')
  },
)

/** Its code fails behind its pivot. */
export const lateBugSaga = defineSaga(
  'lateBugSaga',
  { flight: compensatable<Effect>('flight'), charge: pivot<Effect>('charge') },
  async (step, input: { to: string }) => {
    await step.flight(input)
    await step.charge(input)
    throw new TypeError('a mistake behind the pivot')
  },
)

export const staySaga = defineSaga(
  'staySaga',
  { hotel: compensatable<Effect>('hotel') },
  async (step, input: { to: string }) => step.hotel(input),
)

/** One of its steps is a saga. */
export const parentSaga = defineSaga(
  'parentSaga',
  { flight: compensatable<Effect>('flight'), stay: nested(staySaga), ticket: compensatable<Effect>('ticket') },
  async (step, input: { to: string }) => {
    await step.flight(input)
    const { by } = await step.stay(input)
    await step.ticket(input)
    return { by }
  },
)

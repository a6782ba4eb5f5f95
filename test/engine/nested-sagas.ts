import type { Json } from '../../src/saga/types.js'
import { compensatable, defineSaga, nested, pivot, retriable } from '../../src/saga/workflow/define-saga.js'
import type { effectService } from '../helpers/engine.js'

export { recoverSaga } from '../../src/saga/workflow/recover-saga.js'

type Effect = ReturnType<typeof effectService>

/** The innermost: a room and its breakfast. */
export const roomSaga = defineSaga(
  'roomSaga',
  { room: compensatable<Effect>('room'), breakfast: compensatable<Effect>('breakfast') },
  async (step, input: Json) => {
    await step.room(input)
    await step.breakfast(input)
    return { bed: 'made' }
  },
)

/** A stay: the room, which is a saga, and a car. */
export const staySaga = defineSaga(
  'staySaga',
  { hotel: nested(roomSaga), car: compensatable<Effect>('car') },
  async (step, input: Json) => {
    const { bed } = await step.hotel(input)
    await step.car(input)
    return { bed, wheels: 4 }
  },
)

/** A trip: a flight, the stay, a ticket. */
export const tripSaga = defineSaga(
  'tripSaga',
  { flight: compensatable<Effect>('flight'), stay: nested(staySaga), ticket: compensatable<Effect>('ticket') },
  async (step, input: Json) => {
    await step.flight(input)
    const { wheels } = await step.stay(input)
    await step.ticket(input)
    return { wheels }
  },
)

/** The same with a point of no return. */
export const paidTripSaga = defineSaga(
  'paidTripSaga',
  { stay: nested(staySaga), charge: pivot<Effect>('charge'), letter: retriable<Effect>('letter') },
  async (step, input: Json) => {
    await step.stay(input)
    await step.charge(input)
    await step.letter(input)
    return { paid: true }
  },
)

/** Two stays side by side. */
export const pairSaga = defineSaga(
  'pairSaga',
  { here: nested(staySaga), there: nested(staySaga), ticket: compensatable<Effect>('ticket') },
  async (step, input: Json) => {
    await Promise.all([step.here(input), step.there(input)])
    await step.ticket(input)
  },
)

import { compensatable, defineSaga, pivot, retriable } from '../../src/saga/workflow/define-saga.js'
import type { effectService } from '../helpers/engine.js'

export { recoverSaga } from '../../src/saga/workflow/recover-saga.js'

type Effect = ReturnType<typeof effectService>

/** Two steps that can be undone, the point of no return, and two behind it. */
export const tripSaga = defineSaga(
  'tripSaga',
  {
    flight: compensatable<Effect>('flight'),
    hotel: compensatable<Effect>('hotel'),
    charge: pivot<Effect>('charge'),
    ticket: retriable<Effect>('ticket'),
    letter: retriable<Effect>('letter'),
  },
  async (step, input: { to: string }) => {
    await step.flight(input)
    await step.hotel(input)
    const { by } = await step.charge(input)
    const ticket = await step.ticket(input)
    await step.letter(input)
    return { by, ticket: ticket?.by ?? 'by hand' }
  },
)

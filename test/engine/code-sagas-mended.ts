import { defineSaga } from '../../src/saga/workflow/define-saga.js'
import { lateMistakeSaga as broken } from './code-sagas.js'
import type { effectService } from '../helpers/engine.js'
import { compensatable, pivot, retriable } from '../../src/saga/workflow/define-saga.js'

export { mistakeSaga, recoverSaga } from './code-sagas.js'

type Effect = ReturnType<typeof effectService>

/** The same with its code put right. */
export const lateMistakeSaga = defineSaga(
  broken.type,
  {
    flight: compensatable<Effect>('flight'),
    hotel: compensatable<Effect>('hotel'),
    charge: pivot<Effect>('charge'),
    ticket: retriable<Effect>('ticket'),
    letter: retriable<Effect>('letter'),
  },
  async (step, input: { bug: string }) => {
    await step.flight(input)
    await step.charge(input)
    await step.ticket(input)
    await step.letter(input)
    return { put: 'right' }
  },
)

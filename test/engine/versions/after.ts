import { patched } from '@temporalio/workflow'
import { compensatable, defineSaga } from '../../../src/saga/workflow/define-saga.js'
import type { effectService } from '../../helpers/engine.js'

export { recoverSaga } from '../../../src/saga/workflow/recover-saga.js'

type Effect = ReturnType<typeof effectService>

/** The same with a step more, which sagas that were under way take too unless they are past it. */
export const orderSaga = defineSaga(
  'orderSaga',
  {
    stock: compensatable<Effect>('stock'),
    charge: compensatable<Effect>('charge'),
    letter: compensatable<Effect>('letter'),
  },
  async (step, input: { item: string }) => {
    await step.stock(input)
    await step.charge(input)
    if (patched('letter')) await step.letter(input)
    return { item: input.item }
  },
)

import { compensatable, defineSaga } from '../../../src/saga/workflow/define-saga.js'
import type { effectService } from '../../helpers/engine.js'

export { recoverSaga } from '../../../src/saga/workflow/recover-saga.js'

type Effect = ReturnType<typeof effectService>

/** The same steps in another order. */
export const orderSaga = defineSaga(
  'orderSaga',
  { charge: compensatable<Effect>('charge'), stock: compensatable<Effect>('stock') },
  async (step, input: { item: string }) => {
    await step.charge(input)
    await step.stock(input)
    return { item: input.item }
  },
)

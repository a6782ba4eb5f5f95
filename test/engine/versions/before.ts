import { compensatable, defineSaga } from '../../../src/saga/workflow/define-saga.js'
import type { effectService } from '../../helpers/engine.js'

export { recoverSaga } from '../../../src/saga/workflow/recover-saga.js'

type Effect = ReturnType<typeof effectService>

/** As it was when the sagas of versions.test.ts began. */
export const orderSaga = defineSaga(
  'orderSaga',
  { stock: compensatable<Effect>('stock'), charge: compensatable<Effect>('charge') },
  async (step, input: { item: string }) => {
    await step.stock(input)
    await step.charge(input)
    return { item: input.item }
  },
)

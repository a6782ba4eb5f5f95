import { compensatable, defineSaga, nested, pivot, retriable } from '../../dist/saga/workflow/define-saga.js'

export * from '../../dist/saga/workflow/engine.js'

/** Nested in the other one. */
export const wrapSaga = defineSaga(
  'wrapSaga',
  { paper: compensatable('paper'), ribbon: compensatable('ribbon') },
  async (step, { n }) => {
    await step.paper({ n })
    await step.ribbon({ n })
  },
)

/** Every kind of step: two side by side, one that is a saga, a pivot, one behind it. */
export const orderSaga = defineSaga(
  'orderSaga',
  {
    stock: compensatable('stock'),
    credit: compensatable('credit'),
    wrapping: nested(wrapSaga),
    charge: pivot('charge'),
    parcel: retriable('parcel'),
  },
  async (step, { n }) => {
    await Promise.all([step.stock({ n }), step.credit({ n })])
    await step.wrapping({ n })
    await step.charge({ n })
    await step.parcel({ n })
  },
)

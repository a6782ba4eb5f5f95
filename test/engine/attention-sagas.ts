import { condition } from '@temporalio/workflow'
import { compensatable, defineSaga } from '../../src/saga/workflow/define-saga.js'
import type { effectService } from '../helpers/engine.js'

export { recoverSaga } from '../../src/saga/workflow/recover-saga.js'
export { tripSaga } from './sagas.js'

type Effect = ReturnType<typeof effectService>

const stack = {
  first: compensatable<Effect>('first'),
  second: compensatable<Effect>('second'),
  third: compensatable<Effect>('third'),
}

/** Three steps that can be undone, after which it waits for ever. */
export const haltSaga = defineSaga('haltSaga', stack, async (step, input: { to: string }) => {
  await step.first(input)
  await step.second(input)
  await step.third(input)
  await condition(() => false)
})

/** Three steps that can be undone, one after the other. */
export const stackSaga = defineSaga('stackSaga', stack, async (step, input: { to: string }) => {
  await step.first(input)
  await step.second(input)
  await step.third(input)
  return {}
})

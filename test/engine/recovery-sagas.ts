import { ApplicationFailure, CancellationScope, condition, defineSignal, setHandler } from '@temporalio/workflow'
import type { Json } from '../../src/saga/types.js'
import { compensatable, defineSaga } from '../../src/saga/workflow/define-saga.js'
import type { effectService } from '../helpers/engine.js'

export { recoverSaga } from '../../src/saga/workflow/recover-saga.js'
export { tripSaga } from './sagas.js'

type Effect = ReturnType<typeof effectService>

const steps = {
  one: compensatable<Effect>('one'),
  two: compensatable<Effect>('two'),
  three: compensatable<Effect>('three'),
}

/** Three steps that can be undone. */
export const orderSaga = defineSaga('orderSaga', steps, async (step, input: Json) => {
  const { by } = await step.one(input)
  await step.two(input)
  await step.three(input)
  return { by }
})

/** The same steps, called in the reverse of their declared order. */
export const backwardsSaga = defineSaga('backwardsSaga', steps, async (step, input: Json) => {
  await step.three(input)
  await step.two(input)
  await step.one(input)
})

/** Closes the run of `brokenSaga` in the middle, as a mistake of the engine's might. */
export const breakSignal = defineSignal<[how: 'failed' | 'completed']>('break')

const inner = defineSaga('brokenSaga', steps, async (step, input: Json) => {
  await step.one(input)
  await step.two(input)
  await condition(() => false)
})

/** Ends when it is told to, or cancelled: the saga inside does not hear of it. */
export async function brokenSaga(input: Json): Promise<void> {
  let how: string | undefined
  setHandler(breakSignal, (word) => {
    how = word
  })
  const saga = CancellationScope.nonCancellable(() => inner(input))
  saga.catch(() => {})
  await Promise.race([saga, condition(() => how !== undefined)])
  if (how === 'failed')
    throw ApplicationFailure.create({ type: 'Bug', message: 'the engine broke', nonRetryable: true })
}

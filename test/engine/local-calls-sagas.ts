import { sleep } from '@temporalio/workflow'
import type { Json } from '../../src/saga/types.js'
import { compensatable, defineSaga } from '../../src/saga/workflow/define-saga.js'
import type { effectService } from '../helpers/engine.js'

export * from '../../src/saga/workflow/engine.js'

type Effect = ReturnType<typeof effectService>
type Large = { invoke(tx: never, call: { sagaId: string; input: Json }): Promise<{ text: string }> } & Effect

const steps = {
  one: compensatable<Effect>('one'),
  two: compensatable<Effect>('two'),
  three: compensatable<Effect>('three'),
}

/** Three steps, and a timer of five seconds before the second one. */
export const nappingSaga = defineSaga('nappingSaga', steps, async (step, input: Json) => {
  await step.one(input)
  await sleep(5_000)
  await step.two(input)
  await step.three(input)
})

/** Three steps in a row. */
export const plainSaga = defineSaga('plainSaga', steps, async (step, input: Json) => {
  await step.one(input)
  await step.two(input)
  await step.three(input)
})

/** Five steps with results of any size, of which the saga gives the last one. */
export const largeSaga = defineSaga(
  'largeSaga',
  {
    v: compensatable<Large>('large'),
    w: compensatable<Large>('large'),
    x: compensatable<Large>('large'),
    y: compensatable<Large>('large'),
    z: compensatable<Large>('large'),
  },
  async (step, input: { size: number; inputSize?: number; resultSize?: number }) => {
    await step.v(input)
    await step.w(input)
    await step.x({ size: input.size, padding: 'ü'.repeat(input.inputSize ?? 0) })
    await step.y(input)
    await step.z(input)
    return { text: 'ü'.repeat(input.resultSize ?? 0) }
  },
)

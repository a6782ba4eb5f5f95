import { compensatable, defineSaga, nested, pivot, retriable } from '../../src/saga/workflow/define-saga.js'
import type { effectService } from '../helpers/engine.js'

export * from '../../src/saga/workflow/engine.js'

type Effect = ReturnType<typeof effectService>

/** One step of each kind; the saga's own result has so many bytes as JSON. */
export const answersSaga = defineSaga(
  'answersSaga',
  {
    first: compensatable<Effect>('first'),
    charge: pivot<Effect>('charge'),
    letter: retriable<Effect>('letter'),
  },
  async (step, input: { own?: number }) => {
    await step.first(input)
    await step.charge(input)
    await step.letter(input)
    return 'x'.repeat((input.own ?? 4) - 2)
  },
)

export const innerSaga = defineSaga(
  'innerSaga',
  { first: compensatable<Effect>('first') },
  async (step, input: { own?: number }) => {
    await step.first(input)
    return 'x'.repeat((input.own ?? 4) - 2)
  },
)

/** A saga whose step is another one. */
export const outerSaga = defineSaga(
  'outerSaga',
  { inner: nested(innerSaga) },
  async (step, input: { own?: number }) => {
    const result = await step.inner(input)
    return result.length
  },
)

import type { AnyParticipant, InputOf, ResultOf, StepDeclaration, StepDeclarations } from '../types.js'
import { runSaga } from './run-saga.js'

/** The steps as the saga's code calls them: `await step.A({ username })`. */
export type StepCalls<Steps extends StepDeclarations> = {
  readonly [Name in keyof Steps & string]: Steps[Name] extends StepDeclaration<infer P>
    ? (input: InputOf<P>) => Promise<ResultOf<P>>
    : never
}

/** A saga's own code: plain TypeScript, deterministic, that calls its steps and returns the saga's result. */
export type SagaBody<Steps extends StepDeclarations, Input, Result> = (
  step: StepCalls<Steps>,
  input: Input,
) => Promise<Result>

/** A saga: the workflow function itself, with its declaration for whoever starts it. */
export interface Saga<Input, Result> {
  (input: Input): Promise<Result>
  /** The workflow type: the name under which it is exported. */
  readonly type: string
  readonly steps: StepDeclarations
}

/**
 * Declares a step whose effect can be taken back. `service` is the participant's name; its type makes sure that the
 * participant has a `compensate`, and gives the step its input and result.
 */
export function compensatable<P extends AnyParticipant>(service: P['name']): StepDeclaration<P> {
  return { kind: 'compensatable', service }
}

/**
 * Defines a saga: its steps in order, and plain code that calls them. Export the result under the name `type` from the
 * workflow bundle. A step's compensation is registered before the step is called; when the code throws, or somebody
 * cancels, every declared step is compensated, last first, and the workflow fails with `SagaCompensated`.
 */
export function defineSaga<Steps extends StepDeclarations, Input, Result>(
  type: string,
  steps: Steps,
  body: SagaBody<Steps, Input, Result>,
): Saga<Input, Result> {
  const workflow = (input: Input) => runSaga({ type, steps, body }, input)
  return Object.assign(workflow, { type, steps })
}

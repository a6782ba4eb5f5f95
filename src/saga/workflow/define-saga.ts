import type {
  AnyForwardParticipant,
  AnyParticipant,
  InputOf,
  Json,
  ResultOf,
  StepDeclaration,
  StepDeclarations,
} from '../types.js'
import { runSaga, type SagaDefinition } from './run-saga.js'

/** The steps as the saga's code calls them: `await step.A({ username })`. */
export type StepCalls<Steps extends StepDeclarations> = {
  readonly [Name in keyof Steps & string]: Steps[Name] extends StepDeclaration<infer Kind, infer P>
    ? (input: InputOf<P>) => Promise<Kind extends 'retriable' ? ResultOf<P> | undefined : ResultOf<P>>
    : never
}

/**
 * A saga's own code: plain TypeScript, deterministic, that calls its steps and returns the saga's result. It goes on only
 * behind steps that have succeeded: where one fails for good, somebody cancels, or the time is up, the code is left where it
 * waits, and what was done is compensated. A retriable step gives `undefined` where a person has done it by hand.
 */
export type SagaBody<Steps extends StepDeclarations, Input, Result> = (
  step: StepCalls<Steps>,
  input: Input,
) => Promise<Result>

/** A saga: the workflow function itself, with its declaration for whoever starts it. */
export interface Saga<Input, Result, Steps extends StepDeclarations = StepDeclarations> {
  (input: Input): Promise<Result>
  /** The workflow type: the name under which it is exported. */
  readonly type: string
  readonly steps: Steps
}

/**
 * Declares a step whose effect can be taken back. `service` is the participant's name; its type makes sure that the
 * participant has a `compensate`, and gives the step its input and result.
 */
export function compensatable<P extends AnyParticipant>(service: P['name']): StepDeclaration<'compensatable', P> {
  return { kind: 'compensatable', service }
}

/**
 * Declares a step that is a saga of its own: its run is a child workflow, its id `<this saga's id>.<step>`. When it succeeds
 * it hands its undo over: it stays open until this saga has ended, completes with it, or is rolled back by it, in its own
 * code and its own order. One with a pivot, behind which nothing can be undone, does not compile.
 */
export function nested<Input, Result>(
  saga: Saga<Input, Result, Record<string, StepDeclaration<'compensatable'>>>,
): StepDeclaration<'compensatable', NestedSaga<Input, Result>> {
  return { kind: 'compensatable', service: saga.type, isSaga: true }
}

/** What a nested saga takes and gives, in the form of a participant. */
interface NestedSaga<Input, Result> {
  invoke(tx: never, call: { sagaId: string; input: Input }): Promise<Result>
}

/**
 * Declares the point of no return, one at most: until it is applied the saga can be undone, from then on it only goes
 * forward. Called once every compensatable step under way has ended.
 */
export function pivot<P extends AnyForwardParticipant>(service: P['name']): StepDeclaration<'pivot', P> {
  return { kind: 'pivot', service }
}

/**
 * Declares a step behind the pivot: it is tried until it succeeds and never undone; where that takes longer than the saga
 * has time, or it refuses, the saga waits for a person.
 */
export function retriable<P extends AnyForwardParticipant>(service: P['name']): StepDeclaration<'retriable', P> {
  return { kind: 'retriable', service }
}

/**
 * Defines a saga: its steps in order, and plain code that calls them. Export the result under the name `type` from the
 * workflow bundle. A step's compensation is registered before the step is called; when the code throws, somebody cancels,
 * or the time is up, every declared step is compensated, last first, and the workflow fails with `SagaCompensated`.
 * Throws where the order of the kinds makes no sense: compensatable steps, then at most one pivot, then retriable ones.
 */
export function defineSaga<Steps extends StepDeclarations, Input, Result>(
  type: string,
  steps: Steps,
  body: SagaBody<Steps, Input, Result>,
): Saga<Input, Result, Steps> {
  checkOrder(type, steps)
  definitions.set(type, { type, steps, body } as unknown as Definition)
  const workflow = (input: Input) => runSaga({ type, steps, body }, input)
  return Object.assign(workflow, { type, steps })
}

export type Definition = SagaDefinition<StepDeclarations, Json, Json>

/** Every saga of the bundle, by its type: a run that many share has only the type's name. */
const definitions = new Map<string, Definition>()

export function definitionOf(type: string): Definition {
  const found = definitions.get(type)
  if (!found) throw new Error(`The workflow bundle has no saga ${type}; export it from its module.`)
  return found
}

function checkOrder(type: string, steps: StepDeclarations): void {
  let pivotStep: string | undefined
  for (const [step, { kind }] of Object.entries(steps)) {
    if (kind === 'compensatable' && pivotStep !== undefined) {
      throw new Error(
        `Saga ${type}: step ${step} is compensatable and comes behind the pivot ${pivotStep}, where nothing is undone any more. Declare it before ${pivotStep}, or as retriable.`,
      )
    }
    if (kind === 'pivot' && pivotStep !== undefined) {
      throw new Error(`Saga ${type} has two pivots, ${pivotStep} and ${step}. There is one point of no return.`)
    }
    if (kind === 'retriable' && pivotStep === undefined) {
      throw new Error(
        `Saga ${type}: step ${step} is retriable, but no pivot comes before it, so it might have to be undone. Declare the step before it as the pivot, or this one as compensatable.`,
      )
    }
    if (kind === 'pivot') pivotStep = step
  }
}

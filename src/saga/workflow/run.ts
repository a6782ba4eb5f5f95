import { CancellationScope } from '@temporalio/workflow'
import { toSagaError } from '../errors.js'
import type { DecidedStep, RollbackCause, SagaError, SettleVerdict, StepDeclarations } from '../types.js'
import type { Attention } from './attention.js'
import { compensatePolicy, type Caller } from './calls.js'

/** What one run of a saga works with, whichever way it goes. */
export interface Run {
  readonly steps: StepDeclarations
  readonly caller: Caller
  readonly attention: Attention
  /** Steps on the way forward of which people have decided, or are to. */
  readonly decided: ReadonlyMap<string, DecidedStep>
  /** Begins the saga anew under its id: a new run of its own type, which its row leads. */
  again(): Promise<never>
}

/**
 * Settles by its barrier whether a pivot took effect; where it did not, it never will. Out of the reach of cancellation,
 * and tried until it is known: where its policy is used up the saga waits for a person. `cause`: why the saga would roll
 * back.
 */
export function settlePivot(
  { steps, caller, attention, decided }: Run,
  step: string,
  { reached, cause }: { reached: boolean; cause: () => RollbackCause },
): Promise<SettleVerdict> {
  return CancellationScope.nonCancellable(async () => {
    let { isStuck = false } = decided.get(step) ?? {}
    const service = steps[step]?.service ?? step
    for (;;) {
      let error: SagaError | null = null
      if (!isStuck) {
        try {
          const budget = compensatePolicy.attempts
          const decisions = attention.known(step)
          return await caller.settle({ step, service, op: 'settle', budget, decisions, reached }, compensatePolicy)
        } catch (failure) {
          error = toSagaError(failure)
        }
      }
      await attention.wait({ step, at: 'settle', error, cause: cause() })
      isStuck = false
    }
  })
}

import { CancellationScope, workflowInfo } from '@temporalio/workflow'
import { toSagaError } from '../errors.js'
import { nestedId } from '../plan.js'
import type { AttemptOrder, DecidedStep, RollbackCause, SagaError, SettleVerdict, StepDeclarations } from '../types.js'
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

/** Of a call's orders what the step itself says. */
export function callOf(
  { steps, attention }: Run,
  step: string,
): Pick<AttemptOrder, 'step' | 'service' | 'nestedId' | 'decisions'> {
  const { service = step, isSaga } = steps[step] ?? {}
  return {
    step,
    service,
    ...(isSaga && { nestedId: nestedId(workflowInfo().workflowId, step) }),
    decisions: attention.known(step),
  }
}

/**
 * Settles by its barrier whether a pivot took effect; where it did not, it never will. Out of the reach of cancellation,
 * and tried until it is known: where its policy is used up the saga waits for a person. `cause`: why the saga would roll
 * back.
 */
export function settlePivot(
  run: Run,
  step: string,
  { reached, cause }: { reached: boolean; cause: () => RollbackCause },
): Promise<SettleVerdict> {
  const { caller, attention, decided } = run
  return CancellationScope.nonCancellable(async () => {
    let { isStuck = false } = decided.get(step) ?? {}
    for (;;) {
      let error: SagaError | null = null
      if (!isStuck) {
        try {
          const order = { ...callOf(run, step), op: 'settle', reached, cause: cause() } as const
          return await caller.settle({ ...order, budget: compensatePolicy.attempts }, compensatePolicy)
        } catch (failure) {
          error = toSagaError(failure)
        }
      }
      await attention.wait({ step, at: 'settle', error, cause: cause() })
      isStuck = false
    }
  })
}

import { CancellationScope } from '@temporalio/workflow'
import { toSagaError } from '../errors.js'
import { nestedId } from '../plan.js'
import type {
  AttemptOrder,
  DecidedStep,
  ParkOrder,
  RecordedDecision,
  RollbackCause,
  SagaActivities,
  SagaError,
  SettleVerdict,
  StepDeclaration,
  StepDeclarations,
} from '../types.js'
import { compensatePolicy } from '../policy.js'
import type { Calls } from './calls.js'

/** What one run of a saga works with, whichever way it goes, and whether it runs alone or with others. */
export interface Run {
  readonly sagaId: string
  readonly steps: StepDeclarations
  /** The engine's own work on the saga's row. */
  readonly store: SagaActivities
  readonly caller: Calls
  readonly people: People
  sleep(ms: number): Promise<void>
  /** Rings after so long. Call what it returns to have it quiet. */
  alarm(ms: number, ring: () => void): () => void
  /** Steps on the way forward of which people have decided, or are to. */
  readonly decided: ReadonlyMap<string, DecidedStep>
  /** Begins the saga anew under its id: a new run of its own type, which its row leads. */
  again(): Promise<never>
}

/** What a run has to do with people. */
export interface People {
  /** Decisions on a step that an earlier run has acted on, or that are in its row. */
  know(step: string, decisions: number): void
  /** How many decisions on a step this run knows of. */
  known(step: string): number
  /** Parks the saga until a person has decided on what is stuck. Throws SagaEnded. */
  wait(order: Omit<ParkOrder, 'decisions'>): Promise<Pick<RecordedDecision, 'action' | 'input'>>
}

/**
 * Of a call's orders what the step itself says. `known`: as the saga's row has it, for the code may have lost the step since
 * it was called.
 */
export function callOf(
  { sagaId, steps, people }: Run,
  step: string,
  known: Partial<Pick<StepDeclaration, 'service' | 'isSaga'>> = {},
): Pick<AttemptOrder, 'step' | 'service' | 'nestedId' | 'decisions'> {
  const { service = step, isSaga } = known.service === undefined ? (steps[step] ?? {}) : known
  return {
    step,
    service,
    ...(isSaga && { nestedId: nestedId(sagaId, step) }),
    decisions: people.known(step),
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
  const { caller, people, decided } = run
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
      await people.wait({ step, at: 'settle', error, cause: cause() })
      isStuck = false
    }
  })
}

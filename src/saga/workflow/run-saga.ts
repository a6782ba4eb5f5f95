import {
  ActivityFailure,
  ApplicationFailure,
  CancellationScope,
  CancelledFailure,
  isCancellation,
  workflowInfo,
} from '@temporalio/workflow'
import { FailureType, sagaCompensated, toSagaError } from '../errors.js'
import type { Ending, Json, Opening, RollbackCause, RunSettings, StepDeclarations } from '../types.js'
import { compensate, compensateUnreached, invoke, store } from './calls.js'
import { throwIfCancelled } from './cancellation.js'
import { CompensationStack } from './compensation-stack.js'
import type { SagaBody, StepCalls } from './define-saga.js'

interface SagaDefinition<Steps extends StepDeclarations, Input, Result> {
  type: string
  steps: Steps
  body: SagaBody<Steps, Input, Result>
}

/**
 * One saga from its opening to its end: opens it by its row, runs its code, completes it, or compensates every declared
 * step in reverse. Returns the result of a completed saga. Throws `SagaCompensated` for a rolled back one, the
 * cancellation for a cancelled one once it is compensated, `InvalidInput` or `SagaIdTaken` where nothing ran.
 */
export async function runSaga<Steps extends StepDeclarations, Input, Result>(
  saga: SagaDefinition<Steps, Input, Result>,
  input: Input,
): Promise<Result> {
  const workflowScope = CancellationScope.current()
  const stack = new CompensationStack()
  const opening = await open(saga, input)

  let ending: Ending
  if (opening.go === 'ended') ending = opening.ending
  else if (opening.go === 'rollback') ending = await rollBack(saga.steps, stack, opening.settings, opening.cause)
  else ending = await goForward(saga, stack, opening)

  if (ending.fate === 'completed') return ending.result as Result
  // Canceled in Temporal only where this very run was cancelled; that closing carries no details.
  const { error } = ending.cause
  if (error.type === FailureType.Cancelled && workflowScope.consideredCancelled)
    throw new CancelledFailure(error.message)
  throw sagaCompensated(workflowInfo().workflowId, ending)
}

async function open(saga: { type: string; steps: StepDeclarations }, input: unknown): Promise<Opening> {
  const { firstExecutionRunId: firstRunId } = workflowInfo()
  try {
    return await CancellationScope.nonCancellable(() =>
      store.openSaga({ type: saga.type, steps: saga.steps, input: (input ?? null) as Json, firstRunId }),
    )
  } catch (error) {
    // The refusal itself closes the run, not the activity's wrapping of it.
    throw error instanceof ActivityFailure && error.cause instanceof ApplicationFailure ? error.cause : error
  }
}

async function goForward<Steps extends StepDeclarations, Input, Result>(
  { steps, body }: SagaDefinition<Steps, Input, Result>,
  stack: CompensationStack,
  { input, settings }: Opening & { go: 'forward' },
): Promise<Ending> {
  let cause: RollbackCause
  try {
    throwIfCancelled()
    const result = ((await body(stepCalls(steps, stack, settings), input as Input)) ?? null) as Json
    throwIfCancelled()
    const claim = await CancellationScope.nonCancellable(() => store.completeSaga({ result }))
    if (claim.go === 'ended') return claim.ending
    cause = claim.cause
  } catch (error) {
    cause = causeOf(error)
  }
  return rollBack(steps, stack, settings, cause)
}

function stepCalls<Steps extends StepDeclarations>(
  steps: Steps,
  stack: CompensationStack,
  settings: RunSettings,
): StepCalls<Steps> {
  const run = async (step: string, input: Json) => {
    throwIfCancelled()
    // Before the call: one whose answer never comes may have taken effect.
    stack.register(step)
    try {
      return await invoke(step, input, steps, settings)
    } catch (error) {
      throw isCancellation(error) ? error : new StepFailed(step, error)
    }
  }
  const call = (step: string) => (input: Json) => {
    const result = run(step, input)
    // A saga may await it later: until then its failure must not count as one that nobody handles.
    result.catch(() => {})
    return result
  }
  return Object.fromEntries(Object.keys(steps).map((step) => [step, call(step)])) as unknown as StepCalls<Steps>
}

class StepFailed extends Error {
  constructor(
    readonly step: string,
    readonly reason: unknown,
  ) {
    super(`Step ${step} failed`)
  }
}

function causeOf(error: unknown): RollbackCause {
  if (error instanceof StepFailed) return { failedStep: error.step, error: toSagaError(error.reason) }
  if (isCancellation(error)) return { failedStep: null, error: { type: FailureType.Cancelled, message: 'cancelled' } }
  // A mistake in the saga's own code: a plain Error that left the workflow would repeat its task for ever.
  return { failedStep: null, error: toSagaError(error) }
}

/**
 * Claims the rollback and carries it out, out of the reach of cancellation: first the declared steps that no run is known
 * to have reached (the barrier answers `empty` for what never happened, and refuses it from then on), then those that were,
 * by this run's stack and by the saga's row, newest first. After Garcia-Molina and Salem, Sagas (1987), but for the steps
 * not on the stack: a lost run may have reached them, and left nothing of it in history.
 */
function rollBack(
  steps: StepDeclarations,
  stack: CompensationStack,
  settings: RunSettings,
  cause: RollbackCause,
): Promise<Ending> {
  stack.close()
  return CancellationScope.nonCancellable(async () => {
    const claim = await store.claimRollback({ cause, reached: stack.reached })
    if (claim.go === 'ended') return claim.ending
    const run = { ...settings, regularOnly: settings.regularOnly || claim.regularOnly }

    const again: string[] = []
    for (const step of claim.unreached) {
      // One that can't be settled now must not hold what is known to need its compensation.
      await compensateUnreached(step, steps, run).catch(() => again.push(step))
    }
    for (const step of claim.reached) await compensate(step, steps, run, { reached: true })
    for (const step of again) await compensate(step, steps, run, { reached: false })

    return store.closeRolledBack()
  })
}

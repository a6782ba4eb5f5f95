import {
  ActivityCancellationType,
  ActivityFailure,
  ApplicationFailure,
  CancellationScope,
  proxyActivities,
  proxyLocalActivities,
  sleep,
} from '@temporalio/workflow'
import type {
  CallPolicy,
  CompensateOrder,
  InvokeOrder,
  Json,
  RunSettings,
  SagaActivities,
  StepDeclarations,
} from '../types.js'
import { throwIfCancelled } from './cancellation.js'

/** How often a call is tried; how long a try may take comes with the opening (SAGA_STEP_TIMEOUT_MS, 5 s). */
const invokePolicy: CallPolicy = { attempts: 3, firstDelayMs: 500, maxDelayMs: 1_000 }
const compensatePolicy: CallPolicy = { attempts: 8, firstDelayMs: 500, maxDelayMs: 10_000 }

/** Beyond the engine's own time-out of a try: for a process that is gone and keeps no time any more. */
const BACKSTOP_MS = 2_000

/** The engine's own work on the saga's row. Without a limit: a saga never ends because PostgreSQL is away. */
export const store = proxyLocalActivities<SagaActivities>({
  startToCloseTimeout: '10s',
  retry: { initialInterval: '100ms', backoffCoefficient: 2, maximumInterval: '2s' },
})

/**
 * Calls a step until it is applied, refused, or its policy is used up. The first attempt is a local activity, one round
 * trip less for the call that works; the others are regular ones, which the Web UI shows and can pause. After the first
 * that failed a run stays with regular ones: a local call that kills its process leaves nothing in history, and would be
 * made again for ever. A cancel is seen when the local attempt ends, and at once during a regular one.
 */
export async function invoke(step: string, input: Json, steps: StepDeclarations, settings: RunSettings): Promise<Json> {
  const order: InvokeOrder = {
    step,
    service: steps[step]?.service ?? step,
    op: 'invoke',
    input,
    timeoutMs: settings.stepTimeoutMs,
    budget: invokePolicy.attempts,
  }
  let policy = invokePolicy
  if (!settings.regularOnly) {
    try {
      const { result } = await CancellationScope.nonCancellable(() => localCalls(order).invoke(order))
      throwIfCancelled()
      return result
    } catch (error) {
      throwIfCancelled()
      if (!isRetryable(error)) throw error
      settings.regularOnly = true
      await sleep(policy.firstDelayMs)
      policy = afterFirst(policy)
    }
  }
  const { result } = await regularCalls(order, policy).invoke(order)
  return result
}

/** One attempt to settle a step that no run is known to have reached; throws where it failed. */
export async function compensateUnreached(step: string, steps: StepDeclarations, settings: RunSettings): Promise<void> {
  const order = compensateOrder(step, steps, settings, false)
  const calls = settings.regularOnly ? regularCalls(order, { ...compensatePolicy, attempts: 1 }) : localCalls(order)
  await calls.compensate(order)
}

/**
 * Compensates a step: by policy first, and where that is used up every 10 s without end, for what was done is never left
 * behind in silence; the log says that it is stuck.
 */
export async function compensate(
  step: string,
  steps: StepDeclarations,
  settings: RunSettings,
  { reached }: { reached: boolean },
): Promise<void> {
  const order = compensateOrder(step, steps, settings, reached)
  let policy = compensatePolicy
  if (!settings.regularOnly) {
    try {
      await localCalls(order).compensate(order)
      return
    } catch {
      settings.regularOnly = true
      await sleep(policy.firstDelayMs)
      policy = afterFirst(policy)
    }
  }
  try {
    await regularCalls(order, policy).compensate(order)
  } catch {
    await compensateForEver(order, policy.maxDelayMs)
  }
}

async function compensateForEver(order: CompensateOrder, delayMs: number): Promise<void> {
  const policy = { attempts: Number.POSITIVE_INFINITY, firstDelayMs: delayMs, maxDelayMs: delayMs }
  for (;;) {
    await sleep(delayMs)
    try {
      await regularCalls(order, policy).compensate({ ...order, budget: null })
      return
    } catch {
      // A failure that must not be retried: of a compensation it is, all the same.
    }
  }
}

function compensateOrder(
  step: string,
  steps: StepDeclarations,
  { stepTimeoutMs: timeoutMs }: RunSettings,
  reached: boolean,
): CompensateOrder {
  const service = steps[step]?.service ?? step
  return { step, service, op: 'compensate', timeoutMs, budget: compensatePolicy.attempts, reached }
}

function afterFirst({ attempts, firstDelayMs, maxDelayMs }: CallPolicy): CallPolicy {
  return { attempts: attempts - 1, firstDelayMs: Math.min(firstDelayMs * 2, maxDelayMs), maxDelayMs }
}

function localCalls({ timeoutMs }: { timeoutMs: number }) {
  return proxyLocalActivities<SagaActivities>({
    startToCloseTimeout: timeoutMs + BACKSTOP_MS,
    retry: { maximumAttempts: 1 },
  })
}

function regularCalls({ op, step, service, timeoutMs }: InvokeOrder | CompensateOrder, policy: CallPolicy) {
  return proxyActivities<SagaActivities>({
    startToCloseTimeout: timeoutMs + BACKSTOP_MS,
    summary: `${step}: ${op} ${service}`,
    cancellationType: ActivityCancellationType.TRY_CANCEL,
    retry: {
      maximumAttempts: policy.attempts,
      initialInterval: policy.firstDelayMs,
      backoffCoefficient: 2,
      maximumInterval: policy.maxDelayMs,
    },
  })
}

function isRetryable(error: unknown): boolean {
  const cause = error instanceof ActivityFailure ? error.cause : error
  return !(cause instanceof ApplicationFailure && cause.nonRetryable)
}

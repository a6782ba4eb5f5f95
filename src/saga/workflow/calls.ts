import {
  ActivityCancellationType,
  CancellationScope,
  CancelledFailure,
  DeterminismViolationError,
  Trigger,
  proxyActivities,
  proxyLocalActivities,
  sleep,
  workflowInfo,
} from '@temporalio/workflow'
import { applicationFailureOf, FailureType } from '../errors.js'
import type {
  AttemptOrder,
  CallPolicy,
  Changed,
  CompensateOrder,
  InvokeOrder,
  Json,
  RunSettings,
  SagaActivities,
  SettleVerdict,
} from '../types.js'
import { runNested } from './nested.js'
import type { Stop } from './stop.js'

const once: CallPolicy = { attempts: 1, firstDelayMs: 500, maxDelayMs: 500 }

/** Beyond the engine's own time-out of a try: for a process that is gone and keeps no time any more. */
const BACKSTOP_MS = 3_000

/** Before a call is made anew that a worker without the key could not read. */
const UNREADABLE_WAIT_MS = 1_000

/**
 * Local activities, one at a time in a run: a replay does not keep the answers of two apart that were under way at once, so
 * that code which goes on with the one before the other has come is not deterministic (temporalio/sdk-python#1578).
 */
export const local = {
  underWay: 0,
  /** Characters of JSON that the calls of this workflow task have answered with. */
  answered: 0,
  last: Promise.resolve() as Promise<unknown>,

  inTurn<T>(call: () => Promise<T>): Promise<T> {
    const mine = this.last.then(call)
    this.underWay += 1
    const ended = () => {
      this.underWay -= 1
    }
    this.last = mine.then(ended, ended)
    return mine
  },

  /** Ends the workflow task where its answers have grown large: all of them go to Temporal in one message of 4 MB. */
  async handIn(answer: unknown): Promise<void> {
    this.answered += JSON.stringify(answer).length
    if (this.answered < HAND_IN_AT) return
    this.answered = 0
    await sleep(1)
  },
}

/** In characters of JSON, of up to three bytes each. */
const HAND_IN_AT = 250_000

const storeRetry = { initialInterval: '100ms', backoffCoefficient: 2, maximumInterval: '2s' } as const

const localStore = proxyLocalActivities<SagaActivities>({ startToCloseTimeout: '10s', retry: storeRetry })

const regularStore = proxyActivities<SagaActivities>({ startToCloseTimeout: '10s', retry: storeRetry })

/** False once work on the saga's row had to be a regular activity; it then stays so, for this run may be where it can't be done. */
let isStoreLocal = true

/**
 * The engine's own work on the saga's row, local at first. A worker that has lost PostgreSQL would keep a local activity, and
 * the saga with it, for as long as it retries: after 5 s it gives the work up, which is then a regular activity, for any
 * worker to take. Retried without a limit: a saga never ends because PostgreSQL is unreachable.
 */
export const store = new Proxy<SagaActivities>(localStore, {
  get: (calls, name: keyof SagaActivities) => async (order: never) => {
    try {
      if (isStoreLocal) return await local.inTurn<unknown>(() => calls[name](order))
    } catch (error) {
      if (!isNotHere(error)) throw error
      isStoreLocal = false
    }
    return (regularStore[name] as (order: never) => Promise<unknown>)(order)
  },
})

/**
 * What an update's handler does, beside what the run itself is doing. Regular and not local: of two local activities that
 * end one after the other in a workflow task a replay learns at once, and the handler's answer and the run's next command
 * would change places.
 */
export const desk = proxyActivities<Pick<SagaActivities, 'recordDecision'>>({
  startToCloseTimeout: '10s',
  retry: { initialInterval: '100ms', backoffCoefficient: 2, maximumInterval: '2s' },
})

/** How a run calls participants; each call is tried until it is answered, refused, or its policy or `withinMs` is used up. */
export interface Calls {
  invoke(order: CallOf<InvokeOrder>, policy: CallPolicy, limits?: Limits): Promise<{ result: Json }>
  compensate(order: CallOf<CompensateOrder>, policy: CallPolicy): Promise<unknown>
  settle(order: CallOf<CompensateOrder>, policy: CallPolicy): Promise<SettleVerdict>
  /** Rejects where the code and its history disagree on the step that is called. */
  readonly disagreement?: PromiseLike<never>
}

/**
 * The calls of a saga that runs alone. One call of a participant, tried until it is answered, refused, or its policy or
 * `withinMs` is used up; then the last failure is thrown. The first attempt is a local activity, one round trip less for the
 * call that works; the others are regular ones, which the Web UI shows and can pause. After the first that failed a run stays
 * with regular ones. A local call that kills its process leaves nothing in history, and would be made again for ever: so only
 * the process that opened the run makes its local calls, and any other refuses them. So is a call that is made while another
 * one's local attempt is under way a regular one.
 */
export class Caller implements Calls {
  /**
   * Rejects where the code and its history disagree on the step that is called. Every attempt is an activity of the same
   * type, so Temporal itself does not see it, and one step would be given another's answer.
   */
  readonly disagreement = new Trigger<never>()
  /** Out of the reach of any cancellation. */
  readonly #home = CancellationScope.current()

  /** To be made in a scope that nothing cancels. */
  constructor(
    private readonly sagaId: string,
    private readonly settings: RunSettings,
    /** Told of what each call made of the saga. */
    private readonly onChanged: (changed: Changed) => void,
  ) {
    void this.disagreement.then(undefined, () => {})
  }

  invoke(order: CallOf<InvokeOrder>, policy: CallPolicy, limits: Limits = {}): Promise<{ result: Json }> {
    const timed = { ...order, timeoutMs: this.settings.stepTimeoutMs }
    const { nestedId } = order
    if (nestedId !== undefined) return this.#invokeNested({ ...timed, nestedId }, policy, limits)
    return this.#call(timed, policy, limits, (calls, o) => calls.invoke(o))
  }

  compensate(order: CallOf<CompensateOrder>, policy: CallPolicy): Promise<unknown> {
    const timed = { ...order, timeoutMs: this.settings.stepTimeoutMs }
    const { nestedId } = order
    if (nestedId !== undefined) return this.#compensateNested({ ...timed, nestedId }, policy)
    return this.#call(timed, policy, {}, (calls, o) => calls.compensate(o))
  }

  settle(order: CallOf<CompensateOrder>, policy: CallPolicy): Promise<SettleVerdict> {
    return this.#call({ ...order, timeoutMs: this.settings.stepTimeoutMs }, policy, {}, (calls, o) => calls.settle(o))
  }

  async #invokeNested(order: InvokeOrder & { nestedId: string }, policy: CallPolicy, { stop }: Limits) {
    const { step, service, nestedId, input } = order
    throwIfStopped(stop)
    await untilStopped(stop, () =>
      runNested({ sagaId: this.sagaId, step, nestedId, type: service, input, op: 'invoke' }),
    )
    // It has retried what it could, and its row has the last word; only the reading of that may have to be tried again.
    return this.#call(order, policy, {}, (calls, o) => calls.invoke(o))
  }

  async #compensateNested(order: CompensateOrder & { nestedId: string }, policy: CallPolicy) {
    const { step, nestedId } = order
    for (let left = policy; ; left = afterFirst(left)) {
      const claim = await store.claimNested({ nestedId })
      if (claim.go === 'run') await runNested({ sagaId: this.sagaId, step, nestedId, ...claim, op: 'compensate' })
      try {
        return await this.#call(order, once, {}, (calls, o) => calls.compensate(o))
      } catch (error) {
        if (!isRetryable(error) || left.attempts === 1) throw error
        await sleep(left.firstDelayMs)
      }
    }
  }

  async #call<Order extends AttemptOrder, T extends { changed: Changed }>(
    order: Order,
    policy: CallPolicy,
    { withinMs, stop }: Limits,
    make: (calls: Pick<SagaActivities, 'invoke' | 'compensate' | 'settle'>, order: Order) => Promise<T>,
  ): Promise<T> {
    throwIfStopped(stop)
    let left = policy
    try {
      if (!this.settings.regularOnly && local.underWay === 0) {
        try {
          const answer = await this.#home.run(() => local.inTurn(() => make(localCalls(order), order)))
          this.#accept(order, answer.changed)
          if (this.settings.version === 2) await this.#home.run(() => local.handIn(answer))
          return answer
        } catch (error) {
          throwIfStopped(stop)
          const isMade = !isNotHere(error)
          if (isMade && !isRetryable(error)) throw error
          this.settings.regularOnly = true
          if (isMade) {
            if (policy.attempts === 1) throw error
            this.#learn(order, error)
            await untilStopped(stop, () => sleep(policy.firstDelayMs))
            left = afterFirst(policy)
          }
        }
      }
      const answer = await untilStopped(stop, () => make(regularCalls(order, left, withinMs), order))
      this.#accept(order, answer.changed)
      return answer
    } catch (error) {
      if (applicationFailureOf(error)?.type === FailureType.UnreadablePayload) {
        // Its attempts ended before they began, on workers that lack a key. Whoever hears of it here has that key.
        await untilStopped(stop, () => sleep(UNREADABLE_WAIT_MS))
        return this.#call(order, left, { ...(stop && { stop }), ...(withinMs !== undefined && { withinMs }) }, make)
      }
      this.#learn(order, error)
      throw error
    }
  }

  /** What a failed attempt made of the saga comes with its failure. */
  #learn(order: AttemptOrder, error: unknown): void {
    const [changed] = (applicationFailureOf(error)?.details ?? []) as [Changed?]
    if (changed) this.#accept(order, changed)
  }

  /** Takes over what an attempt made of the saga, unless history has it for another step. */
  #accept({ step }: AttemptOrder, changed: Changed): void {
    const answered = (changed.step ?? changed.compensation)?.step
    if (answered !== undefined && answered !== step) {
      const error = new DeterminismViolationError(
        `the saga's code calls step ${step} where its history, up to event ${workflowInfo().historyLength}, has an attempt of step ${answered}. The order of its steps was changed while it was under way: bring the old code back, or keep the old order for such sagas with patched().`,
      )
      this.disagreement.reject(error)
      throw error
    }
    this.onChanged(changed)
  }
}

function throwIfStopped(stop: Stop | undefined): void {
  if (stop?.isStopped) throw new CancelledFailure('The saga was stopped')
}

/** Does in a scope what a stop is to cancel. */
export async function untilStopped<T>(stop: Stop | undefined, work: () => Promise<T>): Promise<T> {
  if (!stop) return work()
  const scope = new CancellationScope()
  const forget = stop.onStop(() => scope.cancel())
  try {
    return await scope.run(work)
  } finally {
    forget()
  }
}

/** A call's orders, but for the time-out, which is the run's. */
export type CallOf<Order extends AttemptOrder> = Omit<Order, 'timeoutMs'>

export interface Limits {
  /** No new attempt after so long. */
  withinMs?: number
  /** Ends the call: when a local attempt has ended, or at once in a regular one or between two. */
  stop?: Stop
}

export function afterFirst({ attempts, firstDelayMs, maxDelayMs }: CallPolicy): CallPolicy {
  return { attempts: attempts - 1, firstDelayMs: Math.min(firstDelayMs * 2, maxDelayMs), maxDelayMs }
}

function localCalls({ timeoutMs }: AttemptOrder) {
  return proxyLocalActivities<SagaActivities>({
    startToCloseTimeout: timeoutMs + BACKSTOP_MS,
    retry: { maximumAttempts: 1 },
  })
}

function regularCalls({ op, step, service, timeoutMs }: AttemptOrder, policy: CallPolicy, withinMs?: number) {
  return proxyActivities<SagaActivities>({
    startToCloseTimeout: timeoutMs + BACKSTOP_MS,
    ...(withinMs !== undefined && { scheduleToCloseTimeout: withinMs }),
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

/** The worker of the run has not done it, and any other may: by a regular activity. */
function isNotHere(error: unknown): boolean {
  return applicationFailureOf(error)?.type === FailureType.NotHere
}

export function isRetryable(error: unknown): boolean {
  return applicationFailureOf(error)?.nonRetryable !== true
}

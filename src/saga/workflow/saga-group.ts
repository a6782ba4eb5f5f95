import { CancellationScope, CancelledFailure, proxyLocalActivities, workflowInfo } from '@temporalio/workflow'
import { FailureType, applicationFailureOf } from '../errors.js'
import type {
  BulkLane,
  BulkWindow,
  CallPolicy,
  CompensateOrder,
  DecidedStep,
  GroupActivities,
  GroupedCalls,
  InvokeOrder,
  Json,
  MemberOrder,
  Opening,
  RunSettings,
  SagaActivities,
  SettleVerdict,
  StepDeclarations,
} from '../types.js'
import { SagaEnded } from './attention.js'
import { Batches } from './batches.js'
import { afterFirst, isRetryable, untilStopped, type CallOf, type Calls, type Limits } from './calls.js'
import { definitionOf, type Definition } from './define-saga.js'
import { runNested } from './nested.js'
import type { People, Run } from './run.js'
import { follow } from './run-saga.js'
import { SagaState } from './saga-state.js'
import { Stop } from './stop.js'

const { callMany } = proxyLocalActivities<GroupActivities>({
  startToCloseTimeout: '10m',
  retry: { initialInterval: '100ms', backoffCoefficient: 2, maximumInterval: '2s' },
})

/** Sagas of one type that wait at the same time, and share a run. */
export interface Group {
  type: string
  sagaIds: string[]
}

/**
 * Runs many sagas at once, each with its own code, row, log and barrier: what they wait for at the same time is one activity.
 * One that needs a person, or whose call takes much longer than the others', leaves and goes on as its own workflow.
 */
export async function sagaGroup({ type, sagaIds }: Group): Promise<void> {
  const saga = definitionOf(type)
  await CancellationScope.nonCancellable(() => {
    const members = new Members(saga)
    return Promise.all(members.run(sagaIds))
  })
}

/** Sagas of one type that a run carries. To be made in a scope that nothing cancels. */
export class Members {
  readonly #batches = new Batches(callMany)
  readonly #order: MemberOrder

  /** `carriedBy`: the run that is said to carry them, where it is not this one. */
  constructor(
    private readonly saga: Definition,
    { carriedBy = workflowInfo().workflowId }: { carriedBy?: string | undefined } = {},
  ) {
    const { firstExecutionRunId: firstRunId } = workflowInfo()
    this.#order = { type: saga.type, steps: saga.steps, firstRunId, carriedBy }
  }

  /** Runs sagas, each to its end or until it has left. */
  run(sagaIds: string[]): Promise<void>[] {
    this.#batches.begin(sagaIds.length)
    return sagaIds.map((sagaId) => this.#runOne(sagaId))
  }

  /** Sagas that wait between two attempts, and ask for nothing meanwhile. */
  get asleep(): number {
    return this.#batches.asleep
  }

  /** Of the bulk whose run this is. */
  async nextWindow(bulkId: string, lane: BulkLane): Promise<BulkWindow> {
    const window = await this.#batches.callsOf(bulkId).nextWindow(lane)
    this.#batches.moved()
    return window
  }

  async #runOne(sagaId: string): Promise<void> {
    const calls = this.#batches.callsOf(sagaId)
    try {
      const opening = await calls.openMember(this.#order)
      const isHere = opening.go !== 'ended' && opening.go !== 'elsewhere'
      if (isHere && (await this.#hasLeft(sagaId, calls, opening))) await calls.leaveGroup()
    } catch {
      // The others must not fail with it. Its row says how far it is, and the sweep takes it up from there.
    }
    this.#batches.moved()
  }

  /** Goes on with a saga to its end, or until it is to have a run of its own. */
  #hasLeft(sagaId: string, calls: GroupedCalls, opening: Exclude<Opening, { go: 'ended' }>): Promise<boolean> {
    const member = new Member(sagaId, this.saga, calls, this.#batches, opening)
    return new Promise((resolve) => {
      member.onLeave = () => resolve(true)
      follow(this.saga, member, opening, { state: new SagaState(), cancel: new Stop() }).then(
        () => resolve(false),
        // Whatever else keeps it here it meets again in its own run, where it is looked after as any saga is.
        (error: unknown) => resolve(!(error instanceof SagaEnded)),
      )
    })
  }
}

/** One saga of a group: its run, and whoever it has to do with. */
class Member implements Run, People {
  readonly caller: Calls
  readonly store: SagaActivities
  readonly steps: StepDeclarations
  readonly decided: ReadonlyMap<string, DecidedStep>
  readonly people = this
  /** Told once it is to go on in a run of its own. */
  onLeave = () => {}

  constructor(
    readonly sagaId: string,
    { steps }: Definition,
    calls: GroupedCalls,
    private readonly batches: Batches,
    { settings, decided }: Exclude<Opening, { go: 'ended' }>,
  ) {
    this.steps = steps
    this.store = calls as unknown as SagaActivities
    this.caller = new GroupedCaller(this, calls, settings)
    this.decided = new Map(decided.map((one) => [one.step, one]))
  }

  /** Its code is left where it stands: nothing that it might still do counts. */
  leave(): Promise<never> {
    this.batches.forget(this.sagaId)
    this.onLeave()
    return new Promise<never>(() => {})
  }

  sleep(ms: number, stop?: Stop): Promise<void> {
    return this.batches.sleep(ms, stop)
  }

  alarm(ms: number, ring: () => void): () => void {
    return this.batches.alarm(ms, ring)
  }

  again(): Promise<never> {
    return this.leave()
  }

  know(): void {}

  known(step: string): number {
    return this.decided.get(step)?.decisions ?? 0
  }

  /** People decide on sagas that have a run of their own. */
  async wait(order: Parameters<People['wait']>[0]): ReturnType<People['wait']> {
    const parked = await this.store.parkSaga({ ...order, decisions: this.known(order.step) })
    if (parked.go === 'ended') throw new SagaEnded(parked.ending)
    return parked.go === 'again' ? { action: 'retry' } : this.leave()
  }
}

/** The calls of a saga in a group: each attempt with those of others, and the waiting between two in the workflow. */
class GroupedCaller implements Calls {
  constructor(
    private readonly member: Member,
    private readonly calls: GroupedCalls,
    private readonly settings: RunSettings,
  ) {}

  invoke(order: CallOf<InvokeOrder>, policy: CallPolicy, limits: Limits = {}): Promise<{ result: Json }> {
    const attempt = () => this.calls.invoke({ ...order, ...this.#timeout })
    return order.nestedId === undefined
      ? this.#tried(policy, limits, attempt)
      : this.#invokeNested({ ...order, nestedId: order.nestedId }, policy, limits, attempt)
  }

  compensate(order: CallOf<CompensateOrder>, policy: CallPolicy): Promise<unknown> {
    const { step, nestedId } = order
    return this.#tried(policy, {}, async () => {
      if (nestedId !== undefined) {
        const claim = await this.calls.claimNested({ nestedId })
        if (claim.go === 'run') await runNested({ ...this.#nesting(step), nestedId, ...claim, op: 'compensate' })
      }
      return this.calls.compensate({ ...order, ...this.#timeout })
    })
  }

  settle(order: CallOf<CompensateOrder>, policy: CallPolicy): Promise<SettleVerdict> {
    return this.#tried(policy, {}, () => this.calls.settle({ ...order, ...this.#timeout }))
  }

  async #invokeNested(
    { step, service, nestedId, input }: CallOf<InvokeOrder> & { nestedId: string },
    policy: CallPolicy,
    limits: Limits,
    attempt: () => Promise<{ result: Json }>,
  ): Promise<{ result: Json }> {
    throwIfStopped(limits)
    const nested = { ...this.#nesting(step), nestedId, type: service, input, op: 'invoke' } as const
    await untilStopped(limits.stop, () => runNested(nested))
    return this.#tried(policy, limits, attempt)
  }

  get #timeout() {
    return { timeoutMs: this.settings.stepTimeoutMs }
  }

  #nesting(step: string) {
    return { sagaId: this.member.sagaId, step }
  }

  /** Most attempts are the first and the last. */
  #tried<T>(policy: CallPolicy, limits: Limits, attempt: () => Promise<T>): Promise<T> {
    const until = limits.withinMs === undefined ? Infinity : Date.now() + limits.withinMs
    return attempt().catch((error: unknown) => this.#again(error, policy, { ...limits, until }, attempt))
  }

  async #again<T>(
    error: unknown,
    policy: CallPolicy,
    limits: Limits & { until: number },
    attempt: () => Promise<T>,
  ): Promise<T> {
    const { type } = applicationFailureOf(error) ?? {}
    // One that runs alone waits for the key.
    if (type === FailureType.LeavesGroup || type === FailureType.UnreadablePayload) return this.member.leave()
    const { attempts, firstDelayMs } = policy
    if (!isRetryable(error) || attempts <= 1 || Date.now() + firstDelayMs > limits.until) throw error
    await this.member.sleep(firstDelayMs, limits.stop)
    throwIfStopped(limits)
    try {
      return await attempt()
    } catch (next) {
      return this.#again(next, afterFirst(policy), limits, attempt)
    }
  }
}

function throwIfStopped({ stop }: Limits): void {
  if (stop?.isStopped) throw new CancelledFailure('The saga was stopped')
}

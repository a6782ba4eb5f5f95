import { CancellationScope, CancelledFailure, Trigger, proxyLocalActivities, workflowInfo } from '@temporalio/workflow'
import { FailureType, applicationFailureOf } from '../errors.js'
import type {
  CallPolicy,
  CompensateOrder,
  DecidedStep,
  GroupActivities,
  GroupedCalls,
  InvokeOrder,
  Json,
  Opening,
  RunSettings,
  SagaActivities,
  SettleVerdict,
  StepDeclarations,
} from '../types.js'
import { SagaEnded } from './attention.js'
import { Batches } from './batches.js'
import { afterFirst, isRetryable, type CallOf, type Calls, type Limits } from './calls.js'
import { definitionOf, type Definition } from './define-saga.js'
import { runNested } from './nested.js'
import type { People, Run } from './run.js'
import { follow } from './run-saga.js'
import { SagaState } from './saga-state.js'

export const { callMany } = proxyLocalActivities<GroupActivities>({
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
    const batches = new Batches(callMany)
    return Promise.all(sagaIds.map((sagaId) => runMember(saga, sagaId, batches)))
  })
}

/** Runs one saga to its end, or until it leaves for a run of its own. */
export async function runMember(saga: Definition, sagaId: string, batches: Batches): Promise<void> {
  const calls = batches.callsOf(sagaId)
  const { firstExecutionRunId: firstRunId, workflowId: carriedBy } = workflowInfo()
  const opening = await calls.openMember({ type: saga.type, steps: saga.steps, firstRunId, carriedBy })
  if (opening.go !== 'ended' && opening.go !== 'elsewhere') {
    const member = new Member(sagaId, saga, calls, batches, opening)
    const sagaScope = new CancellationScope()
    const end = follow(saga, member, opening, { state: new SagaState(), sagaScope })
    const isOver = end.then(
      () => true,
      // Whatever else keeps it here it meets again in its own run, where it is looked after as any saga is.
      (error: unknown) => error instanceof SagaEnded,
    )
    if (!(await Promise.race([isOver, member.hasLeft]))) await calls.leaveGroup()
  }
  batches.moved()
}

/** One saga of a group: its run, and whoever it has to do with. */
class Member implements Run, People {
  readonly caller: Calls
  readonly store: SagaActivities
  readonly steps: StepDeclarations
  readonly decided: ReadonlyMap<string, DecidedStep>
  readonly people = this
  readonly #left = new Trigger<false>()

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

  /** False once it is to go on in a run of its own. */
  get hasLeft(): Promise<false> {
    return Promise.resolve(this.#left)
  }

  /** Its code is left where it stands: nothing that it might still do counts. */
  leave(): Promise<never> {
    this.batches.forget(this.sagaId)
    this.#left.resolve(false)
    return new Promise<never>(() => {})
  }

  sleep(ms: number): Promise<void> {
    return Promise.race([this.batches.sleep(ms), CancellationScope.current().cancelRequested])
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
  readonly disagreement = new Trigger<never>()

  constructor(
    private readonly member: Member,
    private readonly calls: GroupedCalls,
    private readonly settings: RunSettings,
  ) {
    void this.disagreement.then(undefined, () => {})
  }

  async invoke(order: CallOf<InvokeOrder>, policy: CallPolicy, limits: Limits = {}): Promise<{ result: Json }> {
    const { step, service, nestedId, input } = order
    if (nestedId !== undefined) {
      throwIfStopped(limits)
      const nested = { ...this.#nesting(step), nestedId, type: service, input, op: 'invoke' } as const
      await (limits.scope ? limits.scope.run(() => runNested(nested)) : runNested(nested))
    }
    return this.#tried(policy, limits, () => this.calls.invoke({ ...order, ...this.#timeout }))
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

  get #timeout() {
    return { timeoutMs: this.settings.stepTimeoutMs }
  }

  #nesting(step: string) {
    return { sagaId: this.member.sagaId, step }
  }

  async #tried<T>(policy: CallPolicy, { withinMs, scope }: Limits, attempt: () => Promise<T>): Promise<T> {
    const until = withinMs === undefined ? Infinity : Date.now() + withinMs
    for (let left = policy; ; left = afterFirst(left)) {
      throwIfStopped({ scope })
      try {
        return await attempt()
      } catch (error) {
        const { type } = applicationFailureOf(error) ?? {}
        // One that runs alone waits for the key.
        if (type === FailureType.LeavesGroup || type === FailureType.UnreadablePayload) return this.member.leave()
        if (!isRetryable(error) || left.attempts <= 1 || Date.now() + left.firstDelayMs > until) throw error
      }
      await (scope ?? CancellationScope.current()).run(() => this.member.sleep(left.firstDelayMs))
    }
  }
}

function throwIfStopped({ scope }: { scope?: CancellationScope | undefined }): void {
  if (scope?.consideredCancelled) throw new CancelledFailure('The saga was stopped')
}

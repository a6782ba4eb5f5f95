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
  RunSettings,
  SagaActivities,
  SettleVerdict,
} from '../types.js'
import { SagaEnded } from './attention.js'
import { Batches } from './batches.js'
import { afterFirst, isRetryable, type CallOf, type Calls, type Limits } from './calls.js'
import { definitionOf } from './define-saga.js'
import { runNested } from './nested.js'
import type { People, Run } from './run.js'
import { follow, type SagaDefinition } from './run-saga.js'
import { SagaState } from './saga-state.js'
import type { StepDeclarations } from '../types.js'

const { callMany, releaseSagas } = proxyLocalActivities<GroupActivities>({
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
 * One that gets stuck, or whose code does what only a run of its own can, leaves the group and goes on as its own workflow.
 */
export async function sagaGroup({ type, sagaIds }: Group): Promise<void> {
  await runTogether(definitionOf(type), sagaIds)
}

export async function runTogether(
  saga: SagaDefinition<StepDeclarations, Json, Json>,
  sagaIds: string[],
): Promise<void> {
  const left: string[] = []
  await CancellationScope.nonCancellable(() => {
    const batches = new Batches(callMany)
    return Promise.all(
      sagaIds.map(async (sagaId) => {
        if (!(await runMember(saga, sagaId, batches))) left.push(sagaId)
      }),
    )
  })
  if (left.length > 0) await CancellationScope.nonCancellable(() => releaseSagas({ sagaIds: left }))
}

/** One saga of a group, to its end; false where it is to go on in a run of its own. */
async function runMember(
  saga: SagaDefinition<StepDeclarations, Json, Json>,
  sagaId: string,
  batches: Batches,
): Promise<boolean> {
  const calls = batches.callsOf(sagaId)
  try {
    const { firstExecutionRunId: firstRunId, workflowId: carriedBy } = workflowInfo()
    const opening = await calls.openMember({ type: saga.type, steps: saga.steps, firstRunId, carriedBy })
    if (opening.go === 'ended' || opening.go === 'elsewhere') return true
    const { settings, decided } = opening
    const run = new Member(sagaId, saga.steps, calls, batches, settings, decided)
    const sagaScope = new CancellationScope({ cancellable: true })
    await sagaScope.run(() =>
      CancellationScope.nonCancellable(() => follow(saga, run, opening, { state: new SagaState(), sagaScope })),
    )
    return true
  } catch (error) {
    // Whatever else keeps it here it meets again in its own run, where it is looked after as for any saga.
    return error instanceof SagaEnded
  }
}

/** The saga is to go on in a run of its own. */
class LeavesGroup extends Error {}

class Member implements Run, People {
  readonly caller: Calls
  readonly store: SagaActivities
  readonly decided: ReadonlyMap<string, DecidedStep>
  readonly people = this

  constructor(
    readonly sagaId: string,
    readonly steps: StepDeclarations,
    calls: GroupedCalls,
    private readonly batches: Batches,
    settings: RunSettings,
    decided: DecidedStep[],
  ) {
    this.store = calls as unknown as SagaActivities
    this.caller = new GroupedCaller(sagaId, calls, settings, (ms) => this.sleep(ms))
    this.decided = new Map(decided.map((one) => [one.step, one]))
  }

  sleep(ms: number): Promise<void> {
    const cancelled = CancellationScope.current().cancelRequested
    return Promise.race([this.batches.sleep(ms), cancelled])
  }

  again(): Promise<never> {
    throw new LeavesGroup()
  }

  know(): void {}

  known(step: string): number {
    return this.decided.get(step)?.decisions ?? 0
  }

  /** People decide on sagas that have a run of their own. */
  async wait(order: Parameters<People['wait']>[0]): ReturnType<People['wait']> {
    const parked = await this.store.parkSaga({ ...order, decisions: this.known(order.step) })
    if (parked.go === 'ended') throw new SagaEnded(parked.ending)
    if (parked.go === 'again') return { action: 'retry' }
    throw new LeavesGroup()
  }
}

/** The calls of a saga in a group: each attempt with those of others, and the waiting between two in the workflow. */
class GroupedCaller implements Calls {
  readonly disagreement = new Trigger<never>()

  constructor(
    private readonly sagaId: string,
    private readonly calls: GroupedCalls,
    private readonly settings: RunSettings,
    private readonly sleep: (ms: number) => Promise<void>,
  ) {
    void this.disagreement.then(undefined, () => {})
  }

  async invoke(order: CallOf<InvokeOrder>, policy: CallPolicy, limits: Limits = {}): Promise<{ result: Json }> {
    const { step, service, nestedId, input } = order
    if (nestedId !== undefined) {
      throwIfStopped(limits)
      const child = { sagaId: this.sagaId, step, nestedId, type: service, input, op: 'invoke' } as const
      await (limits.scope ? limits.scope.run(() => runNested(child)) : runNested(child))
    }
    return this.#tried(policy, limits, () => this.calls.invoke({ ...order, ...this.#timeout }))
  }

  async compensate(order: CallOf<CompensateOrder>, policy: CallPolicy): Promise<unknown> {
    return this.#tried(policy, {}, async () => {
      const { step, nestedId } = order
      if (nestedId !== undefined) {
        const claim = await this.calls.claimNested({ nestedId })
        if (claim.go === 'run') await runNested({ sagaId: this.sagaId, step, nestedId, ...claim, op: 'compensate' })
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

  async #tried<T>(policy: CallPolicy, { withinMs, scope }: Limits, attempt: () => Promise<T>): Promise<T> {
    const until = withinMs === undefined ? Infinity : Date.now() + withinMs
    for (let left = policy; ; left = afterFirst(left)) {
      throwIfStopped({ scope })
      try {
        return await attempt()
      } catch (error) {
        // Its attempts have not even begun; one that runs alone waits for the key.
        if (applicationFailureOf(error)?.type === FailureType.UnreadablePayload) throw new LeavesGroup()
        if (!isRetryable(error) || left.attempts <= 1 || Date.now() + left.firstDelayMs > until) throw error
      }
      await (scope ? scope.run(() => this.sleep(left.firstDelayMs)) : this.sleep(left.firstDelayMs))
    }
  }
}

function throwIfStopped({ scope }: { scope?: CancellationScope | undefined }): void {
  if (scope?.consideredCancelled) throw new CancelledFailure('The saga was stopped')
}

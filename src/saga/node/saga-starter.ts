import { setTimeout as sleep } from 'node:timers/promises'
import {
  WorkflowExecutionAlreadyStartedError,
  WorkflowIdConflictPolicy,
  WorkflowIdReusePolicy,
  WorkflowNotFoundError,
  type Client,
  type WorkflowExecutionDescription,
} from '@temporalio/client'
import { decodeOptionalFailureToOptionalError } from '@temporalio/common/lib/internal-non-workflow/index.js'
import type { Logger } from 'pino'
import type { BulkCall, DecisionsCall, Json, RecordedDecision, SweepActivities } from '../types.js'
import type { SagaMirror } from './mirror.js'
import type { Bulk, SagaBulks } from './saga-bulk.js'
import type { SagaDecisions } from './saga-decisions.js'
import { BULK_RUN, isEnded, isPastPivot, type SagaRecord } from './saga-record.js'
import type { SagaStore } from './saga-store.js'
import { PROGRESS_MS } from './unfinished-sagas.js'

/** Temporal is asked at most this long; what it did not take the sweep repeats. */
const CALL_MS = 3_000
/** A saga younger than this is still in the hands of whoever wrote it down; so is a cancel, and a decision. */
const SWEEP_AFTER_MS = 10_000
/** An unfinished saga that has not moved for so long is looked at: its run may be gone. */
const LOOK_AFTER_MS = 20_000
/** A sweep ends after so long, and the next one goes on: its activity has a minute. */
const SWEEP_MS = 40_000
const AT_ONCE = 8

/** The workflow id of a run that many sagas share. */
export const groupId = (firstSagaId: string) => `saga-group-${firstSagaId}`

/** Where runs of many sagas are worked on, groups' and bulks', apart from those that run alone. */
export const sharedQueue = (taskQueue: string) => `${taskQueue}-bulk`

/** The workflow id of a call that decides for many. */
export const decisionsRunId = (decisionsId: string) => `saga-decisions-${decisionsId}`

/** The workflow id of a bulk's run. */
export const bulkRunId = (bulkId: string) => `${BULK_RUN}${bulkId}`

/** What Temporal says of a run that is looked for. */
type Found = Awaited<ReturnType<SagaStarter['look']>>

/** Brings to Temporal what stands in the sagas' rows. Every call may be repeated. */
export class SagaStarter {
  constructor(
    private readonly client: Client,
    private readonly taskQueue: string,
  ) {}

  /**
   * Starts the saga's run with the store's `requestOf` it, eagerly where a worker is in this process. One that was started
   * before is left as it is.
   */
  async start(record: Pick<SagaRecord, 'sagaId' | 'type'>, request: Json): Promise<'started' | 'known'> {
    return this.#started(() =>
      this.client.workflow.start(record.type, {
        workflowId: record.sagaId,
        taskQueue: this.taskQueue,
        args: [request],
        requestEagerStart: true,
        workflowIdReusePolicy: WorkflowIdReusePolicy.REJECT_DUPLICATE,
        workflowIdConflictPolicy: WorkflowIdConflictPolicy.FAIL,
      }),
    )
  }

  /** Settles when that run has ended, however it did. */
  async ended(workflowId: string): Promise<void> {
    await this.client.workflow
      .getHandle(workflowId)
      .result()
      .catch(() => {})
  }

  /** Starts one run for many sagas of a type. */
  async startGroup(type: string, sagaIds: string[]): Promise<void> {
    await this.#started(() =>
      this.client.workflow.start('sagaGroup', {
        workflowId: groupId(sagaIds[0] ?? ''),
        taskQueue: sharedQueue(this.taskQueue),
        args: [{ type, sagaIds }],
        requestEagerStart: true,
        workflowIdReusePolicy: WorkflowIdReusePolicy.REJECT_DUPLICATE,
        workflowIdConflictPolicy: WorkflowIdConflictPolicy.FAIL,
      }),
    )
  }

  /**
   * Starts the run of a saga that has none, by its row. Of one that had completed, and is compensated after all, the input is
   * erased: its run only rolls back.
   */
  startByRow(record: SagaRecord, request: Json): Promise<'started' | 'known'> {
    return record.fate === 'rollback' && record.input === null
      ? this.recover(record.sagaId)
      : this.start(record, request)
  }

  /**
   * Starts a run that takes the saga up again, under its own id: Temporal keeps it apart from any other run of it. `message`:
   * how its last run was lost, where it was.
   */
  async recover(sagaId: string, message?: string): Promise<'started' | 'known'> {
    return this.#started(() =>
      this.client.workflow.start('recoverSaga', {
        workflowId: sagaId,
        taskQueue: this.taskQueue,
        args: message === undefined ? [] : [{ message }],
        workflowIdReusePolicy: WorkflowIdReusePolicy.ALLOW_DUPLICATE,
        workflowIdConflictPolicy: WorkflowIdConflictPolicy.FAIL,
      }),
    )
  }

  /** Tells the saga's run that it is to roll back. One without a run, or with an ended one, has its row to tell it. */
  async cancel(sagaId: string): Promise<void> {
    try {
      await this.#soon(() => this.client.workflow.getHandle(sagaId).cancel())
    } catch (error) {
      if (!(error instanceof WorkflowNotFoundError)) throw error
    }
  }

  /** Tells the saga's run of a decision that stands in its row. */
  async decide(sagaId: string, decision: RecordedDecision): Promise<void> {
    try {
      await this.#soon(() => this.client.workflow.getHandle(sagaId).executeUpdate('decide', { args: [decision] }))
    } catch (error) {
      if (!(error instanceof WorkflowNotFoundError)) throw error
    }
  }

  /** Starts the run of a call that decides for many, also where an earlier one of it was ended by somebody. */
  async startDecisions(decisionsId: string): Promise<'started' | 'known'> {
    return this.#started(() =>
      this.client.workflow.start('sagaDecisions', {
        workflowId: decisionsRunId(decisionsId),
        taskQueue: this.taskQueue,
        args: [{ decisionsId }],
        workflowIdReusePolicy: WorkflowIdReusePolicy.ALLOW_DUPLICATE,
        workflowIdConflictPolicy: WorkflowIdConflictPolicy.FAIL,
      }),
    )
  }

  /** Starts the run of a bulk, or one that goes on where an earlier one has stopped. */
  async startBulk({ bulkId, type }: Pick<Bulk, 'bulkId' | 'type'>): Promise<'started' | 'known'> {
    return this.#started(() =>
      this.client.workflow.start('sagaBulk', {
        workflowId: bulkRunId(bulkId),
        taskQueue: sharedQueue(this.taskQueue),
        args: [{ bulkId, type }],
        workflowIdReusePolicy: WorkflowIdReusePolicy.ALLOW_DUPLICATE,
        workflowIdConflictPolicy: WorkflowIdConflictPolicy.FAIL,
      }),
    )
  }

  /** What became of the last run of that id: `open`, `forgotten`, or how it was lost. `whose`: a saga's own, or one that sagas share. */
  async look(workflowId: string, whose = 'its run'): Promise<'open' | 'forgotten' | { lost: string }> {
    try {
      const run = await this.#soon(() => this.client.workflow.getHandle(workflowId).describe())
      if (run.status.name === 'RUNNING') return 'open'
      return { lost: await this.#lossOf(run, whose) }
    } catch (error) {
      if (error instanceof WorkflowNotFoundError) return 'forgotten'
      throw error
    }
  }

  async #lossOf({ workflowId, runId, status }: WorkflowExecutionDescription, whose: string): Promise<string> {
    const words: Record<string, string> = {
      TERMINATED: `${whose} was terminated`,
      TIMED_OUT: `${whose} was timed out by the server`,
      CANCELLED: `${whose} was closed as cancelled`,
      FAILED: `${whose} failed`,
      COMPLETED: `${whose} was closed as completed`,
    }
    const why = await this.#soon(() =>
      this.client.workflowService.getWorkflowExecutionHistoryReverse({
        namespace: this.client.options.namespace,
        execution: { workflowId, runId },
        maximumPageSize: 1,
      }),
    )
      .then(async ({ history }) => {
        const last = history?.events?.[0]
        const { reason } = last?.workflowExecutionTerminatedEventAttributes ?? {}
        const { failure } = last?.workflowExecutionFailedEventAttributes ?? {}
        const error = await decodeOptionalFailureToOptionalError(this.client.options.loadedDataConverter, failure)
        return reason || error?.message
      })
      .catch(() => undefined)
    return `${words[status.name] ?? `${whose} is gone`}${why ? `: ${why.slice(0, 500)}` : ''}`
  }

  async #started(start: () => Promise<unknown>): Promise<'started' | 'known'> {
    try {
      await this.#soon(start)
      return 'started'
    } catch (error) {
      if (error instanceof WorkflowExecutionAlreadyStartedError) return 'known'
      throw error
    }
  }

  /** The deadline bounds a call that gets no answer; one that can't be sent at all is repeated for 10 s, whatever the deadline. */
  async #soon<T>(call: () => Promise<T>): Promise<T> {
    const isAnswered = new AbortController()
    const tooLate = sleep(CALL_MS, undefined, { signal: isAnswered.signal }).then(() => {
      throw new Error(`Temporal gave no answer within ${CALL_MS / 1_000} s`)
    })
    try {
      return await Promise.race([this.client.withDeadline(Date.now() + CALL_MS, call), tooLate])
    } finally {
      isAnswered.abort()
    }
  }
}

/** The sweep's work: whatever an unfinished saga needs that nobody has in hand. */
export function makeSweepActivities(
  store: SagaStore,
  decisions: SagaDecisions,
  bulks: SagaBulks,
  starter: SagaStarter,
  mirror: SagaMirror,
  logger: Logger,
): SweepActivities {
  /** Calls `bring` for each, some side by side; how many it says it has brought on. One that fails does not hold the others. */
  async function each<R extends { sagaId: string } | DecisionsCall | BulkCall>(
    records: R[],
    until: number,
    bring: (record: R) => Promise<boolean>,
  ): Promise<number> {
    let brought = 0
    const one = async (record: R) => {
      try {
        if (await bring(record)) brought += 1
      } catch (error) {
        logger.error({ ...whoseOf(record), err: error }, 'Sweeping failed')
      }
    }
    for (let next = 0; next < records.length && Date.now() < until; next += AT_ONCE) {
      await Promise.all(records.slice(next, next + AT_ONCE).map(one))
    }
    return brought
  }

  async function start(record: SagaRecord): Promise<boolean> {
    // A run that many share may have taken it since the list was read.
    if ((await store.get(record.sagaId))?.firstRunId !== null) return false
    return (await starter.startByRow(record, store.requestOf(record))) === 'started'
  }

  async function cancel(record: SagaRecord): Promise<boolean> {
    if (isPastPivot(record)) return false
    await starter.cancel(record.sagaId)
    return true
  }

  async function decide(record: SagaRecord): Promise<boolean> {
    const open = store.undecidedOf(record)
    const told = await Promise.allSettled(open.map((decision) => starter.decide(record.sagaId, decision)))
    const failed = told.find((one) => one.status === 'rejected')
    if (failed) throw failed.reason
    return true
  }

  /** Where its run is open it is left to that. */
  async function startDecisions({ decisionsId }: DecisionsCall): Promise<boolean> {
    return (await starter.startDecisions(decisionsId)) === 'started'
  }

  async function startBulk(bulk: Bulk): Promise<boolean> {
    return (await starter.startBulk(bulk)) === 'started'
  }

  /** Looks at a saga's own run, and takes the saga up where that is gone. */
  async function watch(record: SagaRecord): Promise<boolean> {
    // Also where Temporal does not answer: the next sweep looks at others first.
    await store.unfinished.markLookedAt(record.sagaId)
    const found = await starter.look(record.sagaId)
    return found !== 'open' && takeUp(record, found)
  }

  /** Takes up a saga whose run is gone, however it went. */
  async function takeUp(seen: SagaRecord, found: Exclude<Found, 'open'>): Promise<boolean> {
    // It may have ended, and closed, since it was read, or have left the run that it shared.
    const record = await store.get(seen.sagaId)
    if (!record || isEnded(record) || record.handedOverAt || record.carriedBy !== seen.carriedBy) return false
    if (found === 'forgotten') return (await starter.startByRow(record, store.requestOf(record))) === 'started'
    return (await starter.recover(record.sagaId, found.lost)) === 'started'
  }

  /** The sagas of shared runs that are gone: Temporal is asked once a run, however many share it. */
  async function lostTogether(): Promise<(SagaRecord & { found: Exclude<Found, 'open'> })[]> {
    const lost = []
    for (const carrier of await store.unfinished.unwatchedCarriers(LOOK_AFTER_MS)) {
      const found = await starter.look(carrier, 'the run that it shared').catch((error: Error) => {
        logger.error({ workflowId: carrier, err: error }, 'Sweeping failed')
        return 'open' as const
      })
      if (found === 'open') continue
      for (const record of await store.unfinished.carriedBy(carrier)) lost.push({ ...record, found })
    }
    return lost
  }

  return {
    async sweep() {
      const until = Date.now() + SWEEP_MS
      const swept = {
        started: await each(await store.unfinished.unstarted(SWEEP_AFTER_MS), until, start),
        cancelled: await each(await store.unfinished.uncancelled(SWEEP_AFTER_MS), until, cancel),
        decided: await each(await store.unfinished.undecided(SWEEP_AFTER_MS), until, decide),
        decisions: await each(await decisions.unfinished(SWEEP_AFTER_MS), until, startDecisions),
        bulks: await each(await bulks.unfinished(SWEEP_AFTER_MS), until, startBulk),
        recovered:
          (await each(await store.unfinished.unwatched(LOOK_AFTER_MS), until, watch)) +
          (await each(await lostTogether(), until, (saga) => takeUp(saga, saga.found))),
        mirrored: await each(await mirror.unmirrored(), until, async (saga) => (await mirror.mirror(saga)) > 0),
        withoutProgress: await store.unfinished.countWithoutProgress(PROGRESS_MS),
      }
      if (Object.values(swept).some((count) => count > 0)) logger.warn(swept, 'The sweep found sagas to look after')
      return swept
    },
  }
}

/** What a line of the log is about. */
function whoseOf(one: { sagaId: string } | DecisionsCall | BulkCall): object {
  if ('sagaId' in one) return { sagaId: one.sagaId }
  return 'bulkId' in one ? { bulkId: one.bulkId } : { decisionsId: one.decisionsId }
}

/**
 * Makes sure that the one sweep of this task queue runs, now and every minute, until `signal` aborts. Each queue has its
 * own, for it looks after the types of saga that the queue's workers know.
 */
export async function keepSweepRunning(
  client: Client,
  taskQueue: string,
  logger: Logger,
  signal: AbortSignal,
): Promise<void> {
  while (!signal.aborted) {
    try {
      await client.workflow.start('sagaSweep', {
        workflowId: `${taskQueue}-sweep-v1`,
        taskQueue,
        workflowIdReusePolicy: WorkflowIdReusePolicy.ALLOW_DUPLICATE,
        workflowIdConflictPolicy: WorkflowIdConflictPolicy.USE_EXISTING,
      })
    } catch (error) {
      logger.warn({ err: error }, 'The sweep could not be started; trying again in a minute')
    }
    await sleep(60_000, undefined, { signal }).catch(() => {})
  }
}

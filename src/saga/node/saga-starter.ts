import { setTimeout as sleep } from 'node:timers/promises'
import {
  WorkflowExecutionAlreadyStartedError,
  WorkflowIdConflictPolicy,
  WorkflowIdReusePolicy,
  WorkflowNotFoundError,
  type Client,
} from '@temporalio/client'
import type { Logger } from 'pino'
import type { SweepActivities } from '../types.js'
import type { SagaRecord } from './saga-record.js'
import type { SagaStore } from './saga-store.js'

/** Temporal is asked at most this long; what it did not take the sweep starts. */
const CALL_MS = 3_000
/** A saga younger than this is still in the hands of whoever wrote it down. */
const SWEEP_AFTER_MS = 10_000

/** Brings sagas whose row is written to Temporal. Every call may be repeated. */
export class SagaStarter {
  constructor(
    private readonly client: Client,
    private readonly taskQueue: string,
  ) {}

  /** Starts the saga's run, eagerly where a worker is in this process. One that was started before is left as it is. */
  async start({ sagaId, type, input, failures }: SagaRecord): Promise<void> {
    const request = failures ? { ...(input as object), failures } : input
    try {
      await this.client.withDeadline(Date.now() + CALL_MS, () =>
        this.client.workflow.start(type, {
          workflowId: sagaId,
          taskQueue: this.taskQueue,
          args: [request],
          requestEagerStart: true,
          workflowIdReusePolicy: WorkflowIdReusePolicy.REJECT_DUPLICATE,
          workflowIdConflictPolicy: WorkflowIdConflictPolicy.FAIL,
        }),
      )
    } catch (error) {
      if (!(error instanceof WorkflowExecutionAlreadyStartedError)) throw error
    }
  }

  /** Tells the saga's run that it is to roll back. One without a run, or with an ended one, has its row to tell it. */
  async cancel(sagaId: string): Promise<void> {
    try {
      await this.client.withDeadline(Date.now() + CALL_MS, () => this.client.workflow.getHandle(sagaId).cancel())
    } catch (error) {
      if (!(error instanceof WorkflowNotFoundError)) throw error
    }
  }
}

/** The sweep's work: what a crash, or an answer that was lost, left between PostgreSQL and Temporal. */
export function makeSweepActivities(store: SagaStore, starter: SagaStarter, logger: Logger): SweepActivities {
  return {
    async sweep() {
      const each = async (records: SagaRecord[], bring: (record: SagaRecord) => Promise<void>) => {
        for (const record of records) {
          // One that Temporal does not take must not hold the others.
          await bring(record).catch((error: Error) =>
            logger.error({ sagaId: record.sagaId, err: error }, 'Sweeping failed'),
          )
        }
        return records.length
      }
      const swept = {
        started: await each(await store.unstarted(SWEEP_AFTER_MS), (record) => starter.start(record)),
        cancelled: await each(await store.uncancelled(SWEEP_AFTER_MS), ({ sagaId }) => starter.cancel(sagaId)),
      }
      if (swept.started + swept.cancelled > 0) logger.warn(swept, 'The sweep found sagas to start or to cancel')
      return swept
    },
  }
}

/** Makes sure that the one sweep of this task queue runs, now and every minute, until `signal` aborts. */
export async function keepSweepRunning(
  client: Client,
  taskQueue: string,
  logger: Logger,
  signal: AbortSignal,
): Promise<void> {
  while (!signal.aborted) {
    try {
      await client.workflow.start('sagaSweep', {
        workflowId: 'saga-sweep-v1',
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

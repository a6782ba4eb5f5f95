import { Worker } from '@temporalio/worker'
import type { Logger } from 'pino'
import { makeActivities, makeSagaStore } from './activities/index.js'
import type { Config } from './config.js'
import { makePool, sagaBounds } from './db.js'
import { requireCurrentSchema } from './migrations.js'
import { keepSweepRunning, SagaStarter } from './saga/node/saga-starter.js'
import { hasSearchAttribute, payloadConverterPath, TASK_QUEUE, workflowBundle, type Temporal } from './temporal.js'

/** Bounds of a participant's transaction, in ms: a call left behind by its time-out is gone well before its compensation gives up. */
const participantBounds = {
  lock_timeout: 3_000,
  statement_timeout: 4_000,
  idle_in_transaction_session_timeout: 8_000,
  transaction_timeout: 10_000,
}

export interface RunningWorker {
  /** Settles when the worker has stopped; rejects where it broke. */
  done: Promise<void>
  /** Lets what is under way end (12 s at most), then stops. */
  stop(): Promise<void>
}

/** Starts the worker: workflows, activities, and the watch over the sweep. Throws where the schema is too old. */
export async function startWorker(config: Config, temporal: Temporal, logger: Logger): Promise<RunningWorker> {
  const onError = (error: Error) => logger.warn({ err: error }, 'A database connection broke')
  const pool = makePool(config.databaseUrl, {
    max: 20,
    name: 'saga-worker',
    bounds: sagaBounds,
    queryTimeoutMs: 6_000,
    onError,
  })
  const participants = makePool(config.databaseUrl, {
    max: 20,
    name: 'saga-participants',
    bounds: participantBounds,
    queryTimeoutMs: 12_000,
    onError,
  })
  const closePools = async () => {
    await Promise.all([pool.end(), participants.end()])
  }
  try {
    await requireCurrentSchema(pool)
    const store = makeSagaStore(pool)
    const starter = new SagaStarter(temporal.client, TASK_QUEUE)
    const worker = await Worker.create({
      connection: temporal.connection,
      namespace: temporal.namespace,
      taskQueue: TASK_QUEUE,
      workflowBundle,
      activities: {
        ...makeActivities({
          ...config,
          store,
          starter,
          participants,
          logger,
          hasSagaStatus: () => hasSearchAttribute(temporal, 'SagaStatus'),
        }),
      },
      // Longer than the longest attempt, or a stop would cut calls off in the middle.
      shutdownGraceTime: config.stepTimeoutMs + 4_000,
      maxCachedWorkflows: 500,
      dataConverter: { payloadConverterPath },
    })
    const sweeping = new AbortController()
    void keepSweepRunning(temporal.client, TASK_QUEUE, logger, sweeping.signal)
    const run = async () => {
      try {
        await worker.run()
      } finally {
        sweeping.abort()
        await closePools()
      }
    }
    const done = run()
    return {
      done,
      async stop() {
        if (worker.getState() === 'RUNNING') worker.shutdown()
        await done
      },
    }
  } catch (error) {
    await closePools()
    throw error
  }
}

import type { Logger } from 'pino'
import { sagas, services } from './activities/index.js'
import type { Config } from './config.js'
import { requireCurrentSchema } from './migrations.js'
import { startSagaWorker, type RunningWorker } from './saga/node/saga-worker.js'
import { payloadConverterPath, TASK_QUEUE, workflowBundle, type Temporal } from './temporal.js'

/** Starts the worker: workflows, activities, and the watch over the sweep. Throws where the schema is too old. */
export async function startWorker(config: Config, temporal: Temporal, logger: Logger): Promise<RunningWorker> {
  await requireCurrentSchema(config.databaseUrl)
  return startSagaWorker({
    ...config,
    ...temporal,
    taskQueue: TASK_QUEUE,
    workflows: { workflowBundle },
    dataConverter: { payloadConverterPath },
    participants: services,
    sagas,
    logger,
  })
}

import type { Logger } from 'pino'
import { sagas, services } from './activities/index.js'
import type { Config } from './config.js'
import { requireCurrentSchema } from './migrations.js'
import { startSagaWorker, type RunningWorker } from './saga/node/saga-worker.js'
import { byParticipant } from './services/index.js'
import {
  encryptedWorkflowBundle,
  encryptionBy,
  payloadConverterPath,
  TASK_QUEUE,
  workflowBundle,
  workflowsPath,
  type Temporal,
} from './temporal.js'
import type { Tracing } from './tracing.js'

/** Starts the worker: workflows, activities, and the watch over the sweep. Throws where the schema is too old. */
export async function startWorker(
  config: Config,
  temporal: Temporal,
  logger: Logger,
  tracing?: Tracing,
): Promise<RunningWorker> {
  await requireCurrentSchema(config.databaseUrl)
  const { payloadKeys } = config
  return startSagaWorker({
    ...config,
    ...temporal,
    taskQueue: TASK_QUEUE,
    // With tracing its interceptors are bundled in, which takes some seconds.
    workflows: tracing
      ? { workflowsPath }
      : { workflowBundle: payloadKeys.areThere ? encryptedWorkflowBundle : workflowBundle },
    ...tracing?.worker,
    dataConverter: { payloadConverterPath, ...encryptionBy(payloadKeys) },
    participants: services,
    remotes: byParticipant(config.serviceUrls),
    sagas,
    logger,
  })
}

import { fileURLToPath } from 'node:url'
import type { Client } from '@temporalio/client'
import type { NativeConnection } from '@temporalio/worker'
import type { Logger } from 'pino'
import { startSagaWorker, type RunningWorker } from '../../src/saga/node/saga-worker.js'
import { stay, trip } from './sagas.js'
import { breakfast, car, charge, flight, room, ticket } from './services/index.js'

export const TASK_QUEUE = 'trips'

/** Where a worker works: the program's own place, or a test's. */
export interface Place {
  connection: NativeConnection
  client: Client
  databaseUrl: string
  /** The module `workflows`, as it lies there. */
  workflows: URL
  logger: Logger
}

/** Starts a worker for trips and the stays in them. */
export function startTripWorker({ workflows, ...place }: Place): Promise<RunningWorker> {
  return startSagaWorker({
    ...place,
    taskQueue: TASK_QUEUE,
    workflows: { workflowsPath: fileURLToPath(workflows) },
    participants: [flight, room, breakfast, car, charge, ticket],
    sagas: [trip, stay],
    stepTimeoutMs: 5_000,
    deadlineMs: 3_600_000,
    failureInjection: false,
  })
}

import { randomUUID } from 'node:crypto'
import { fileURLToPath } from 'node:url'
import type { Client } from '@temporalio/client'
import {
  bundleWorkflowCode,
  DefaultLogger,
  Runtime,
  Worker,
  type WorkerInterceptors,
  type WorkflowBundleWithSourceMap,
} from '@temporalio/worker'
import { pino } from 'pino'
import { loadConfig } from '../../src/config.js'
import { makePool, sagaBounds } from '../../src/saga/node/db.js'
import { startApi } from '../../src/run-api.js'
import { makeSagaActivities, makeSagaCalls } from '../../src/saga/node/activities.js'
import type { AnyService } from '../../src/saga/node/barrier.js'
import { Slots } from '../../src/saga/node/gathering.js'
import { makeGroupActivities } from '../../src/saga/node/group.js'
import { SagaMirror } from '../../src/saga/node/mirror.js'
import { makeBulkActivities, SagaBulks, type BulkLimits } from '../../src/saga/node/saga-bulk.js'
import { makeDecisionsActivities, SagaDecisions } from '../../src/saga/node/saga-decisions.js'
import type { PayloadKeys } from '../../src/saga/node/payload-keys.js'
import { makeParticipants } from '../../src/saga/node/participants.js'
import { makeSweepActivities, SagaStarter, sharedQueue } from '../../src/saga/node/saga-starter.js'
import { SagaStore } from '../../src/saga/node/saga-store.js'
import type { SagaType } from '../../src/saga/node/saga-type.js'
import { completeFailures, type Failures, type FailuresInput } from '../../src/saga/failure.js'
import type { Json, StepDeclarations, SweepActivities } from '../../src/saga/types.js'
import { connectTemporal, TASK_QUEUE } from '../../src/temporal.js'
import { Sagas } from './sagas.js'
import { query, readShared } from './shared.js'
import { makeDatabase, makeNamespace } from './system.js'

/** Sagas and participants of a test's own on the real engine: its worker and an API, in this process. */
export interface Engine {
  sagas: Sagas
  client: Client
  store: SagaStore
  decisions: SagaDecisions
  starter: SagaStarter
  /** The sweep's work, to be done now. */
  sweep: SweepActivities
  /** The same on another connection. */
  sweepOver(client: Client): SweepActivities
  /** Starts a saga of that type; its id. `failures` as in POST /saga. */
  start(type: string, input: object, options?: { failures?: FailuresInput; sagaId?: string }): Promise<string>
  /** Starts sagas of that type, whose steps the options name, in one run; their ids. */
  startGroup(type: string, all: { input: object; failures?: FailuresInput }[]): Promise<string[]>
  /** Starts sagas of that type, whose steps the options name, as a bulk; their ids. */
  startBulk(
    type: string,
    all: { input: object; failures?: FailuresInput }[],
  ): Promise<{ bulkId: string; sagaIds: string[] }>
  /** The effects of a saga that stand, each as "service", in the order in which they were made. */
  effects(sagaId: string): Promise<string[]>
  /**
   * Replays every run that was started against the workflow code as it is now; how many. Throws where a workflow task of
   * them has failed, unless that was to be seen.
   */
  replay(options?: { failedTasks?: boolean }): Promise<number>
  /** Lets the worker go, and one with other workflow code take its place. */
  replaceWorker(workflows: URL): Promise<void>
  stop(): Promise<void>
}

export interface EngineOptions {
  /** The module that exports the workflows. */
  workflows: URL
  services: AnyService[]
  /** Types of the sagas, beside those of the module: input is taken as it comes. */
  types: string[]
  /** Of the types that are started in groups and bulks. */
  steps?: Record<string, StepDeclarations>
  /** When bulks pause, and how much of them is under way. */
  bulkLimits?: Partial<BulkLimits>
  stepTimeoutMs?: number
  deadlineMs?: number
  interceptors?: WorkerInterceptors
  /** Encrypt what the worker tells Temporal. Its sagas can't be replayed here. */
  payloadKeys?: PayloadKeys
}

// Once a test file: each has its own copy of the module.
Runtime.install({ logger: new DefaultLogger('ERROR'), shutdownSignals: [] })

export async function startEngine(name: string, options: EngineOptions): Promise<Engine> {
  const { services, types, stepTimeoutMs = 2_000, deadlineMs = 3_600_000 } = options
  const { temporal: address, temporalUi } = readShared()
  const database = await makeDatabase(name)
  await query(
    database,
    `CREATE TABLE effect (id bigint GENERATED ALWAYS AS IDENTITY, saga_id text, service text, input jsonb, PRIMARY KEY (saga_id, service))`,
  )
  await makeNamespace(name)
  process.env['TEMPORAL_ADDRESS'] = address
  process.env['TEMPORAL_NAMESPACE'] = name
  const temporal = await connectTemporal({ disableFile: true })
  const logger = pino({ level: 'silent' })
  const pool = makePool(database, { max: 10, name, bounds: sagaBounds })
  const participants = makePool(database, { max: 16, name, bounds: { lock_timeout: 3_000, statement_timeout: 4_000 } })
  const store = new SagaStore(pool, types.map(takenAsItComes))
  const starter = new SagaStarter(temporal.client, TASK_QUEUE)
  const bulks = new SagaBulks(pool, store, { taskQueue: TASK_QUEUE, limits: options.bulkLimits ?? {} })
  const decisions = new SagaDecisions(pool, store, TASK_QUEUE)
  const sweepOver = (client: Client) => {
    const mirror = new SagaMirror(pool, client, { stepTimeoutMs, logger })
    return makeSweepActivities(store, decisions, bulks, new SagaStarter(client, TASK_QUEUE), mirror, logger)
  }
  const sweep = sweepOver(temporal.client)
  const calls = {
    stepTimeoutMs,
    deadlineMs,
    logger,
    hasSagaStatus: () => Promise.resolve(false),
    participant: makeParticipants(services, participants, { failureInjection: true }),
  }
  const grouped = {
    store: new SagaStore(pool, types.map(takenAsItComes), { gathering: {} }),
    times: { stepTimeoutMs, deadlineMs },
    logger,
  }
  // As each process has its own.
  const makeActivities = () => ({
    ...sweep,
    ...makeDecisionsActivities(decisions, starter, logger),
    ...makeBulkActivities(bulks),
    ...makeSagaActivities(makeSagaCalls({ ...calls, store })),
    ...makeGroupActivities({
      ...grouped,
      starter,
      bulks,
      calls: makeSagaCalls({ ...calls, ...grouped, slots: new Slots(16) }),
    }),
  })
  let workflowBundle = await bundleWorkflows(options.workflows)
  const startOne = async (taskQueue: string) => {
    const worker = await Worker.create({
      connection: temporal.connection,
      namespace: name,
      taskQueue,
      workflowBundle,
      activities: makeActivities(),
      ...(options.interceptors && { interceptors: options.interceptors }),
      ...(options.payloadKeys && { dataConverter: { payloadCodecs: [options.payloadKeys] } }),
      shutdownGraceTime: '10s',
    })
    const done = worker.run()
    return async () => {
      worker.shutdown()
      await done
    }
  }
  const startWorker = async () => {
    const stops = await Promise.all([TASK_QUEUE, sharedQueue(TASK_QUEUE)].map(startOne))
    return () => Promise.all(stops.map((stop) => stop()))
  }
  let stopWorker = await startWorker()
  const config = loadConfig({ DATABASE_URL: database, PORT: '0', TEMPORAL_UI_URL: temporalUi, LOG_LEVEL: 'silent' })
  const api = await startApi(config, temporal, logger)
  const sagas = new Sagas({ api: api.url, database, namespace: name })

  const groups: string[] = []
  const intentOf = (type: string, { input, failures = {} }: { input: object; failures?: FailuresInput }) => {
    const saga = takenAsItComes(type)
    const parsed = saga.parse({ ...input, failures }) as { input: Json; failures: Failures }
    return { sagaId: randomUUID(), saga, steps: options.steps?.[type] ?? {}, ...parsed }
  }
  return {
    sagas,
    client: temporal.client,
    store,
    decisions,
    starter,
    sweep,
    sweepOver,
    async start(type, input, { failures = {}, sagaId = randomUUID() } = {}) {
      await temporal.client.workflow.start(type, {
        workflowId: sagaId,
        taskQueue: TASK_QUEUE,
        args: [{ ...input, failures }],
      })
      sagas.started.push(sagaId)
      return sagaId
    },
    async startGroup(type, all) {
      const intents = all.map((one) => intentOf(type, one))
      const sagaIds = intents.map(({ sagaId }) => sagaId)
      for (const intent of intents) await store.writeIntent({ ...intent, maxOpen: 1_000 })
      await starter.startGroup(type, sagaIds)
      groups.push(`saga-group-${sagaIds[0]}`)
      return sagaIds
    },
    async startBulk(type, all) {
      const intents = all.map((one) => intentOf(type, one))
      const bulk = { bulkId: randomUUID(), type }
      await bulks.write({ ...bulk, sagas: intents, rejected: 0, rejections: [] })
      await starter.startBulk(bulk)
      groups.push(`saga-bulk-${bulk.bulkId}`)
      return { bulkId: bulk.bulkId, sagaIds: intents.map(({ sagaId }) => sagaId) }
    },
    async effects(sagaId) {
      const rows = await query<{ service: string }>(
        database,
        'SELECT service FROM effect WHERE saga_id = $1 ORDER BY id',
        [sagaId],
      )
      return rows.map(({ service }) => service)
    },
    async replay({ failedTasks = false } = {}) {
      const replayed = [...sagas.started, ...groups]
      for (const sagaId of replayed) {
        // The latest run first, then those that it has continued.
        let runId: string | undefined
        do {
          const history = await temporal.client.workflow.getHandle(sagaId, runId).fetchHistory()
          await Worker.runReplayHistory({ workflowBundle }, history, sagaId)
          for (const { childWorkflowExecutionStartedEventAttributes: child } of history.events ?? []) {
            const laneId = child?.workflowType?.name === 'bulkLane' ? child.workflowExecution?.workflowId : undefined
            if (laneId && !replayed.includes(laneId)) replayed.push(laneId)
          }
          const failed = (history.events ?? []).flatMap(({ workflowTaskFailedEventAttributes: failed }) =>
            failed && CODE_FAILED.has(failed.cause ?? 0) ? [failed.failure?.message] : [],
          )
          if (failed.length > 0 && !failedTasks)
            throw new Error(`A workflow task of saga ${sagaId} failed: ${failed.join('; ')}`)
          runId =
            history.events?.[0]?.workflowExecutionStartedEventAttributes?.continuedExecutionRunId?.trim() || undefined
        } while (runId)
      }
      return sagas.started.length
    },
    async replaceWorker(workflows) {
      await stopWorker()
      workflowBundle = await bundleWorkflows(workflows)
      stopWorker = await startWorker()
    },
    async stop() {
      await stopWorker()
      await api.stop()
      await Promise.all([pool.end(), participants.end()])
      await temporal.connection.close()
    },
  }
}

/** WORKFLOW_WORKER_UNHANDLED_FAILURE and NON_DETERMINISTIC_ERROR; others come of a reset, or of the server itself. */
const CODE_FAILED = new Set([14, 24])

/** A participant whose effect is a row in table `effect`. `hooks` are called in its transaction, behind its statements. */
export function effectService(
  name: string,
  hooks: {
    invoke?: (call: { sagaId: string; input: Json }) => Promise<void> | void
    compensate?: (call: { sagaId: string; input: Json }) => Promise<void> | void
  } = {},
) {
  return {
    name,
    async invoke(tx, call) {
      await tx.query('INSERT INTO effect (saga_id, service, input) VALUES ($1, $2, $3)', [
        call.sagaId,
        name,
        JSON.stringify(call.input),
      ])
      await hooks.invoke?.(call)
      return { by: name }
    },
    async compensate(tx, call) {
      await tx.query('DELETE FROM effect WHERE saga_id = $1 AND service = $2', [call.sagaId, name])
      await hooks.compensate?.(call)
    },
    async verify(tx, { sagaId }) {
      const { rows } = await tx.query('SELECT id FROM effect WHERE saga_id = $1 AND service = $2', [sagaId, name])
      return rows.map(({ id }) => `effect ${id}`)
    },
  } satisfies AnyService
}

/** Bundles workflow code that is not built, such as a test's own. */
export function bundleWorkflows(workflows: URL): Promise<WorkflowBundleWithSourceMap> {
  return bundleWorkflowCode({
    workflowsPath: fileURLToPath(workflows),
    logger: new DefaultLogger('ERROR'),
    // The sources name each other as they are called once they are built.
    webpackConfigHook: (config) => ({
      ...config,
      resolve: { ...config.resolve, extensionAlias: { '.js': ['.ts', '.js'] } },
    }),
  })
}

/** The Node half of a saga of a test: its input is taken as it comes. */
export function takenAsItComes(type: string): SagaType {
  return {
    type,
    parse(request) {
      const { failures = {}, ...input } = request as { failures?: FailuresInput }
      return { input, failures: completeFailures(failures) }
    },
    view: (input) => input as object,
    label: () => type,
    secrets: () => [],
  }
}

import { activityInfo } from '@temporalio/activity'
import type { Client } from '@temporalio/client'
import type { DataConverter } from '@temporalio/common'
import {
  DefaultLogger,
  Runtime,
  Worker,
  type NativeConnection,
  type WorkerInterceptors,
  type WorkerOptions,
  type WorkflowBundleOption,
} from '@temporalio/worker'
import type { Logger } from 'pino'
import type { AnyForwardParticipant, GroupActivities } from '../types.js'
import { makeSagaActivities, makeSagaCalls } from './activities.js'
import type { AnyService, BarredParticipant } from './barrier.js'
import { bundleSagas, withoutStacks } from './bundle.js'
import { Deference, Slots } from './gathering.js'
import { makeGroupActivities } from './group.js'
import { makePool, participantBounds, sagaBounds, type Pool } from './db.js'
import { SagaMirror } from './mirror.js'
import { makeBulkActivities, SagaBulks } from './saga-bulk.js'
import { makeDecisionsActivities, SagaDecisions } from './saga-decisions.js'
import { watchStrayRejections } from './participant-code.js'
import { makeParticipants } from './participants.js'
import type { PayloadKeys } from './payload-keys.js'
import type { LogEntry } from './projection.js'
import { requireSagaSchema } from './saga-schema.js'
import { countLogged, watchProcess, type OnLogged } from './saga-metrics.js'
import { keepSweepRunning, makeSweepActivities, SagaStarter, sharedQueue } from './saga-starter.js'
import { SagaStore, type SagaStoreOptions, type Times } from './saga-store.js'
import type { SagaType } from './saga-type.js'

/** At once; the SDK's own default. */
const LOCAL_ACTIVITIES = 100
/** Of sagas that share a run, at once, each with a connection of its own: PostgreSQL gains nothing from more. */
const GROUPED_CALLS = 16

export interface SagaWorkerOptions extends Times {
  connection: NativeConnection
  /** On the same connection, and of the namespace that is served. */
  client: Client
  taskQueue: string
  /** The sagas' code with `recoverSaga`, `sagaGroup`, `sagaBulk`, `sagaSweep` and `sagaDecisions`: bundled by `bundleSagas`, or the path of its module. */
  workflows: { workflowBundle: WorkflowBundleOption } | { workflowsPath: string }
  dataConverter?: DataConverter
  /** Encrypt the inputs that are kept in the sagas' rows. Whoever has them gives them to `dataConverter` and `client` too. */
  payloadKeys?: PayloadKeys
  /** PostgreSQL of the sagas' rows, and of the participants' barriers and tables. */
  databaseUrl: string
  /** Whatever the sagas' steps name, but for what runs elsewhere. */
  participants: readonly AnyForwardParticipant[]
  /** Participants that are called over HTTP (docs/participant-protocol.md), by name: where each is. */
  remotes?: Readonly<Record<string, string>>
  /** The Node halves of the sagas. */
  sagas: readonly SagaType[]
  /** Whether failures that a saga brings along, or that are in force, are injected. Never in production. */
  failureInjection: boolean
  /** Put around each participant and its barrier, as by the test kit, which makes calls fail there. */
  around?: (participant: BarredParticipant) => BarredParticipant
  /** Those of workflows only where their code is bundled here, from its path. */
  interceptors?: WorkerInterceptors
  sinks?: NonNullable<WorkerOptions['sinks']>
  /** What goes along with calls of participants that run elsewhere, such as a `traceparent`. */
  remoteHeaders?: () => Record<string, string>
  logger: Logger
}

export interface RunningWorker {
  /** Settles when the worker has stopped; rejects where it broke. */
  done: Promise<void>
  /** Lets what is under way end (a call's time-out and 4 s at most), then stops. */
  stop(): Promise<void>
}

/**
 * Starts a worker for sagas: their workflows, the engine's activities, and the watch over the sweep that looks after lost
 * ones. Everything it opens is closed when it stops. Throws a SagaSchemaError where the database lacks files of sql/.
 */
export async function startSagaWorker(options: SagaWorkerOptions): Promise<RunningWorker> {
  const { connection, client, taskQueue, databaseUrl, sagas, logger, stepTimeoutMs, deadlineMs, dataConverter } =
    options
  const { namespace } = client.options
  const onError = (error: Error) => logger.warn({ err: error }, 'A database connection broke')
  const forSagas = { bounds: sagaBounds, queryTimeoutMs: 6_000, onError }
  const forParticipants = { bounds: participantBounds, queryTimeoutMs: 12_000, onError }
  const pool = makePool(databaseUrl, { ...forSagas, max: 20, name: 'saga-worker' })
  const participantPool = makePool(databaseUrl, { ...forParticipants, max: 20, name: 'saga-participants' })
  const bulkPool = makePool(databaseUrl, { ...forSagas, max: 8, name: 'saga-bulk' })
  const bulkParticipantPool = makePool(databaseUrl, {
    ...forParticipants,
    max: GROUPED_CALLS,
    name: 'saga-bulk-participants',
  })
  const pools = [pool, participantPool, bulkPool, bulkParticipantPool]
  let endWatch = () => {}
  const endStrayWatch = watchStrayRejections(logger)
  const closePools = async () => {
    endWatch()
    endStrayWatch()
    await Promise.all(pools.map((one) => one.end()))
  }
  try {
    await requireSagaSchema(pool)
    const { metricMeter } = Runtime.instance()
    const count = countLogged(metricMeter)
    const onLogged: OnLogged = (saga, entries) => {
      count(saga, entries)
      logWritten(logger, saga.sagaId, entries)
    }
    const store = new SagaStore(pool, sagas, { payloadKeys: options.payloadKeys, onLogged })
    endWatch = watchProcess(metricMeter, {
      ...{ worker: pool, participants: participantPool },
      ...{ bulk: bulkPool, bulk_participants: bulkParticipantPool },
    })
    const decisions = new SagaDecisions(pool, store, taskQueue)
    const bulks = new SagaBulks(bulkPool, store, { taskQueue })
    const starter = new SagaStarter(client, taskQueue)
    const mirror = new SagaMirror(pool, client, { stepTimeoutMs, logger, onLogged })
    const { around = (plain) => plain, sinks } = options
    const { workflowModules, ...interceptors } = options.interceptors ?? {}
    const services = options.participants as unknown as AnyService[]
    const barred = makeParticipants(services, participantPool, options)
    const participant: typeof barred = (name, injection) => around(barred(name, injection))
    const hasSagaStatus = () => hasSearchAttribute(connection, namespace, 'SagaStatus')
    /** Bulks give way to single sagas, which somebody may be waiting for. */
    const singles = new Deference()
    const calls = makeSagaCalls({ store, participant, hasSagaStatus, stepTimeoutMs, deadlineMs, logger })
    /** What sagas that share a run, or are nested in one that does, call: on connections of their own. */
    const shared = (sagaPool: Pool, calledOn: Pool, slots: Slots, gathering: SagaStoreOptions['gathering']) => {
      const store = new SagaStore(sagaPool, sagas, {
        payloadKeys: options.payloadKeys,
        onLogged,
        gathering,
      })
      const called = makeParticipants(services, calledOn, options)
      const calls = makeSagaCalls({
        ...{ store, slots, hasSagaStatus, stepTimeoutMs, deadlineMs, logger },
        participant: (name, injection) => around(called(name, injection)),
      })
      const times = { stepTimeoutMs, deadlineMs }
      return { calls, ...makeGroupActivities({ store, starter, bulks, calls, times, logger }) }
    }
    const inGroups = shared(pool, participantPool, new Slots(GROUPED_CALLS), { ready: async () => singles.note() })
    const bulkSlots = new Slots(GROUPED_CALLS)
    const inBulks = shared(bulkPool, bulkParticipantPool, bulkSlots, {
      ready: () => singles.turn(),
      // Their attempts end one by one where their participants take one call at a time.
      isMoreComing: () => bulkSlots.isCrowded,
    })
    const callMany: GroupActivities['callMany'] = (batch) =>
      (activityInfo().workflowType === 'sagaGroup' ? inGroups : inBulks).callMany(batch)
    const workflowBundle = await bundled(options)
    const common = {
      connection,
      namespace,
      // The client's, which starts sagas eagerly: by it the mirror knows whether a process was lost.
      identity: client.options.identity,
      workflowBundle,
      ...(dataConverter && { dataConverter }),
      interceptors,
      ...(sinks && { sinks }),
      // Longer than the longest attempt, or a stop would cut calls off in the middle.
      shutdownGraceTime: stepTimeoutMs + 4_000,
    }
    const workers = [
      await Worker.create({
        ...common,
        taskQueue,
        activities: {
          ...makeSweepActivities(store, decisions, bulks, starter, mirror, logger),
          ...makeDecisionsActivities(decisions, starter, logger),
          ...makeSagaActivities(calls, () => singles.note()),
          // For groups that an earlier version of this worker has begun on this queue.
          callMany,
        },
        maxCachedWorkflows: 500,
        // A saga holds its first task through all its local activities: with the SDK's 40 the others are not started eagerly.
        maxConcurrentWorkflowTaskExecutions: LOCAL_ACTIVITIES,
        maxConcurrentLocalActivityExecutions: LOCAL_ACTIVITIES,
      }),
      // Its workflows, and their thread, apart: the turns of many sagas are long, and one that runs alone must not wait for them.
      await Worker.create({
        ...common,
        workflowBundle: await withoutStacks(workflowBundle),
        taskQueue: sharedQueue(taskQueue),
        activities: { ...makeBulkActivities(bulks), ...makeSagaActivities(inBulks.calls), callMany },
        maxCachedWorkflows: 50,
      }),
    ]
    const sweeping = new AbortController()
    void keepSweepRunning(client, taskQueue, logger, sweeping.signal)
    const shutDown = () => {
      for (const worker of workers) if (worker.getState() === 'RUNNING') worker.shutdown()
    }
    const runOne = async (worker: Worker) => {
      try {
        await worker.run()
      } finally {
        shutDown()
      }
    }
    const run = async () => {
      try {
        await Promise.all(workers.map(runOne))
      } finally {
        sweeping.abort()
        await closePools()
      }
    }
    const done = run()
    return {
      done,
      async stop() {
        shutDown()
        await done
      },
    }
  } catch (error) {
    await closePools()
    throw error
  }
}

function bundled({
  workflows,
  dataConverter,
  interceptors,
}: SagaWorkerOptions): Promise<WorkflowBundleOption> | WorkflowBundleOption {
  if ('workflowBundle' in workflows) return workflows.workflowBundle
  const { payloadConverterPath, failureConverterPath } = dataConverter ?? {}
  return bundleSagas({
    ...workflows,
    ...(payloadConverterPath !== undefined && { payloadConverterPath }),
    ...(interceptors?.workflowModules && { workflowInterceptorModules: interceptors.workflowModules }),
    ...(failureConverterPath !== undefined && { failureConverterPath }),
    logger: new DefaultLogger('WARN'),
  })
}

/** The rows of the saga log, as they are written; what they say further is for those who may read them. */
function logWritten(logger: Logger, sagaId: string, entries: LogEntry[]): void {
  for (const { service, status, attempt } of entries) logger.debug({ sagaId, service, status, attempt }, 'Logged')
}

/** Whether the namespace has a search attribute of that name; false also where it does not say. */
async function hasSearchAttribute(connection: NativeConnection, namespace: string, name: string): Promise<boolean> {
  try {
    const { customAttributes } = await connection.withDeadline(Date.now() + 3_000, () =>
      connection.operatorService.listSearchAttributes({ namespace }),
    )
    return customAttributes !== undefined && name in customAttributes
  } catch {
    return false
  }
}

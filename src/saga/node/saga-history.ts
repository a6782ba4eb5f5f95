import { WorkflowNotFoundError, type Client as Temporal } from '@temporalio/client'
import type { Payload } from '@temporalio/common'
import type { temporal } from '@temporalio/proto'
import type { AttemptOrder, Changed } from '../types.js'
import type { SagaRecord } from './saga-record.js'

/** What Temporal's history tells of a saga, all its runs in their order. */
export interface SagaHistory {
  /** How its last run stands, as Temporal names it: RUNNING, COMPLETED, … */
  status: string
  events: Told[]
}

export type Told =
  /** A run has opened the saga by its row; or has claimed its rollback. */
  | { kind: 'opened' | 'claimed' }
  /**
   * Temporal has given a workflow task up, and another process has taken it: what the first did in local activities is not in
   * history.
   */
  | { kind: 'lost'; at: Date }
  /** A participant was called, by one attempt or more. */
  | Called

export interface Called {
  kind: 'called'
  /** As in the log: the step, or COMPENSATE_ and the step. */
  service: string
  /** Those that were begun, and have ended or been given up. */
  attempts: number
  /** When Temporal gave its last attempt up, or the one before, for its worker was gone. */
  lostAt?: Date
  changed: Changed
}

type Event = temporal.api.history.v1.IHistoryEvent
type Failure = temporal.api.failure.v1.IFailure

/** TIMEOUT_TYPE_START_TO_CLOSE: who had begun did not end. */
const START_TO_CLOSE = 1

/** How the last run of that id stands, as Temporal names it; undefined where it has none. Throws where Temporal does not answer. */
export async function readStatus({ workflow }: Temporal, workflowId: string): Promise<string | undefined> {
  try {
    return (await workflow.getHandle(workflowId).describe()).status.name
  } catch (error) {
    if (error instanceof WorkflowNotFoundError) return undefined
    throw error
  }
}

/** Undefined where Temporal has none of it, as of a saga that shares a run. Throws where Temporal does not answer. */
export async function readHistory(client: Temporal, saga: SagaRecord): Promise<SagaHistory | undefined> {
  const { sagaId, firstRunId, carriedBy } = saga
  if (firstRunId === null || carriedBy !== null) return undefined
  try {
    const history: SagaHistory = { status: '', events: [] }
    for (const runId of await runsOf(client, saga)) {
      const events = (await client.workflow.getHandle(sagaId, runId).fetchHistory()).events ?? []
      const { firstExecutionRunId } = events[0]?.workflowExecutionStartedEventAttributes ?? {}
      // Others are of starts that found the id taken, or of runs that were lost.
      if (firstExecutionRunId === firstRunId) history.status = statusOf(events.at(-1))
      history.events.push(...(await tellRun(client, events)))
    }
    return history.status ? history : undefined
  } catch (error) {
    if (error instanceof WorkflowNotFoundError) return undefined
    throw error
  }
}

/**
 * Whether that run is still open and, if so, whether a worker has written the saga's row for it; undefined where it is open no
 * more. Throws where Temporal does not answer.
 */
export async function readOpening(client: Temporal, workflowId: string, runId: string): Promise<boolean | undefined> {
  try {
    const { events } = await client.workflow.getHandle(workflowId, runId).fetchHistory()
    if (statusOf(events?.at(-1)) !== 'RUNNING') return undefined
    return (await tellRun(client, events ?? [])).some(({ kind }) => kind === 'opened')
  } catch (error) {
    if (error instanceof WorkflowNotFoundError) return undefined
    throw error
  }
}

/** Its runs that Temporal still has, the first first: mostly one. */
async function runsOf({ workflow }: Temporal, { sagaId, firstRunId, openings }: SagaRecord): Promise<string[]> {
  const latest = (await workflow.getHandle(sagaId).describe()).runId
  if (latest === firstRunId && openings <= 1) return [latest]
  const id = sagaId.replaceAll('\\', '\\\\').replaceAll("'", "\\'")
  const runs: { runId: string; startTime: Date }[] = []
  for await (const run of workflow.list({ query: `WorkflowId = '${id}'` })) runs.push(run)
  const known = runs.toSorted((a, b) => a.startTime.getTime() - b.startTime.getTime()).map(({ runId }) => runId)
  // What is listed may lag behind.
  return known.includes(latest) ? known : [...known, latest]
}

function statusOf(last: Event | undefined): string {
  if (last?.workflowExecutionCompletedEventAttributes) return 'COMPLETED'
  if (last?.workflowExecutionFailedEventAttributes) return 'FAILED'
  if (last?.workflowExecutionCanceledEventAttributes) return 'CANCELLED'
  if (last?.workflowExecutionTerminatedEventAttributes) return 'TERMINATED'
  if (last?.workflowExecutionTimedOutEventAttributes) return 'TIMED_OUT'
  return 'RUNNING'
}

async function tellRun({ options }: Temporal, events: Event[]): Promise<Told[]> {
  const { payloadConverter, payloadCodecs } = options.loadedDataConverter
  const decode = async <T>(payloads: Payload[] | null | undefined): Promise<T | undefined> => {
    let [payload] = payloads ?? []
    for (const codec of payloadCodecs.toReversed()) if (payload) [payload] = await codec.decode([payload])
    return payload && payloadConverter.fromPayload<T>(payload)
  }
  const byId = new Map(events.map((event) => [String(event.eventId), event]))
  const find = (id: { toString(): string } | null | undefined) => (id ? byId.get(id.toString()) : undefined)
  const told: Told[] = []
  let givenUp: { at: Date; by: string } | undefined
  let holder = ''
  // A reset has copied the events before it from the run that it was made of.
  const reset = events.findLastIndex(({ workflowTaskFailedEventAttributes: failed }) => failed?.baseRunId)
  for (const event of events.slice(reset + 1)) {
    const at = timeOf(event)
    const { workflowTaskStartedEventAttributes: taken, workflowTaskTimedOutEventAttributes: timeout } = event
    if (taken) {
      const { identity } = taken
      holder = identity ?? ''
      // A worker that was only slow, or cut off, has it once more.
      if (givenUp && givenUp.by !== holder) {
        // Of a task that is given up again and again history keeps the first and the count.
        const attempt = find(taken.scheduledEventId)?.workflowTaskScheduledEventAttributes?.attempt ?? 1
        for (let n = 1; n < Math.max(2, attempt); n += 1) told.push({ kind: 'lost', at: givenUp.at })
      }
      givenUp = undefined
    }
    if (Number(timeout?.timeoutType) === START_TO_CLOSE) givenUp = { at, by: holder }
    const marker = event.markerRecordedEventAttributes
    if (marker?.markerName === 'core_local_activity') {
      const { activity_type: type } =
        (await decode<{ activity_type?: string }>(marker.details?.['data']?.payloads)) ?? {}
      if (!marker.failure) told.push(...tellRow(type))
      if (!isCall(type)) continue
      const changed = changedIn(await decode(marker.details?.['result']?.payloads ?? detailsOf(marker.failure)))
      const own = ownOf(type, changed)
      if (own) told.push({ kind: 'called', service: own.service, attempts: 1, changed })
    }
    const { activityTaskCompletedEventAttributes: completed, activityTaskFailedEventAttributes: failed } = event
    const { activityTaskTimedOutEventAttributes: timedOut, activityTaskCanceledEventAttributes: cancelled } = event
    const end = completed ?? failed ?? timedOut ?? cancelled
    if (!end) continue
    const scheduled = find(end.scheduledEventId)?.activityTaskScheduledEventAttributes
    const started = find(end.startedEventId)?.activityTaskStartedEventAttributes
    const type = scheduled?.activityType?.name
    // Work on the row that the worker of the run could not do.
    if (completed) told.push(...tellRow(type))
    if (!isCall(type)) continue
    const order = await decode<AttemptOrder>(scheduled?.input?.payloads)
    if (!order) continue
    const changed = changedIn(await decode(completed?.result?.payloads ?? detailsOf(failed?.failure)))
    // Without a word of what it made of the saga it called nobody; nor is it known of one that was cancelled.
    const isOver = ownOf(type, changed) !== undefined || isLost(timedOut?.failure)
    const lost = isLost(timedOut?.failure) || isLost(started?.lastFailure)
    told.push({
      kind: 'called',
      service: type === 'invoke' ? order.step : `COMPENSATE_${order.step}`,
      attempts: (started?.attempt ?? 1) - (isOver ? 0 : 1),
      ...(lost && { lostAt: at }),
      changed,
    })
  }
  return told
}

function tellRow(type: string | null | undefined): Told[] {
  if (type === 'openSaga' || type === 'openRecovery') return [{ kind: 'opened' }]
  return type === 'claimRollback' ? [{ kind: 'claimed' }] : []
}

type CallType = 'invoke' | 'compensate' | 'settle'

function isCall(type: string | null | undefined): type is CallType {
  return type === 'invoke' || type === 'compensate' || type === 'settle'
}

/** What an attempt counts as, where it has left a row with a number. */
function ownOf(type: CallType, { step, compensation }: Changed): { service: string } | undefined {
  if (type === 'invoke') return step && { service: step.step }
  return compensation && { service: `COMPENSATE_${compensation.step}` }
}

/** The details in which a failed activity of the engine tells what it has made of the saga. */
function detailsOf(failure: Failure | null | undefined): Payload[] | null | undefined {
  return (failure?.cause ?? failure)?.applicationFailureInfo?.details?.payloads
}

function changedIn(told: unknown): Changed {
  if (typeof told !== 'object' || told === null) return {}
  return ('changed' in told ? told.changed : told) as Changed
}

function isLost(failure: Failure | null | undefined): boolean {
  return Number(failure?.timeoutFailureInfo?.timeoutType) === START_TO_CLOSE
}

function timeOf({ eventTime }: Event): Date {
  return new Date(Number(eventTime?.seconds ?? 0) * 1_000 + Math.floor((eventTime?.nanos ?? 0) / 1e6))
}

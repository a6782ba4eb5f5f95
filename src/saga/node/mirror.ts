import { createHash } from 'node:crypto'
import type { Client as Temporal } from '@temporalio/client'
import type { Logger } from 'pino'
import type { Pool } from './db.js'
import { readHistory, type Called, type SagaHistory, type Told } from './saga-history.js'
import type { OnLogged } from './saga-metrics.js'
import { recordColumns, type SagaRecord } from './saga-record.js'
import { announcement } from './saga-row.js'

/** Temporal gives up a workflow task without an answer after so long. */
const TASK_TIMEOUT_MS = 10_000
/** Who ends so late may still be writing. */
const SETTLE_MS = 30_000
const PAGE = 200

/** As the index saga_to_mirror has it. */
const ENDED = `carried_by IS NULL AND (mirrored_at IS NULL OR mirrored_at < ended_at) AND ended_at - started_at > interval '3 s'`

/** An attempt that the log does not have. */
export interface Gap {
  /** As in the log: the step, or COMPENSATE_ and the step. */
  service: string
  message: string
}

/** A row of the log, as far as gaps are concerned. */
export interface LoggedAttempt {
  service: string
  status: string
  attempt: number | null
}

/**
 * What is owed to the log by a process that was killed: the attempts that Temporal's history knows of, or a lost workflow
 * task shows, and that have left no row. Where history leaves it open whether there was one, nothing is claimed.
 */
export function gapsOf(saga: SagaRecord, log: LoggedAttempt[], { events }: SagaHistory): Gap[] {
  const rows = new Map<string, LoggedAttempt[]>()
  for (const row of log) if (row.attempt !== null) rows.set(row.service, [...(rows.get(row.service) ?? []), row])
  const rowsOf = (service: string) => rows.get(service)?.length ?? 0
  const calls = events.filter((event): event is Called => event.kind === 'called' && event.attempts > 0)
  const known = new Map<string, number>()
  for (const { service, attempts } of calls) known.set(service, (known.get(service) ?? 0) + attempts)

  // Those of regular activities, which Temporal counts.
  const regular = [...known].flatMap(([service, attempts]) => {
    const lost = calls.flatMap((call) => (call.service === service && call.lostAt ? [call.lostAt] : []))
    return Array.from({ length: Math.max(0, attempts - rowsOf(service)) }, (_, i) => gap(service, lost[i]))
  })

  // Local ones: of a lost workflow task history says nothing, the log has the rows of those that had ended.
  const unexplained = new Map([...rows].map(([service, own]) => [service, own.length - (known.get(service) ?? 0)]))
  const local = localLosses(saga, events).flatMap(({ at, next }) => {
    for (const service of next) {
      const left = unexplained.get(service) ?? 0
      // Whose first row is that of the call behind the loss, or missing, was under way.
      if (left <= 0) return [gap(service, at)]
      unexplained.set(service, left - 1)
      // Behind a call that failed no other was made at once.
      if (rows.get(service)?.[0]?.status === 'failed') return []
    }
    return []
  })
  return [...regular, ...local]
}

/** The lost workflow tasks that may have had a call under way, each with the calls that it may have been, in their order. */
function localLosses({ openings, claims, steps }: SagaRecord, events: Told[]): { at: Date; next: string[] }[] {
  const told = (kind: Told['kind'], before = events.length) =>
    events.slice(0, before).filter((event) => event.kind === kind).length
  // Openings and claims that were lost with their task. A run behind one makes regular calls only.
  let lostOpenings = openings - told('opened')
  let lostClaims = claims - told('claimed')
  let isLocal = true
  return events.flatMap((event, i) => {
    if (event.kind === 'called' && isRetried(event)) isLocal = false
    if (event.kind !== 'lost' || !isLocal) return []
    if (told('opened', i) === 0) {
      // It was lost before it had opened the saga.
      if (lostOpenings <= 0) return []
      lostOpenings -= 1
      isLocal = false
    }
    const isBack = told('claimed', i) > 0 || lostClaims > 0
    if (lostClaims > 0) {
      lostClaims -= 1
      isLocal = false
    }
    const isWanted = ({ service }: Called) => isBack === service.startsWith(BACK)
    const behind = events.slice(i).filter((one): one is Called => one.kind === 'called' && one.attempts > 0)
    const next = behind.filter(isWanted).map(({ service }) => service)
    // What it was to call next on its way forward is not called any more, where it goes back now.
    const called = new Set(events.flatMap((one) => (one.kind === 'called' ? [one.service] : [])))
    const isTurned = !isBack && told('claimed') > 0
    const rest = isTurned ? steps.map(({ step }) => step).filter((step) => !called.has(step)) : []
    return [{ at: event.at, next: [...new Set([...next, ...rest])] }]
  })
}

const BACK = 'COMPENSATE_'

/** After a call that failed, and is made again, a run makes regular ones only. */
function isRetried({ service, changed: { step, compensation } }: Called): boolean {
  const after = service.startsWith(BACK) ? compensation : step
  return after?.status === 'running'
}

function gap(service: string, lostAt: Date | undefined): Gap {
  const why = lostAt
    ? `WorkerLost: its process was gone before it ended; Temporal gave it up at ${lostAt.toISOString()}`
    : 'Unwritten: its process was gone before it ended, or had no database'
  return { service, message: `${why} (added from Temporal's history; changes nothing)` }
}

/**
 * Adds to the log what no worker could write, from Temporal's history. Of sagas that share a run that has only what all of
 * them did together, and not which of them a lost worker was calling for: of those nothing is claimed.
 */
export class SagaMirror {
  constructor(
    private readonly pool: Pool,
    private readonly temporal: Temporal,
    private readonly options: {
      /** Of one try of a participant's call. */
      stepTimeoutMs: number
      logger: Logger
      /** Told of every row that is added. */
      onLogged?: OnLogged
    },
  ) {}

  /** Sagas of which a worker may have been lost, and of which nobody writes any more; 400 at most. */
  async unmirrored(): Promise<SagaRecord[]> {
    // What was quicker than Temporal gives a worker up has lost none.
    await this.pool.query(
      `UPDATE saga SET mirrored_at = now()
       WHERE ${ENDED} AND ended_at - started_at < $1 * interval '1 ms'`,
      [Math.min(TASK_TIMEOUT_MS, this.options.stepTimeoutMs)],
    )
    const { rows } = await this.pool.query<SagaRecord>(
      `(SELECT ${recordColumns} FROM saga
        WHERE ${ENDED} AND ended_at < now() - $1 * interval '1 ms'
        ORDER BY ended_at LIMIT ${PAGE})
       UNION ALL
       (SELECT ${recordColumns} FROM saga
        WHERE fate IN ('open', 'rollback') AND status = 'NEEDS_ATTENTION'
          AND carried_by IS NULL AND progress_at < now() - $1 * interval '1 ms' AND (mirrored_at IS NULL OR mirrored_at < progress_at)
        LIMIT ${PAGE})`,
      [SETTLE_MS],
    )
    return rows
  }

  /** Adds what the saga's log lacks; how many rows. Repeated it adds nothing. Throws where Temporal does not answer. */
  async mirror(saga: SagaRecord): Promise<number> {
    const { sagaId } = saga
    const history = await readHistory(this.temporal, saga)
    const { rows: log } = await this.pool.query<LoggedAttempt>(
      'SELECT service, status, attempt FROM saga_log WHERE saga_id = $1 ORDER BY id',
      [sagaId],
    )
    const seen = new Map<string, number>()
    const entries = (history ? gapsOf(saga, log, history) : []).map(({ service, message }) => {
      const n = (seen.get(service) ?? 0) + 1
      seen.set(service, n)
      return { service, status: 'failed', message, entryId: entryIdOf(sagaId, service, n) }
    })
    const { rows } = await this.pool.query<{ added: string[] | null }>(
      `WITH mirrored AS (
         UPDATE saga SET mirrored_at = clock_timestamp() WHERE saga_id = $1 RETURNING saga_id, fate, status, carried_by
       ), logged AS (
         INSERT INTO saga_log (saga_id, service, status, message, entry_id)
         SELECT saga_id, e.service, e.status, e.message, e."entryId"
         FROM mirrored, jsonb_to_recordset($2) AS e (service text, status text, message text, "entryId" uuid)
         ON CONFLICT (entry_id) DO NOTHING RETURNING entry_id
       )
       SELECT (SELECT array_agg(entry_id) FROM logged) AS added,
         CASE WHEN EXISTS (SELECT FROM logged) THEN ${announcement} END FROM mirrored`,
      [sagaId, JSON.stringify(entries)],
    )
    const added = entries.filter(({ entryId }) => rows[0]?.added?.includes(entryId))
    if (added.length === 0) return 0
    this.options.onLogged?.(saga, added)
    this.options.logger.warn(
      { sagaId, added: added.map(({ service }) => service) },
      'The log lacked attempts of a lost worker',
    )
    return added.length
  }
}

/** The same for the same gap, so that it is filled once. */
function entryIdOf(sagaId: string, service: string, n: number): string {
  const hash = createHash('sha256')
    .update(JSON.stringify(['gap', sagaId, service, n]))
    .digest('hex')
  return hash.slice(0, 32).replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5')
}

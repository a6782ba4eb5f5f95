import { createHash } from 'node:crypto'
import type { Client as Temporal } from '@temporalio/client'
import type { Logger } from 'pino'
import type { Pool } from './db.js'
import { readHistory, type Called, type SagaHistory } from './saga-history.js'
import type { OnLogged } from './saga-metrics.js'
import { recordColumns, type SagaRecord } from './saga-record.js'
import { announcement } from './saga-store.js'

/** Temporal gives up a workflow task without an answer after so long. */
const TASK_TIMEOUT_MS = 10_000
/** Who ends so late may still be writing. */
const SETTLE_MS = 30_000
const PAGE = 200

/** As the index saga_to_mirror has it. */
const ENDED = `(mirrored_at IS NULL OR mirrored_at < ended_at) AND ended_at - started_at > interval '3 s'`

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
export function gapsOf({ openings, claims }: SagaRecord, log: LoggedAttempt[], history: SagaHistory): Gap[] {
  const calls = history.events.filter((one): one is Called => one.kind === 'called')
  const rows = new Map<string, LoggedAttempt[]>()
  for (const row of log) if (row.attempt !== null) rows.set(row.service, [...(rows.get(row.service) ?? []), row])
  const known = new Map<string, number>()
  for (const { service, attempts } of calls) known.set(service, (known.get(service) ?? 0) + attempts)
  const rowsOf = (service: string) => rows.get(service)?.length ?? 0

  const gaps: Gap[] = []
  // Regular activities: history has counted their attempts.
  for (const [service, attempts] of known) {
    const missing = Math.max(0, attempts - rowsOf(service))
    const lost = calls.flatMap((call) => (call.service === service && call.lostAt ? [call.lostAt] : []))
    for (let i = 0; i < missing; i += 1) gaps.push({ service, message: wordsOf(lost[i]) })
  }

  // Local ones of a task that was lost: the first call behind it that has no row of an earlier attempt was under way.
  const unexplained = new Map([...known].map(([service, attempts]) => [service, rowsOf(service) - attempts]))
  const openingsTold = history.events.filter(({ kind }) => kind === 'opened').length
  // An opening that its own task was lost with; after it a run makes regular calls only, and so after a second claim.
  let lostOpenings = openings - openingsTold
  let isOpened = false
  let isLocal = true
  for (const [i, event] of history.events.entries()) {
    if (event.kind === 'opened') isOpened = true
    if (event.kind === 'called' && isFailed(event)) isLocal = false
    if (event.kind !== 'lost' || !isLocal) continue
    if (!isOpened) {
      if (lostOpenings <= 0) continue
      lostOpenings -= 1
      isLocal = false
    }
    if (isOpened && claims > 1) isLocal = false
    for (const call of history.events.slice(i)) {
      if (call.kind !== 'called') continue
      const left = unexplained.get(call.service) ?? 0
      if (left === 0) {
        gaps.push({ service: call.service, message: wordsOf(event.at) })
        break
      }
      // It had ended before the worker was lost; where it had failed nothing else was under way.
      unexplained.set(call.service, left - 1)
      if (rows.get(call.service)?.[0]?.status === 'failed') break
    }
  }
  return gaps
}

/** After the first call that failed a run makes regular ones only. */
function isFailed({ service, changed: { step, compensation } }: Called): boolean {
  const status = service === step?.step ? step.status : compensation?.status
  return status === 'running'
}

function wordsOf(lostAt: Date | undefined): string {
  const why = lostAt
    ? `WorkerLost: its process was gone before it ended; Temporal gave it up at ${lostAt.toISOString()}`
    : 'Unwritten: its process was gone before it ended, or had no database'
  return `${why} (added from Temporal's history; changes nothing)`
}

/** Adds to the log what no worker could write, from Temporal's history. */
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
          AND progress_at < now() - $1 * interval '1 ms' AND (mirrored_at IS NULL OR mirrored_at < progress_at)
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
         UPDATE saga SET mirrored_at = clock_timestamp() WHERE saga_id = $1 RETURNING saga_id, fate, status
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

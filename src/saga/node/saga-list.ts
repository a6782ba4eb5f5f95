import { STATUSES, type Status } from '../types.js'
import type { Queryable } from './db.js'
import { recordColumns, type SagaRecord } from './saga-record.js'

/** Where a saga stands in the list. Neither ever changes. */
export interface SagaPosition {
  /** To the microsecond, as PostgreSQL keeps it: a Date has only milliseconds, and would skip or repeat sagas. */
  startedAtMicros: number
  sagaId: string
}

export interface SagaFilter {
  /** Any of these. */
  statuses?: Status[] | undefined
  /** The step that failed for good, or that is stuck, or whose compensation is. */
  step?: string | undefined
  /** What the saga's id begins with, or its label, the latter in upper or lower case. No character has a meaning of its own. */
  q?: string | undefined
  /** The bulk that they are of. */
  bulk?: string | undefined
  /** Only sagas behind this one. */
  after?: SagaPosition | undefined
  /** 50 where it is left out. */
  limit?: number | undefined
}

/** As the index saga_by_label has it. */
const searchedLabel = `lower(left(label, 255) COLLATE "pg_c_utf8")`

const prefixed = (q: string) => ({
  ofId: `saga_id ^@ ${q}::text`,
  ofLabel: `${searchedLabel} ^@ lower(${q}::text COLLATE "pg_c_utf8")`,
})

/** As many as are looked up before they are put in order; where a prefix fits more, many of those walked in order fit it. */
const FEW = 1_000

/**
 * The ids of the sagas that `q` fits, where they are few. PostgreSQL's own guess of how many they are comes from a sample
 * in which a prefix has a hundredth of all of them or none, and it would walk all sagas for a page that is not there.
 */
async function findFew(db: Queryable, q: string): Promise<string[] | undefined> {
  const { ofId, ofLabel } = prefixed('$1')
  const { rows } = await db.query<{ sagaId: string }>(
    `(SELECT saga_id AS "sagaId" FROM saga WHERE ${ofId} ORDER BY saga_id USING ~<~ LIMIT $2)
     UNION ALL
     (SELECT saga_id FROM saga WHERE ${ofLabel} ORDER BY ${searchedLabel} USING ~<~ LIMIT $2)`,
    [q, FEW + 1],
  )
  return rows.length > FEW ? undefined : rows.map(({ sagaId }) => sagaId)
}

/** The same moment, and the same order, as the index saga_newest and the index saga_by_status have it. */
const startedAt = {
  ofAll: {
    column: 'started_at',
    epoch: `timestamptz 'epoch'`,
    writtenAt: (bulk: string) => `(SELECT started_at FROM saga_bulk WHERE bulk_id = ${bulk})`,
  },
  ofStatus: {
    column: `(started_at AT TIME ZONE 'UTC')`,
    epoch: `timestamp 'epoch'`,
    writtenAt: (bulk: string) => `(SELECT started_at AT TIME ZONE 'UTC' FROM saga_bulk WHERE bulk_id = ${bulk})`,
  },
}

/** What a saga that needs attention is stuck on, a row each: what is left of its steps once it rolls back is over. */
const stuckOf = `jsonb_path_query(CASE fate WHEN 'open' THEN steps ELSE compensations END, '$[*] ? (@.status == "stuck")')`

/**
 * Newest first, those that are nested in others too; `next` is where the list goes on, if it does. Whoever follows it to
 * the end is given every saga once that was there at the beginning and that the filter fits all the while.
 */
export async function listSagas(
  db: Queryable,
  { statuses, step, q, bulk, after, limit = 50 }: SagaFilter,
): Promise<{ sagas: SagaRecord[]; next: SagaPosition | undefined }> {
  const few = q === undefined ? undefined : await findFew(db, q)
  const values: unknown[] = []
  const value = (one: unknown) => `$${values.push(one)}`
  // One more than is asked for tells whether the list goes on.
  const rowsAtMost = `LIMIT ${value(limit + 1)}::bigint`
  const source = few === undefined ? 'saga' : 'few'
  const withFew =
    few === undefined ? '' : `WITH few AS MATERIALIZED (SELECT * FROM saga WHERE saga_id = ANY(${value(few)}::text[]))`
  const select = (status: Status | undefined, ofStep: string[] = []) => {
    const { column, epoch, writtenAt } = status === undefined ? startedAt.ofAll : startedAt.ofStatus
    const conditions = [...ofStep]
    if (status !== undefined) conditions.push(`status = ${value(status)}`)
    if (q !== undefined && few === undefined) {
      const { ofId, ofLabel } = prefixed(value(q))
      conditions.push(`(${ofId} OR ${ofLabel})`)
    }
    // All sagas of a bulk have been written at the same moment: by that they stand in the index, in the list's order.
    if (bulk !== undefined) conditions.push(`bulk_id = ${value(bulk)}`, `${column} = ${writtenAt(value(bulk))}`)
    if (after) {
      const micros = `${value(after.startedAtMicros)}::float8 * interval '1 microsecond'`
      conditions.push(`(${column}, saga_id) < (${epoch} + ${micros}, ${value(after.sagaId)})`)
    }
    return `(SELECT ${recordColumns}, (extract(epoch FROM started_at) * 1000000)::float8 AS "startedAtMicros" FROM ${source}
      ${conditions.length > 0 ? `WHERE ${conditions.join(' AND ')}` : ''} ORDER BY ${column} DESC, saga_id DESC ${rowsAtMost})`
  }
  /** Those that failed at the step, and, as few wait for a person, those of them that are stuck on it and failed elsewhere. */
  const selectByStep = (status: Status, name: string) => {
    const failed = select(status, [`failed_step = ${value(name)}`])
    if (status !== 'NEEDS_ATTENTION') return [failed]
    const isStuck = `EXISTS (SELECT FROM ${stuckOf} AS stuck WHERE stuck ->> 'step' = ${value(name)})`
    return [failed, select(status, [`failed_step IS DISTINCT FROM ${value(name)}`, isStuck])]
  }
  // Each status for itself is read from the index in its order, where the step matters too; several at once would have to
  // be sorted.
  const each = statuses && [...new Set(statuses)]
  const selects =
    step === undefined
      ? (each ?? [undefined]).map((status) => select(status))
      : (each ?? STATUSES).flatMap((status) => selectByStep(status, step))
  // Not a prepared statement: its plan depends on how many sagas a status has.
  const { rows } = await db.query<SagaRecord & SagaPosition>(
    `${withFew} SELECT * FROM (${selects.join(' UNION ALL ')}) AS found
     ORDER BY "startedAt" DESC, "sagaId" DESC ${rowsAtMost}`,
    values,
  )
  const sagas = rows.slice(0, limit)
  const last = rows.length > limit ? sagas.at(-1) : undefined
  return { sagas, next: last && { startedAtMicros: last.startedAtMicros, sagaId: last.sagaId } }
}

/** Sagas that wait for a person on a step, with one kind of error. */
export interface StuckSagas {
  step: string
  /** Undefined where none is known. */
  errorType?: string
  sagas: number
}

/** What waits for a person, most first. It counts what a decision for many would match; a saga that is stuck on two steps twice. */
export async function countStuck(db: Queryable): Promise<StuckSagas[]> {
  const { rows } = await db.query<{ step: string; errorType: string | null; sagas: number }>(
    `SELECT stuck ->> 'step' AS step, stuck #>> '{error,type}' AS "errorType", count(*)::integer AS sagas
     FROM saga CROSS JOIN LATERAL ${stuckOf} AS stuck
     WHERE status = 'NEEDS_ATTENTION' AND fate IN ('open', 'rollback')
     GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2`,
  )
  return rows.map(({ errorType, ...one }) => ({ ...one, ...(errorType !== null && { errorType }) }))
}

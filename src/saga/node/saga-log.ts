import type { Queryable } from './db.js'

/** One row of the saga log, as people are shown it. `attempt` is null where the row is not an attempt. */
export interface LogRow {
  /** Rises with time within a saga. To the digit: a bigint of PostgreSQL has more than a JavaScript number holds. */
  id: bigint
  sagaId: string
  service: string
  status: string
  message: string
  attempt: number | null
  createdAt: string
}

export interface LogFilter {
  saga?: string | undefined
  service?: string | undefined
  status?: string | undefined
  /** Only rows with a smaller id. */
  before?: bigint | undefined
  /** 50 where it is left out. */
  limit?: number | undefined
}

const columns = `id, saga_id AS "sagaId", service, status, message, attempt, created_at AS "createdAt"`

/**
 * Newest first. Whoever goes on with `before` gets every row once that was there at the beginning; one that is committed
 * meanwhile comes once, or not at all.
 */
export async function listLog(
  db: Queryable,
  { saga, service, status, before, limit = 50 }: LogFilter,
): Promise<LogRow[]> {
  const conditions: string[] = []
  const values: unknown[] = []
  const add = (condition: string, value: unknown) => {
    if (value === undefined) return
    values.push(value)
    conditions.push(condition.replace('?', `$${values.length}`))
  }
  add('saga_id = ?', saga)
  add('service = ?', service)
  add('status = ?', status)
  // The rows of one saga are few. Those of a service or a status have indices in this order (0011_saga_lists.sql).
  const isOfMany = saga === undefined && (service !== undefined || status !== undefined)
  add(isOfMany ? '-id > -(?::bigint)' : 'id < ?', before)
  values.push(limit)
  const where = conditions.length > 0 ? `WHERE ${conditions.join(' AND ')}` : ''
  const { rows } = await db.query(
    `SELECT ${columns} FROM saga_log ${where} ORDER BY ${isOfMany ? '-id' : 'id DESC'} LIMIT $${values.length}`,
    values,
  )
  return rows.map(toLogRow)
}

/**
 * Oldest first, from behind `afterId`, all of them or the first `limit`: ids of one saga rise in the order of their
 * commits, so none is missed.
 */
export async function followLog(
  db: Queryable,
  { sagaId, afterId, limit }: { sagaId: string; afterId: bigint; limit?: number },
): Promise<LogRow[]> {
  const { rows } = await db.query(
    `SELECT ${columns} FROM saga_log WHERE saga_id = $1 AND id > $2 ORDER BY id LIMIT $3`,
    [sagaId, afterId, limit ?? null],
  )
  return rows.map(toLogRow)
}

function toLogRow(row: Omit<LogRow, 'id' | 'createdAt'> & { id: string; createdAt: Date }): LogRow {
  return { ...row, id: BigInt(row.id), createdAt: row.createdAt.toISOString() }
}

/** The largest id there can be: PostgreSQL's bigint. */
const MAX_ID = 2n ** 63n - 1n

/** Reads an id as people and browsers send it; undefined where it is none. */
export function readLogId(text: string): bigint | undefined {
  if (!/^\d{1,100}$/.test(text)) return undefined
  const id = BigInt(text)
  return id <= MAX_ID ? id : undefined
}

/** The row as JSON, its id an integer to the digit: JSON.stringify takes no BigInt. */
export function logRowToJson({ id, ...row }: LogRow): string {
  return `{"id":${id},${JSON.stringify(row).slice(1)}`
}

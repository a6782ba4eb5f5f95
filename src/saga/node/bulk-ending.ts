import { withTransaction, type Client, type Pool, type Queryable } from './db.js'
import { afterReopening } from './projection.js'
import type { OnLogged } from './saga-metrics.js'
import { BULK_RUN, compensationCause, type SagaRecord } from './saga-record.js'
import { readColumns, writeMany, type ReadRecord } from './saga-row.js'
import { withSecrets, type SagaStore, type WithSecrets } from './saga-store.js'
import { redacted } from './secrets.js'

/** What somebody wants of all sagas of a bulk that it can still be done with. */
export interface EndOrder {
  bulkId: string
  reason: string
  actor: string
  /** How many these are, says who asks. */
  expected: number
}

/**
 * `refused`: they are not as many as were expected, and nothing was changed. `alone`: those with a run of their own, or that are to have one; `shared`:
 * how many the run of the bulk has to bring to their end.
 */
export type EndAnswer =
  | ({ kind: 'done'; type: string } & Ended)
  | { kind: 'refused'; matching: number }
  | { kind: 'unknown' }

interface Ended {
  shared: number
  alone: string[]
}

/** Rows of a statement. */
const AT_ONCE = 1_000

/** A bulk's writers lock many rows in an order of their own: of two that wait for each other PostgreSQL lets one go on. */
const DEADLOCK = '40P01'
const TRIES = 5

/** Knows what is secret of a saga. */
type Store = Pick<SagaStore, 'keys' | 'readableSecretsOf'>

/** As POST /saga/{id}/cancel takes them: what goes forward, and is not past its point of no return. */
const CANCELLABLE = `bulk_id = $1 AND fate = 'open' AND cancel IS NULL AND handed_over_at IS NULL
  AND NOT steps @? '$[*] ? (@.kind == "pivot" && (@.status == "succeeded" || @.outcome == "applied"))'`

/** How many sagas `cancelBulk` would cancel now. */
export async function countCancellable(db: Queryable, bulkId: string): Promise<number> {
  const { rows } = await db.query<{ n: number }>(`SELECT count(*)::int AS n FROM saga WHERE ${CANCELLABLE}`, [bulkId])
  return rows[0]?.n ?? 0
}

/** Nothing of it is past a point of no return, or a saga of its own. */
const COMPENSABLE = `bulk_id = $1 AND fate = 'completed'
  AND NOT steps @? '$[*] ? (@.kind != "compensatable" || exists(@.sagaId))'`

/**
 * Wants every saga of a bulk cancelled that can still be: those that are under way roll back by their next attempt, those
 * that have not begun with the first they do.
 */
export async function cancelBulk(pool: Pool, store: Store, order: EndOrder): Promise<EndAnswer> {
  const { bulkId, expected } = order
  // Here, for it may take a connection of its own.
  await store.keys()
  return ending(pool, order, CANCELLABLE, async (tx) => {
    const cancel = { ...(await spoken(tx, store, order, CANCELLABLE)), at: new Date().toISOString() }
    const { rows } = await tx.query<Pick<SagaRecord, 'sagaId' | 'carriedBy'>>(
      `WITH meant AS MATERIALIZED (
         SELECT saga_id AS id FROM saga WHERE ${CANCELLABLE} ORDER BY bulk_position FOR UPDATE
       )
       UPDATE saga SET cancel = $2, progress_at = clock_timestamp() FROM meant WHERE saga_id = id
       RETURNING saga_id AS "sagaId", carried_by AS "carriedBy"`,
      [bulkId, cancel],
    )
    if (rows.length !== expected) throw new Unexpected(rows.length)
    const alone = rows.flatMap(({ sagaId, carriedBy }) => (carriedBy === null ? [sagaId] : []))
    return { alone, shared: rows.length - alone.length }
  })
}

/** Opens every saga of a bulk again that has completed and can be compensated; the bulk's run has them from then on. */
export async function compensateBulk(
  pool: Pool,
  store: Store,
  order: EndOrder,
  onLogged: OnLogged = () => {},
): Promise<EndAnswer> {
  const { bulkId, expected } = order
  await store.keys()
  return ending(pool, order, COMPENSABLE, async (tx) => {
    const cause = compensationCause(await spoken(tx, store, order, COMPENSABLE))
    let written = 0
    for (;;) {
      const { rows } = await tx.query<ReadRecord>(
        `SELECT ${readColumns} FROM saga WHERE ${COMPENSABLE} ORDER BY bulk_position LIMIT ${AT_ONCE} FOR UPDATE`,
        [bulkId],
      )
      if (rows.length === 0) break
      const changes = rows.map((record) => {
        const { changes, entries } = afterReopening(record, cause)
        return { record, changes: { ...changes, firstRunId: null, carriedBy: `${BULK_RUN}${bulkId}` }, entries }
      })
      await writeMany(tx, changes, onLogged)
      written += rows.length
      if (written > expected) throw new Unexpected(written)
    }
    if (written !== expected) throw new Unexpected(written)
    if (written > 0) {
      await tx.query(
        `UPDATE saga_bulk SET ended_at = NULL, status = CASE status WHEN 'ended' THEN 'running' ELSE status END
         WHERE bulk_id = $1`,
        [bulkId],
      )
    }
    return { alone: [], shared: written }
  })
}

/** Who wants it and why, without a secret of any of the sagas that are meant: all of them show it. */
async function spoken(
  tx: Client,
  store: Store,
  { bulkId, reason, actor }: EndOrder,
  condition: string,
): Promise<Pick<EndOrder, 'reason' | 'actor'>> {
  const { rows } = await tx.query<WithSecrets>(`SELECT ${withSecrets} FROM saga WHERE ${condition}`, [bulkId])
  const secrets = new Set<string>()
  for (const row of rows) for (const secret of await store.readableSecretsOf(row)) secrets.add(secret)
  return { reason: redacted(reason, [...secrets], [bulkId]), actor: redacted(actor, [...secrets]) }
}

/** By then they were another number than expected. */
class Unexpected extends Error {
  constructor(readonly matching: number) {
    super(`They are ${matching}`)
  }
}

/** In one transaction, which holds the bulk's row: its number is looked at before and behind, and nothing done where it is another. */
async function ending(
  pool: Pool,
  { bulkId, expected }: EndOrder,
  condition: string,
  work: (tx: Client) => Promise<Ended>,
): Promise<EndAnswer> {
  for (let tries = 1; ; tries += 1) {
    try {
      return await withTransaction(pool, async (tx): Promise<EndAnswer> => {
        const { rows } = await tx.query('SELECT type FROM saga_bulk WHERE bulk_id = $1 FOR UPDATE', [bulkId])
        if (!rows[0]) return { kind: 'unknown' }
        const counted = await tx.query(`SELECT count(*)::int AS n FROM saga WHERE ${condition}`, [bulkId])
        if (counted.rows[0].n !== expected) return { kind: 'refused', matching: counted.rows[0].n }
        return { kind: 'done', type: rows[0].type, ...(await work(tx)) }
      })
    } catch (error) {
      if (error instanceof Unexpected) return { kind: 'refused', matching: error.matching }
      if ((error as { code?: string }).code !== DEADLOCK || tries === TRIES) throw error
    }
  }
}

import type { Pool, Queryable } from './db.js'
import { BULK_RUN, recordColumns, type SagaRecord } from './saga-record.js'

/** A saga that has a run and no person to wait for, and has not moved for so long, is counted. */
export const PROGRESS_MS = 600_000

/** Of a row of `saga`: that the run of a bulk carries it. */
const IN_BULK = `coalesce(carried_by LIKE '${BULK_RUN}%', false)`

/** How the sagas stand that have not ended. */
export interface Standing {
  unfinished: Record<'RUNNING' | 'COMPENSATING' | 'NEEDS_ATTENTION', number>
  oldestWaitingS: number
  withoutProgress: number
}

/** Sagas that have not ended, of the types whose rows this process can write: what the sweep looks after, and what is counted. */
export class UnfinishedSagas {
  constructor(
    private readonly pool: Pool,
    private readonly types: readonly string[],
  ) {}

  /** Unfinished sagas whose row has no run, `olderThanMs` after they were written; those of a bulk wait for their turn. */
  unstarted(olderThanMs: number): Promise<SagaRecord[]> {
    return this.#list(
      `first_run_id IS NULL AND carried_by IS NULL AND started_at < now() - $1 * interval '1 ms'`,
      olderThanMs,
    )
  }

  /** Open sagas that were to be cancelled `olderThanMs` ago and have not begun to roll back; those that share a run see it there. */
  uncancelled(olderThanMs: number): Promise<SagaRecord[]> {
    return this.#list(
      `fate = 'open' AND first_run_id IS NOT NULL AND carried_by IS NULL AND (cancel ->> 'at')::timestamptz < now() - $1 * interval '1 ms'`,
      olderThanMs,
    )
  }

  /** Unfinished sagas with a decision that no run has acted on, `olderThanMs` after it was made. */
  undecided(olderThanMs: number): Promise<SagaRecord[]> {
    return this.#list(`decided_at < now() - $1 * interval '1 ms'`, olderThanMs)
  }

  /** Unfinished sagas with a run of their own that have not moved, and whose run nobody has looked at, for `olderThanMs`; 200 at most. */
  unwatched(olderThanMs: number): Promise<SagaRecord[]> {
    return this.#list(
      `carried_by IS NULL AND greatest(progress_at, looked_at) < now() - $1 * interval '1 ms'`,
      olderThanMs,
      {
        order: 'greatest(progress_at, looked_at)',
        limit: 200,
      },
    )
  }

  /** The runs that carry sagas which have not moved for `olderThanMs`. That of a bulk is looked after with the bulk. */
  async unwatchedCarriers(olderThanMs: number): Promise<string[]> {
    const { rows } = await this.pool.query<{ carriedBy: string }>(
      `SELECT DISTINCT carried_by AS "carriedBy" FROM saga
       WHERE fate IN ('open', 'rollback') AND carried_by IS NOT NULL AND bulk_id IS NULL AND handed_over_at IS NULL
         AND type = ANY ($2) AND progress_at < now() - $1 * interval '1 ms'`,
      [olderThanMs, this.types],
    )
    return rows.map(({ carriedBy }) => carriedBy)
  }

  /** Unfinished sagas that share that run; 500 at most. */
  async carriedBy(carrier: string): Promise<SagaRecord[]> {
    const { rows } = await this.pool.query(
      `SELECT ${recordColumns} FROM saga WHERE fate IN ('open', 'rollback') AND carried_by = $1 ORDER BY started_at LIMIT 500`,
      [carrier],
    )
    return rows
  }

  /** The saga's run was looked at. */
  async markLookedAt(sagaId: string): Promise<void> {
    await this.pool.query('UPDATE saga SET looked_at = now() WHERE saga_id = $1', [sagaId])
  }

  /** How many sagas go on without a person, their own or one of a saga nested in them, and have not moved for `olderThanMs`. */
  async countWithoutProgress(olderThanMs: number, db: Queryable = this.pool): Promise<number> {
    const { rows } = await db.query(
      `WITH waiting AS (SELECT saga_id FROM saga WHERE fate IN ('open', 'rollback') AND status = 'NEEDS_ATTENTION')
       SELECT count(*)::integer AS n FROM saga
       WHERE fate IN ('open', 'rollback') AND handed_over_at IS NULL AND type = ANY ($2)
         AND progress_at < now() - $1 * interval '1 ms' AND NOT (${IN_BULK} AND openings = 0)
         AND NOT EXISTS (SELECT FROM waiting w WHERE w.saga_id = saga.saga_id OR starts_with(w.saga_id, saga.saga_id || '.'))`,
      [olderThanMs, this.types],
    )
    return rows[0].n
  }

  /** How the sagas stand that have not ended: how many by status, and how long the oldest that waits for a person does, in s. */
  async standing(db: Queryable = this.pool): Promise<Standing> {
    const { rows } = await db.query<{ status: string; n: number; oldestS: number }>(
      `SELECT status, count(*)::integer AS n, extract(epoch FROM now() - min(progress_at))::float8 AS "oldestS"
       FROM saga WHERE fate IN ('open', 'rollback') GROUP BY status`,
    )
    const none = { RUNNING: 0, COMPENSATING: 0, NEEDS_ATTENTION: 0 }
    const waiting = rows.find(({ status }) => status === 'NEEDS_ATTENTION')
    return {
      unfinished: { ...none, ...Object.fromEntries(rows.map(({ status, n }) => [status, n])) },
      oldestWaitingS: waiting?.oldestS ?? 0,
      withoutProgress: await this.countWithoutProgress(PROGRESS_MS, db),
    }
  }

  async #list(
    condition: string,
    value: number,
    { order = 'started_at', limit = 500 }: { order?: string; limit?: number } = {},
  ): Promise<SagaRecord[]> {
    const { rows } = await this.pool.query(
      `SELECT ${recordColumns} FROM saga
       WHERE fate IN ('open', 'rollback') AND handed_over_at IS NULL AND type = ANY ($2) AND ${condition} ORDER BY ${order} LIMIT ${limit}`,
      [value, this.types],
    )
    return rows
  }
}

import { setImmediate as nextTurn } from 'node:timers/promises'
import { FailureType, type InputProblem } from '../errors.js'
import type { BulkActivities, BulkCall, BulkLane, BulkWindow, Status } from '../types.js'
import { withTransaction, type Client, type Pool, type Queryable } from './db.js'
import type { PayloadKeys } from './payload-keys.js'
import { BULK_RUN } from './saga-record.js'
import { toJsonb } from './saga-row.js'
import { hashedText, type SagaIntent, type SagaStore } from './saga-store.js'

/** A line, counted from 1, that was no saga's input. */
export interface Rejection {
  line: number
  errors: InputProblem[]
}

/** A call that starts many sagas, all of one type. */
export interface BulkOrder extends BulkCall {
  type: string
  sagas: SagaIntent[]
  rejected: number
  /** The first of those lines. */
  rejections: Rejection[]
  idempotencyKey?: string | undefined
}

/** The row of a bulk. */
export interface Bulk extends BulkCall {
  type: string
  status: 'running' | 'paused' | 'ended'
  pausedBecause: string | null
  total: number
  rejected: number
  rejections: Rejection[]
  startedAt: Date
  endedAt: Date | null
}

/** How far a bulk has come: how many of its sagas have each status. */
export interface BulkProgress extends Bulk {
  statuses: Partial<Record<Status, number>>
}

/** Sagas of a bulk that have failed in the same way. */
export interface BulkFailure {
  step: string | null
  type: string
  message: string
  count: number
}

/** What of a bulk's row decides whether it goes on. */
interface LockedBulk {
  bulk_id: string
  status: Bulk['status']
  stuck_before: number
  resumed_behind: number
}

export type BulkAnswer =
  | { kind: 'written'; bulk: Bulk }
  /** The key's bulk, whose sagas were the same. */
  | { kind: 'replayed'; bulk: Bulk }
  /** The key belongs to a bulk of other sagas. */
  | { kind: 'mismatch' }

export type ResumeAnswer = { kind: 'resumed'; bulk: Bulk } | { kind: 'refused'; bulk: Bulk } | { kind: 'unknown' }

/** When a bulk pauses, and how much of it is under way. */
export interface BulkLimits {
  /** Sagas of a window at most. */
  window: number
  /** It pauses with more than so many sagas that wait for people. */
  stuck: number
  /** It pauses behind so many windows in a row of whose sagas more than half have failed. */
  failedWindows: number
}

const LIMITS: BulkLimits = { window: 250, stuck: 100, failedWindows: 5 }

/** Rows of a statement. */
const ROWS_AT_ONCE = 1_000

const FAILURES = 20

/** Windows that a lane has under way at most, where sagas wait between two attempts. */
const WINDOWS_UNDER_WAY = 3

/** Of PostgreSQL's integers. */
const MOST_POSITION = 2 ** 31 - 1

/** Runs that work on a bulk side by side: one keeps its database waiting while its own code runs. */
const LANES = 3

const columns = `bulk_id AS "bulkId", type, status, paused_because AS "pausedBecause", total, rejected, rejections,
  started_at AS "startedAt", ended_at AS "endedAt"`

/** A saga that failed by itself: what people have cancelled, or had compensated, says nothing of those that follow. */
const FAILED = `(saga.status IN ('COMPENSATED', 'PARTIALLY_COMPENSATED', 'NEEDS_ATTENTION') AND cancel IS NULL
  AND error ->> 'type' IS DISTINCT FROM '${FailureType.CompensationRequested}')`

/** Whose run of its own has not taken it over. */
const CARRIED = `(carried_by = '${BULK_RUN}' || saga.bulk_id AND fate IN ('open', 'rollback'))`

/** That does not wait for its bulk to be resumed: it has begun, or somebody has cancelled it. */
const IN_HAND = `(${CARRIED} AND (openings > 0 OR cancel IS NOT NULL))`

const UNFINISHED = `saga.status IN ('RUNNING', 'COMPENSATING')`

/**
 * Calls that start many sagas. A call is written down with all of its sagas in one transaction, each of which then is a saga
 * like any other, with `carried_by` the run of the bulk until it leaves that. The run asks for a window of them after the
 * other; whether it gets one is decided here, by how its sagas have fared.
 */
export class SagaBulks {
  readonly #taskQueue: string
  readonly #limits: BulkLimits

  constructor(
    private readonly pool: Pool,
    private readonly store: Pick<SagaStore, 'rowOf' | 'keys'>,
    { taskQueue, limits = {} }: { taskQueue: string; limits?: Partial<BulkLimits> },
  ) {
    this.#taskQueue = taskQueue
    this.#limits = { ...LIMITS, ...limits }
  }

  /**
   * Writes a call down with its sagas, before anything is asked to run them; all of it or nothing. A key that is known
   * already answers with its bulk. Again under the same id, as after a lost answer, it changes nothing.
   */
  async write(order: BulkOrder): Promise<BulkAnswer> {
    const keys = await this.store.keys()
    const { bulkId, type, sagas, rejected, rejections, idempotencyKey = null } = order
    const hashed = sagas.map(({ input, failures }) => hashedText(input, failures)).join('\n')
    return withTransaction(this.pool, async (tx) => {
      const { rows } = await tx.query<Bulk>(
        `INSERT INTO saga_bulk (bulk_id, task_queue, type, idempotency_key, input_hash, total, rejected, rejections)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING RETURNING ${columns}`,
        [
          ...[bulkId, this.#taskQueue, type, idempotencyKey, keys.hash(hashed)],
          ...[sagas.length, rejected, toJsonb(rejections)],
        ],
      )
      const [written] = rows
      if (!written) return known(tx, order, (hash) => keys.isHashOf(hash, hashed))
      // Not one behind the other: PostgreSQL has a statement to work on while the next is made.
      const inserted: Promise<unknown>[] = []
      for (let from = 0; from < sagas.length; from += ROWS_AT_ONCE) {
        const insert = this.#insert(tx, bulkId, sagas.slice(from, from + ROWS_AT_ONCE), { before: from, keys })
        // Heard of below.
        insert.catch(() => {})
        inserted.push(insert)
        await nextTurn()
      }
      await Promise.all(inserted)
      return { kind: 'written', bulk: written }
    })
  }

  async #insert(
    tx: Client,
    bulkId: string,
    sagas: SagaIntent[],
    { before, keys }: { before: number; keys: PayloadKeys },
  ): Promise<void> {
    const rows = sagas.map((saga, i) => ({ ...this.store.rowOf(saga, keys), position: before + i + 1 }))
    await tx.query(
      `INSERT INTO saga (saga_id, type, label, view, input, sealing, secrets, input_hash, failures, steps, carried_by, bulk_id,
                         bulk_position)
       SELECT saga_id, type, label, view, input, sealing, secrets, input_hash, failures, steps, '${BULK_RUN}' || $1::uuid, $1, position
       FROM jsonb_to_recordset($2) AS one (saga_id text, type text, label text, view jsonb, input jsonb, sealing smallint, secrets jsonb, input_hash text,
                                           failures jsonb, steps jsonb, position integer)`,
      [bulkId, toJsonb(rows)],
    )
  }

  async get(bulkId: string): Promise<BulkProgress | undefined> {
    const [bulk] = await this.#progress('WHERE bulk_id = $1', [bulkId])
    return bulk
  }

  /** Newest first. */
  list(limit: number): Promise<BulkProgress[]> {
    return this.#progress('ORDER BY started_at DESC, bulk_id DESC LIMIT $1', [limit])
  }

  async #progress(which: string, values: unknown[]): Promise<BulkProgress[]> {
    const { rows } = await this.pool.query<BulkProgress>(
      `WITH bulk AS (SELECT * FROM saga_bulk ${which})
       SELECT ${columns}, statuses FROM bulk CROSS JOIN LATERAL (
         SELECT coalesce(jsonb_object_agg(status, n), '{}') AS statuses FROM (
           SELECT status, count(*) AS n FROM saga WHERE saga.bulk_id = bulk.bulk_id GROUP BY status
         ) AS counted
       ) AS counts ORDER BY started_at DESC, bulk_id DESC`,
      values,
    )
    return rows
  }

  /** What its sagas have failed with, most first. */
  async failures(bulkId: string): Promise<BulkFailure[]> {
    const { rows } = await this.pool.query<BulkFailure>(
      `SELECT failed_step AS step, error ->> 'type' AS type, error ->> 'message' AS message, count(*)::integer AS count
       FROM saga WHERE bulk_id = $1 AND error IS NOT NULL
       GROUP BY 1, 2, 3 ORDER BY 4 DESC, 1, 2, 3 LIMIT ${FAILURES}`,
      [bulkId],
    )
    return rows
  }

  /** Ends a bulk none of whose sagas goes on any more, whichever run would carry it. */
  standing(bulkId: string): Promise<{ isOver: boolean; lanes: number }> {
    return withTransaction(this.pool, async (tx) => {
      const bulk = await lockBulk(tx, bulkId)
      if (!(await hasSaga(tx, bulkId, UNFINISHED))) {
        await tx.query(
          `UPDATE saga_bulk SET status = 'ended', ended_at = clock_timestamp(), paused_because = NULL
           WHERE bulk_id = $1 AND status <> 'ended'`,
          [bulkId],
        )
        return { isOver: true, lanes: 0 }
      }
      const isPaused = bulk.status === 'paused'
      const { rows } = await tx.query<{ windows: number }>(
        `SELECT count(DISTINCT (bulk_position - 1) / $2::integer)::integer AS windows FROM saga
         WHERE bulk_id = $1 AND ${isPaused ? IN_HAND : CARRIED}`,
        [bulkId, this.#limits.window],
      )
      const lanes = Math.min(LANES, rows[0]?.windows ?? 0)
      return { isOver: isPaused && lanes === 0, lanes }
    })
  }

  /**
   * The next sagas of a lane by their place, unless the bulk is to pause; of one that has paused, or is to, those that don't
   * wait for it. Asked again it answers for how it stands then.
   */
  nextWindow(bulkId: string, { lane, lanes, after }: BulkLane): Promise<BulkWindow> {
    const { window: most } = this.#limits
    return withTransaction(this.pool, async (tx) => {
      const bulk = await lockBulk(tx, bulkId)
      const because = bulk.status === 'running' ? await this.#reasonToPause(tx, bulk, after) : undefined
      if (because !== undefined) {
        await tx.query(`UPDATE saga_bulk SET status = 'paused', paused_because = $2 WHERE bulk_id = $1`, [
          bulkId,
          because,
        ])
      }
      const isPaused = bulk.status === 'paused' || because !== undefined
      const upTo = (last: number) =>
        tx.query<{ sagaId: string; position: number }>(
          `SELECT saga_id AS "sagaId", bulk_position AS position FROM saga
           WHERE bulk_id = $1 AND bulk_position > $2 AND bulk_position <= $6 AND ${isPaused ? IN_HAND : CARRIED}
             AND (bulk_position - 1) / $3::integer % $4::integer = $5
           ORDER BY bulk_position LIMIT $3`,
          [bulkId, after, most, lanes, lane, last],
        )
      // Mostly it is the lane's very next window: only where that has none, all that is left is looked through.
      let window = Math.floor(after / most)
      while (window % lanes !== lane) window += 1
      let { rows } = await upTo((window + 1) * most)
      if (rows.length === 0) ({ rows } = await upTo(MOST_POSITION))
      return {
        sagaIds: rows.map(({ sagaId }) => sagaId),
        upTo: rows.at(-1)?.position ?? after,
        most,
        mostUnderWay: most * WINDOWS_UNDER_WAY,
      }
    })
  }

  async #reasonToPause(
    tx: Client,
    { bulk_id, stuck_before, resumed_behind }: LockedBulk,
    after: number,
  ): Promise<string | undefined> {
    const { window, stuck: mostStuck, failedWindows } = this.#limits
    const stuck = await countStuck(tx, bulk_id)
    if (stuck - stuck_before > mostStuck) {
      const since = stuck_before > 0 ? `, and ${stuck_before} did when it was last resumed` : ''
      return `${stuck} of its sagas wait for people${since}: more than ${mostStuck}. Decide on those, or mend what they fail at, then resume it.`
    }
    // Windows by their places, whose sagas have all had their turn and come to something.
    const { rows } = await tx.query<{ total: number; failed: number }>(
      `SELECT count(*)::integer AS total, (count(*) FILTER (WHERE ${FAILED}))::integer AS failed
       FROM saga WHERE bulk_id = $1 AND bulk_position > $2 AND bulk_position <= $3
       GROUP BY (bulk_position - 1) / $4::integer
       HAVING count(*) = $4 AND bool_and(NOT ${UNFINISHED})
       ORDER BY min(bulk_position) DESC LIMIT $5`,
      [bulk_id, Math.max(resumed_behind, after - window * (failedWindows + 3)), after, window, failedWindows],
    )
    if (rows.length < failedWindows || rows.some(({ total, failed }) => failed * 2 <= total)) return undefined
    const failed = rows.reduce((sum, { failed }) => sum + failed, 0)
    return `${failed} of the last ${failedWindows * window} sagas have failed, and more than half in each of ${failedWindows} windows in a row. Mend what they fail at, then resume it.`
  }

  /** Lets a bulk that has paused go on. What made it pause counts no more. */
  resume(bulkId: string): Promise<ResumeAnswer> {
    return withTransaction(this.pool, async (tx) => {
      const { rows } = await tx.query<Bulk>(`SELECT ${columns} FROM saga_bulk WHERE bulk_id = $1 FOR UPDATE`, [bulkId])
      const [bulk] = rows
      if (!bulk) return { kind: 'unknown' }
      if (bulk.status !== 'paused') return { kind: 'refused', bulk }
      const { rows: resumed } = await tx.query<Bulk>(
        `UPDATE saga_bulk SET status = 'running', paused_because = NULL, stuck_before = $2,
           resumed_behind = (SELECT coalesce(max(bulk_position), 0) FROM saga
                             WHERE saga.bulk_id = saga_bulk.bulk_id AND openings > 0)
         WHERE bulk_id = $1 RETURNING ${columns}`,
        [bulkId, await countStuck(tx, bulkId)],
      )
      return { kind: 'resumed', bulk: resumed[0] ?? bulk }
    })
  }

  /**
   * Bulks of this task queue that are to have a run, `olderThanMs` after they were written. One that has paused needs it for
   * sagas that an earlier run has begun, and was gone.
   */
  async unfinished(olderThanMs: number): Promise<Bulk[]> {
    const { rows } = await this.pool.query<Bulk>(
      `SELECT ${columns} FROM saga_bulk
       WHERE status <> 'ended' AND task_queue = $1 AND started_at < now() - $2 * interval '1 ms'
         AND (status = 'running' OR EXISTS (
           SELECT FROM saga WHERE saga.bulk_id = saga_bulk.bulk_id AND ${IN_HAND}))
       ORDER BY started_at LIMIT 100`,
      [this.#taskQueue, olderThanMs],
    )
    return rows
  }
}

/** The bulk that was there already. */
async function known(
  tx: Client,
  { bulkId, type, idempotencyKey }: BulkOrder,
  isSame: (hash: string) => boolean,
): Promise<BulkAnswer> {
  const { rows } = await tx.query<Bulk & { inputHash: string }>(
    `SELECT ${columns}, input_hash AS "inputHash" FROM saga_bulk WHERE bulk_id = $1 OR idempotency_key = $2`,
    [bulkId, idempotencyKey ?? null],
  )
  const [found] = rows
  if (!found) throw new Error(`The bulk ${bulkId} was not written`)
  const { inputHash, ...bulk } = found
  // Our own: an earlier try of this very call wrote it, and lost the answer.
  if (bulk.bulkId === bulkId) return { kind: 'written', bulk }
  return isSame(inputHash) && bulk.type === type ? { kind: 'replayed', bulk } : { kind: 'mismatch' }
}

async function lockBulk(tx: Client, bulkId: string): Promise<LockedBulk> {
  const { rows } = await tx.query<LockedBulk>('SELECT * FROM saga_bulk WHERE bulk_id = $1 FOR UPDATE', [bulkId])
  const [bulk] = rows
  if (!bulk) throw new Error(`There is no bulk ${bulkId}`)
  return bulk
}

/** The bulk's activities of its own run. */
export function makeBulkActivities(bulks: SagaBulks): BulkActivities {
  return { bulkStanding: ({ bulkId }) => bulks.standing(bulkId) }
}

async function hasSaga(db: Queryable, bulkId: string, condition: string): Promise<boolean> {
  const { rows } = await db.query(`SELECT FROM saga WHERE bulk_id = $1 AND ${condition} LIMIT 1`, [bulkId])
  return rows.length > 0
}

async function countStuck(db: Queryable, bulkId: string): Promise<number> {
  const { rows } = await db.query(
    `SELECT count(*)::integer AS n FROM saga WHERE bulk_id = $1 AND status = 'NEEDS_ATTENTION'`,
    [bulkId],
  )
  return rows[0].n
}

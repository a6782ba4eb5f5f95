import type { Status } from '../types.js'
import { withTransaction, type Pool, type Queryable } from './db.js'
import type { SagaStore } from './saga-store.js'
import type { Standing } from './unfinished-sagas.js'

/**
 * How all sagas do, and have done of late. Everything in it is of one moment, `at`. What is unfinished or waits is told with
 * nested sagas, for it may be one of them that waits for a person; what has started and ended without them: they are a part
 * of their parents.
 */
export interface Overview extends Standing {
  at: Date
  minutes: number
  /** How wide a point is, in s. */
  widthS: number
  /** Within the points. */
  ended: Record<EndStatus, number>
  /** Oldest first, without gaps. The last one is under way. */
  points: OverviewPoint[]
}

export interface OverviewPoint {
  /** Where it begins. */
  at: Date
  started: number
  completed: number
  rolledBack: number
  /** From start to end, of those that ended in it; null where none did. */
  p50Ms: number | null
  p95Ms: number | null
  /** How many sagas waited for a person at its end. */
  waiting: number
}

type EndStatus = Extract<Status, 'COMPLETED' | 'COMPENSATED' | 'PARTIALLY_COMPENSATED'>

/** Where the points lie. */
export interface Span {
  from: Date
  widthS: number
  points: number
}

/** What people read off an axis. */
const WIDTHS_S = [5, 10, 15, 30, 60, 120, 300, 600, 900]
const MOST_POINTS = 96

/**
 * The points of the last `minutes`: 60 to 96 of them mostly. They begin at whole multiples of their width, so that a point
 * stays what it is while time goes on, and only the last one grows.
 */
export function spanOf(minutes: number, at: Date): Span {
  const widthS = WIDTHS_S.find((one) => (minutes * 60) / one <= MOST_POINTS) ?? 900
  const points = Math.ceil((minutes * 60) / widthS)
  const widthMs = widthS * 1_000
  const end = (Math.floor(at.getTime() / widthMs) + 1) * widthMs
  return { from: new Date(end - points * widthMs), widthS, points }
}

/** The overview of the last `minutes`. What it reads is bounded by what happened in them, not by how many sagas there are. */
export function readOverview(pool: Pool, store: SagaStore, minutes: number): Promise<Overview> {
  return withTransaction(pool, async (tx) => {
    // One snapshot, or the figures of one moment would contradict each other.
    await tx.query('SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY')
    const { rows } = await tx.query<{ at: Date }>('SELECT now() AS at')
    const at = rows[0]?.at ?? new Date()
    const span = spanOf(minutes, at)
    const standing = await store.unfinished.standing(tx)
    const ends = await readEnds(tx, span)
    const waits = await readWaits(tx, span)

    const points = Array.from({ length: span.points }, (_, i): OverviewPoint => {
      const { started, COMPLETED, COMPENSATED, PARTIALLY_COMPENSATED, p50Ms, p95Ms } = ends.get(i) ?? nothing
      return {
        at: new Date(span.from.getTime() + i * span.widthS * 1_000),
        started,
        completed: COMPLETED,
        rolledBack: COMPENSATED + PARTIALLY_COMPENSATED,
        p50Ms,
        p95Ms,
        waiting: 0,
      }
    })
    // Back from now, which is known: less by those that began to wait in a point, more by those that ceased to.
    let waiting = standing.unfinished.NEEDS_ATTENTION
    for (const [i, point] of [...points.entries()].toReversed()) {
      point.waiting = waiting
      waiting -= waits.get(i) ?? 0
    }
    const endedAs = (status: EndStatus) => [...ends.values()].reduce((sum, one) => sum + one[status], 0)
    return {
      at,
      minutes,
      widthS: span.widthS,
      ...standing,
      ended: {
        COMPLETED: endedAs('COMPLETED'),
        COMPENSATED: endedAs('COMPENSATED'),
        PARTIALLY_COMPENSATED: endedAs('PARTIALLY_COMPENSATED'),
      },
      points,
    }
  })
}

type Ends = Record<EndStatus, number> & { started: number; p50Ms: number | null; p95Ms: number | null }

const nothing: Ends = { started: 0, COMPLETED: 0, COMPENSATED: 0, PARTIALLY_COMPENSATED: 0, p50Ms: null, p95Ms: null }

/** Which point a moment lies in. The clocks of workers may be ahead: what is yet to come belongs to the last one. */
const pointOf = (moment: string) => `least(floor(extract(epoch FROM ${moment} - $1) / $2), $3 - 1)::int`
const valuesOf = ({ from, widthS, points }: Span) => [from, widthS, points]

/**
 * What started and ended, by point; none where nothing did. Whatever has started since the first point has ended since, or is
 * unfinished, so that the index of those that have ended and that of the unfinished tell of both.
 */
export async function readEnds(db: Queryable, span: Span): Promise<Map<number, Ends>> {
  const { rows } = await db.query<Ends & { point: number }>(
    `WITH ended AS MATERIALIZED (
       SELECT started_at, ended_at, status, greatest(0, extract(epoch FROM ended_at - started_at) * 1000)::float8 AS ms
       FROM saga WHERE ended_at >= $1 AND parent_id IS NULL
     ), starts AS (
       SELECT ${pointOf('started_at')} AS point, count(*) AS started
       FROM (SELECT started_at FROM ended WHERE started_at >= $1
             UNION ALL
             SELECT started_at FROM saga
             WHERE fate IN ('open', 'rollback') AND parent_id IS NULL AND started_at >= $1) AS all_of_them
       GROUP BY point
     ), ends AS (
       SELECT ${pointOf('ended_at')} AS point,
              count(*) FILTER (WHERE status = 'COMPLETED') AS completed,
              count(*) FILTER (WHERE status = 'COMPENSATED') AS compensated,
              count(*) FILTER (WHERE status = 'PARTIALLY_COMPENSATED') AS partially,
              percentile_disc(ARRAY[0.5, 0.95]) WITHIN GROUP (ORDER BY ms) AS took
       FROM ended GROUP BY point
     )
     SELECT point, coalesce(started, 0)::integer AS started, coalesce(completed, 0)::integer AS "COMPLETED",
            coalesce(compensated, 0)::integer AS "COMPENSATED", coalesce(partially, 0)::integer AS "PARTIALLY_COMPENSATED",
            round(took[1]) AS "p50Ms", round(took[2]) AS "p95Ms"
     FROM starts FULL JOIN ends USING (point)`,
    valuesOf(span),
  )
  return new Map(rows.map(({ point, ...ends }) => [point, ends]))
}

/**
 * By how many the sagas that wait for a person became more, or less, in a point; none where they stayed as many. From the
 * log: `stuck` begins a wait on a step, the next `decision` on it ends it, and `recovered` ends those on all steps. A saga
 * that waits on several is one. Read are the rows of the sagas of which such a row was written since the first point.
 */
export async function readWaits(db: Queryable, span: Span): Promise<Map<number, number>> {
  const ofWaits = `status IN ('stuck', 'decision', 'recovered')`
  const { rows } = await db.query<{ point: number; change: number }>(
    `WITH touched AS MATERIALIZED (SELECT DISTINCT saga_id FROM saga_log WHERE created_at >= $1 AND ${ofWaits}),
     taken_up AS (
       SELECT saga_id, id, status, created_at,
              count(*) FILTER (WHERE status = 'recovered') OVER (PARTITION BY saga_id ORDER BY id) AS times
       FROM touched JOIN saga_log USING (saga_id) WHERE ${ofWaits}
     ), steps AS (
       SELECT saga_id, id, created_at,
              sum(CASE status WHEN 'stuck' THEN 1 WHEN 'decision' THEN -1 ELSE 0 END)
                OVER (PARTITION BY saga_id, times ORDER BY id) AS stuck
       FROM taken_up
     ), sagas AS (
       SELECT created_at, sign(stuck) - sign(lag(stuck, 1, 0::bigint) OVER (PARTITION BY saga_id ORDER BY id)) AS change
       FROM steps
     )
     SELECT ${pointOf('created_at')} AS point, sum(change)::int AS change
     FROM sagas WHERE created_at >= $1 AND change <> 0 GROUP BY point`,
    valuesOf(span),
  )
  return new Map(rows.map(({ point, change }) => [point, change]))
}

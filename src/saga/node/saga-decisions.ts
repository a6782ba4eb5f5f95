import { setTimeout as sleep } from 'node:timers/promises'
import { Context } from '@temporalio/activity'
import type { Logger } from 'pino'
import { unknownDecisions } from '../errors.js'
import type { Decision, DecisionsActivities, DecisionsCall, DecisionsState, RecordedDecision } from '../types.js'
import { isPassing, withTransaction, type Client, type Pool } from './db.js'
import type { SagaStarter } from './saga-starter.js'
import { withSecrets, type MatchedAnswer, type SagaStore } from './saga-store.js'
import { redacted } from './secrets.js'

/** One decision for all sagas that wait on a step, as it is asked for. */
export interface DecisionsOrder extends DecisionsCall, Pick<Decision, 'action' | 'reason' | 'actor'> {
  filter: { step: string; errorType?: string }
  /** Decisions a second at most. */
  perSecond: number
  /** So many sagas at most that it fails for; then it stops. */
  stopAfterFailures: number
}

/** `refused`: the call would match another number of sagas than was expected, and nothing was written. */
export type DecisionsAnswer = { kind: 'written'; call: DecisionsProgress } | { kind: 'refused'; matching: number }

/** How far a call has come. */
export interface DecisionsProgress extends DecisionsOrder, DecisionsState {
  /** What it failed for, in the order in which it was tried. */
  failures: { sagaId: string; step: string; message: string }[]
  stoppedBecause?: string
  startedAt: Date
  endedAt?: Date
}

/** What the next step of a call's work came to. */
type Next =
  | { kind: 'ended' }
  /** The rate allows no decision yet. */
  | { kind: 'early'; waitMs: number }
  | { kind: 'decided'; sagaId: string; decision: RecordedDecision }
  /** `broken`: not refused, but an error that nobody has foreseen. */
  | { kind: 'failed'; sagaId: string; broken?: unknown }

/** An activity works so long, and the next one goes on: a worker that stops waits for it. */
const WINDOW_MS = 5_000
/** Runs that are told of their decision side by side. */
const AT_ONCE = 8

/**
 * Calls that decide for many sagas. What a call matches is fixed when it is written down. Each of its decisions is made in
 * one transaction with the note of it, under a lock on the call's row: once, in order, and no sooner than its rate allows,
 * whoever else works on the same call.
 */
export class SagaDecisions {
  constructor(
    private readonly pool: Pool,
    private readonly store: SagaStore,
    private readonly taskQueue: string,
  ) {}

  /**
   * Writes a call down with the sagas that wait on its step now, the oldest first. One without any is done. Again under the
   * same id, as after a lost answer, it changes nothing. With `expected` it is refused if it would match another number.
   */
  async write(order: DecisionsOrder & { expected?: number }): Promise<DecisionsAnswer> {
    const { decisionsId, filter, action, actor, perSecond, stopAfterFailures, expected } = order
    // Here, for it may take a connection of its own.
    await this.store.keys()
    return withTransaction(this.pool, async (tx): Promise<DecisionsAnswer> => {
      const { rows: matched } = await tx.query(
        `SELECT ${withSecrets}, coalesce((stuck #>> '{decision,number}')::integer, 0) AS decisions
         FROM saga
         CROSS JOIN LATERAL (
           SELECT one AS stuck FROM jsonb_array_elements(CASE fate WHEN 'open' THEN steps ELSE compensations END) AS one
           WHERE one ->> 'step' = $1 AND one ->> 'status' = 'stuck' AND ($2::text IS NULL OR one #>> '{error,type}' = $2)
         ) AS waiting
         WHERE fate IN ('open', 'rollback') AND status = 'NEEDS_ATTENTION'
         ORDER BY started_at, saga_id`,
        [filter.step, filter.errorType ?? null],
      )
      if (expected !== undefined && matched.length !== expected) {
        const known = await read(tx, decisionsId)
        return known ? { kind: 'written', call: known } : { kind: 'refused', matching: matched.length }
      }
      const secrets = [
        ...new Set((await Promise.all(matched.map((saga) => this.store.readableSecretsOf(saga)))).flat()),
      ]
      const [reason, by] = [redacted(order.reason, secrets), redacted(actor, secrets)]
      await tx.query(
        `WITH call AS (
           INSERT INTO saga_decisions (decisions_id, task_queue, step, error_type, action, reason, actor, per_second,
                                       stop_after_failures, matching, status, ended_at)
           VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, CASE WHEN $11 = 'done' THEN now() END)
           ON CONFLICT DO NOTHING RETURNING decisions_id
         )
         INSERT INTO saga_decisions_saga (decisions_id, position, saga_id, decisions)
         SELECT decisions_id, position, saga_id, decisions
         FROM call, unnest($12::text[], $13::integer[]) WITH ORDINALITY AS matched (saga_id, decisions, position)`,
        [
          ...[decisionsId, this.taskQueue, filter.step, filter.errorType ?? null, action, reason, by],
          ...[perSecond, stopAfterFailures, matched.length, matched.length === 0 ? 'done' : 'running'],
          matched.map(({ sagaId }) => sagaId),
          matched.map(({ decisions }) => decisions),
        ],
      )
      const call = await read(tx, decisionsId)
      if (!call) throw new Error(`The decisions ${decisionsId} were not written`)
      return { kind: 'written', call }
    })
  }

  get(decisionsId: string): Promise<DecisionsProgress | undefined> {
    return read(this.pool, decisionsId)
  }

  /** Calls of this task queue that are not over, `olderThanMs` after they were made. */
  async unfinished(olderThanMs: number): Promise<DecisionsCall[]> {
    const { rows } = await this.pool.query(
      `SELECT decisions_id AS "decisionsId" FROM saga_decisions
       WHERE status = 'running' AND task_queue = $1 AND started_at < now() - $2 * interval '1 ms'
       ORDER BY started_at LIMIT 100`,
      [this.taskQueue, olderThanMs],
    )
    return rows
  }

  /** Decides for the next saga of a call that is under way. */
  decideNext(decisionsId: string): Promise<Next> {
    return withTransaction(this.pool, async (tx) => {
      const { rows: calls } = await tx.query(
        `SELECT step, action, reason, actor, error_type AS "errorType", matching, decided, failed,
           stop_after_failures AS "stopAfterFailures",
           ceil(extract(epoch FROM next_at - clock_timestamp()) * 1000)::integer AS "waitMs"
         FROM saga_decisions WHERE decisions_id = $1 AND status = 'running' FOR UPDATE`,
        [decisionsId],
      )
      const [call] = calls
      if (!call) return { kind: 'ended' }
      if (call.waitMs > 0) return { kind: 'early', waitMs: call.waitMs }
      // One after the other, so that what is behind is counted.
      const position = call.decided + call.failed + 1
      const { rows } = await tx.query(
        'SELECT saga_id AS "sagaId", decisions FROM saga_decisions_saga WHERE decisions_id = $1 AND position = $2',
        [decisionsId, position],
      )
      const [{ sagaId, decisions }] = rows
      const { step, action, reason, actor, errorType } = call
      const matched = { decisions, ...(errorType !== null && { errorType }) }
      const answer = await this.#decide(tx, sagaId, { step, action, reason, actor }, matched)
      const isDecided = answer.kind === 'recorded'
      await tx.query(
        'UPDATE saga_decisions_saga SET outcome = $3, message = $4 WHERE decisions_id = $1 AND position = $2',
        [decisionsId, position, isDecided ? 'decided' : 'failed', isDecided ? null : answer.why],
      )
      const now = { decided: call.decided + (isDecided ? 1 : 0), failed: call.failed + (isDecided ? 0 : 1) }
      const status =
        now.decided + now.failed === call.matching
          ? 'done'
          : now.failed >= call.stopAfterFailures
            ? 'stopped'
            : 'running'
      await tx.query(
        `UPDATE saga_decisions SET decided = $2, failed = $3, status = $4, stopped_because = $5,
           next_at = clock_timestamp() + interval '1 s' / per_second,
           ended_at = CASE WHEN $4 <> 'running' THEN clock_timestamp() END
         WHERE decisions_id = $1`,
        [
          ...[decisionsId, now.decided, now.failed, status],
          status === 'stopped' ? `it failed for ${now.failed} of the ${now.decided + now.failed} that it tried` : null,
        ],
      )
      if (isDecided) return { kind: 'decided', sagaId, decision: answer.decision }
      return { kind: 'failed', sagaId, ...('broken' in answer && { broken: answer.broken }) }
    })
  }

  /** What a saga does that nobody has foreseen must not keep the others from being decided. */
  async #decide(
    tx: Client,
    sagaId: string,
    decision: Decision,
    matched: { decisions: number; errorType?: string },
  ): Promise<MatchedAnswer | { kind: 'refused'; why: string; broken: unknown }> {
    await tx.query('SAVEPOINT one')
    try {
      return await this.store.decideMatched(tx, sagaId, decision, matched)
    } catch (error) {
      if (isPassing(error)) throw error
      await tx.query('ROLLBACK TO SAVEPOINT one')
      const why = `Saga ${sagaId} could not be decided, for a reason that is in the worker's log. Decide on it alone.`
      return { kind: 'refused', why, broken: error }
    }
  }

  /** Ends a call that is under way; what is left of it is not tried. */
  async stop(decisionsId: string, because: string): Promise<void> {
    await this.pool.query(
      `UPDATE saga_decisions SET status = 'stopped', stopped_because = $2, ended_at = now()
       WHERE decisions_id = $1 AND status = 'running'`,
      [decisionsId, because],
    )
  }
}

async function read(db: Pick<Pool, 'query'>, decisionsId: string): Promise<DecisionsProgress | undefined> {
  const { rows } = await db.query(
    `SELECT *, (SELECT coalesce(jsonb_agg(jsonb_build_object('sagaId', saga_id, 'step', step, 'message', message)
                                          ORDER BY position), '[]')
                FROM saga_decisions_saga one WHERE one.decisions_id = call.decisions_id AND outcome = 'failed') AS failures
     FROM saga_decisions call WHERE decisions_id = $1`,
    [decisionsId],
  )
  const [row] = rows
  if (!row) return undefined
  const { status, action, reason, actor, matching, decided, failed, failures } = row
  return {
    decisionsId,
    status,
    ...(row.stopped_because !== null && { stoppedBecause: row.stopped_because }),
    filter: { step: row.step, ...(row.error_type !== null && { errorType: row.error_type }) },
    ...{ action, reason, actor },
    perSecond: row.per_second,
    stopAfterFailures: row.stop_after_failures,
    ...{ matching, decided, failed, failures },
    startedAt: row.started_at,
    ...(row.ended_at && { endedAt: row.ended_at }),
  }
}

/** The work of the workflow `sagaDecisions`. */
export function makeDecisionsActivities(
  decisions: SagaDecisions,
  starter: SagaStarter,
  logger: Logger,
): DecisionsActivities {
  async function stateOf(decisionsId: string): Promise<DecisionsState> {
    const progress = await decisions.get(decisionsId)
    if (!progress) throw unknownDecisions(decisionsId)
    const { status, matching, decided, failed } = progress
    return { status, matching, decided, failed }
  }

  return {
    async decideSome({ decisionsId }) {
      const context = Context.current()
      const until = Date.now() + WINDOW_MS
      const telling = new Set<Promise<void>>()
      const tell = (sagaId: string, decision: RecordedDecision) => {
        const told = starter
          .decide(sagaId, decision)
          .catch((error: Error) => {
            logger.warn({ sagaId, err: error }, 'Temporal did not take the decision; the sweep will repeat it')
          })
          .finally(() => telling.delete(told))
        telling.add(told)
      }
      try {
        while (Date.now() < until && !context.cancellationSignal.aborted) {
          context.heartbeat()
          const next = await decisions.decideNext(decisionsId)
          if (next.kind === 'ended') break
          if (next.kind === 'early') await sleep(next.waitMs)
          if (next.kind === 'decided') tell(next.sagaId, next.decision)
          if (next.kind === 'failed' && next.broken) {
            logger.error({ decisionsId, sagaId: next.sagaId, err: next.broken }, 'A decision could not be made')
          }
          if (telling.size >= AT_ONCE) await Promise.race(telling)
        }
      } finally {
        await Promise.all(telling)
      }
      return stateOf(decisionsId)
    },

    async stopDecisions({ decisionsId, because }) {
      await decisions.stop(decisionsId, because)
      return stateOf(decisionsId)
    },
  }
}

import { withTransaction, type Client, type Pool } from '../../db.js'
import { FailureType, isFailure, lateInvoke, rejected } from '../errors.js'
import type { CompensateVerdict, Json, Participant } from '../types.js'

export interface Call {
  sagaId: string
  step: string
}

export interface InvokeCall extends Call {
  input: Json
}

/** A participant behind its barrier: each operation of a step happens at most once, however often it is delivered. */
export interface BarredParticipant {
  /** `duplicate`: it was applied before; the kept result, and nothing has changed. Throws Rejected, LateInvoke. */
  invoke(call: InvokeCall): Promise<{ verdict: 'applied' | 'duplicate'; result: Json }>
  /** `empty`: nothing to compensate; a late invoke is refused from now on. */
  compensate(call: Call): Promise<CompensateVerdict>
}

/** How long a call waits for a database that is away before its transaction begins. */
const WAIT_MS = 4_000

/**
 * Puts the barrier around a participant: rows (saga, step, operation) in the participant's own database, written in the
 * transaction of its business rows. Their unique index makes a compensation wait for an invoke that is still under way.
 * The idea is DTM's barrier (dtm.pub), which tells nobody what it found; this one keeps result and refusal, and refuses
 * a late invoke, for a caller that is told "ok" goes on with nothing committed.
 */
export function throughBarrier(pool: Pool, participant: Participant<Json, Json | void, Client>): BarredParticipant {
  return {
    async invoke(call) {
      try {
        return await withTransaction(pool, (tx) => invoke(tx, participant, call), { waitMs: WAIT_MS })
      } catch (error) {
        if (!isFailure(error, FailureType.Rejected)) throw error
        // The refusal rolled its own barrier row back with the business; what stands there now is the answer.
        const standing = await withTransaction(pool, (tx) => keepRefusal(tx, call, error), { waitMs: WAIT_MS })
        if (standing === 'kept') throw error
        return standing
      }
    },
    compensate: (call) => withTransaction(pool, (tx) => compensate(tx, participant, call), { waitMs: WAIT_MS }),
  }
}

async function invoke(tx: Client, participant: Participant<Json, Json | void, Client>, call: InvokeCall) {
  const { sagaId, step, input } = call
  const { rowCount } = await tx.query(
    `INSERT INTO saga_barrier (saga_id, step, op, written_by, input) VALUES ($1, $2, 'invoke', 'invoke', $3)
     ON CONFLICT DO NOTHING`,
    [sagaId, step, JSON.stringify(input)],
  )
  if (rowCount === 0) return kept(tx, call)
  const result = (await participant.invoke(tx, { sagaId, input })) ?? null
  await tx.query(
    `UPDATE saga_barrier SET verdict = 'applied', result = $3 WHERE saga_id = $1 AND step = $2 AND op = 'invoke'`,
    [sagaId, step, JSON.stringify(result)],
  )
  return { verdict: 'applied' as const, result }
}

/** What an invoke finds whose row was there already. */
async function kept(tx: Client, call: InvokeCall): Promise<{ verdict: 'duplicate'; result: Json }> {
  const { rows } = await tx.query('SELECT op, verdict, result FROM saga_barrier WHERE saga_id = $1 AND step = $2', [
    call.sagaId,
    call.step,
  ])
  if (rows.some(({ op }) => op === 'compensate')) throw lateInvoke(call)
  const [{ verdict, result }] = rows
  if (verdict === 'rejected') throw rejected(result.message)
  return { verdict: 'duplicate', result }
}

async function keepRefusal(
  tx: Client,
  call: InvokeCall,
  refusal: Error,
): Promise<'kept' | { verdict: 'duplicate'; result: Json }> {
  const { rowCount } = await tx.query(
    `INSERT INTO saga_barrier (saga_id, step, op, written_by, input, verdict, result)
     VALUES ($1, $2, 'invoke', 'invoke', $3, 'rejected', $4) ON CONFLICT DO NOTHING`,
    [call.sagaId, call.step, JSON.stringify(call.input), JSON.stringify({ message: refusal.message })],
  )
  return rowCount === 0 ? kept(tx, call) : 'kept'
}

async function compensate(
  tx: Client,
  participant: Participant<Json, Json | void, Client>,
  { sagaId, step }: Call,
): Promise<CompensateVerdict> {
  const first = await tx.query(
    `INSERT INTO saga_barrier (saga_id, step, op, written_by) VALUES ($1, $2, 'compensate', 'compensate')
     ON CONFLICT DO NOTHING`,
    [sagaId, step],
  )
  if (first.rowCount === 0) {
    const { rows } = await tx.query(
      `SELECT verdict FROM saga_barrier WHERE saga_id = $1 AND step = $2 AND op = 'compensate'`,
      [sagaId, step],
    )
    return rows[0].verdict
  }
  // Before looking: an invoke that is still in its transaction is waited for, one that comes later finds this row.
  const tombstone = await tx.query(
    `INSERT INTO saga_barrier (saga_id, step, op, written_by, verdict) VALUES ($1, $2, 'invoke', 'compensate', 'tombstone')
     ON CONFLICT DO NOTHING`,
    [sagaId, step],
  )
  const verdict = tombstone.rowCount === 0 ? await compensateApplied(tx, participant, { sagaId, step }) : 'empty'
  await tx.query(`UPDATE saga_barrier SET verdict = $3 WHERE saga_id = $1 AND step = $2 AND op = 'compensate'`, [
    sagaId,
    step,
    verdict,
  ])
  return verdict
}

async function compensateApplied(
  tx: Client,
  participant: Participant<Json, Json | void, Client>,
  { sagaId, step }: Call,
): Promise<CompensateVerdict> {
  const { rows } = await tx.query(
    `SELECT input, result, verdict FROM saga_barrier WHERE saga_id = $1 AND step = $2 AND op = 'invoke'`,
    [sagaId, step],
  )
  const [{ input, result, verdict }] = rows
  if (verdict === 'rejected') return 'empty'
  await participant.compensate(tx, { sagaId, input, result })
  return 'done'
}

import type { AnyService } from '../node/barrier.js'
import { withTransaction, type Client, type Pool } from '../node/db.js'
import type { Matrix } from './matrix.js'

/** Takes a step's effect away as a person would: by the participant's own undo, past its barrier. */
export async function undoByHand(
  pool: Pool,
  { saga, participants }: Matrix,
  { sagaId, step }: { sagaId: string; step: string },
): Promise<void> {
  const service = saga.steps[step]?.service
  const participant = (participants as unknown as AnyService[]).find(({ name }) => name === service)
  const undo = async (tx: Client) => {
    const { rows } = await tx.query(
      `SELECT input, result FROM saga_barrier WHERE saga_id = $1 AND step = $2 AND op = 'invoke' AND verdict = 'applied'`,
      [sagaId, step],
    )
    if (rows[0]) await participant?.compensate?.(tx, { sagaId, ...rows[0] })
  }
  await withTransaction(pool, undo, { waitMs: 60_000 })
}

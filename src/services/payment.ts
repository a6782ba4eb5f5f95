import { Type, type Static } from 'typebox'
import type { Client } from '../saga/node/db.js'
import type { Participant } from '../saga/types.js'
import { id } from './id.js'

/** What it is given. */
export const paymentInput = Type.Object({ userId: id, payment: Type.String() }, { additionalProperties: false })

/** Service C: payment methods. */
export const payment: Participant<Static<typeof paymentInput>, { paymentId: string }, Client> = {
  name: 'payment',

  async invoke(tx, { sagaId, input: { userId, payment } }) {
    const { rows } = await tx.query(
      'INSERT INTO table_c (user_id, payment_method, saga_id) VALUES ($1, $2, $3) RETURNING id',
      [userId, payment, sagaId],
    )
    return { paymentId: rows[0].id }
  },

  async invokeMany(tx, calls) {
    const { rows } = await tx.query(
      `INSERT INTO table_c (user_id, payment_method, saga_id)
       SELECT * FROM unnest($1::bigint[], $2::text[], $3::text[]) RETURNING id, saga_id`,
      [
        calls.map(({ input }) => input.userId),
        calls.map(({ input }) => input.payment),
        calls.map(({ sagaId }) => sagaId),
      ],
    )
    const ids = new Map(rows.map(({ id, saga_id }) => [saga_id, id]))
    return calls.map(({ sagaId }) => ({ paymentId: ids.get(sagaId) }))
  },

  async compensate(tx, { sagaId }) {
    await tx.query('DELETE FROM table_c WHERE saga_id = $1', [sagaId])
  },

  async compensateMany(tx, calls) {
    await tx.query('DELETE FROM table_c WHERE saga_id = ANY ($1)', [calls.map(({ sagaId }) => sagaId)])
  },

  async verify(tx, { sagaId }) {
    const { rows } = await tx.query('SELECT id FROM table_c WHERE saga_id = $1', [sagaId])
    return rows.map(({ id }) => `table_c ${id}`)
  },
}

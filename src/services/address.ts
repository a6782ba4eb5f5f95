import { Type, type Static } from 'typebox'
import type { Client } from '../saga/node/db.js'
import type { Participant } from '../saga/types.js'
import { id } from './id.js'

/** What it is given. */
export const addressInput = Type.Object({ userId: id, address: Type.String() }, { additionalProperties: false })

/** Service B: addresses. */
export const address: Participant<Static<typeof addressInput>, { addressId: string }, Client> = {
  name: 'address',

  async invoke(tx, { sagaId, input: { userId, address } }) {
    const { rows } = await tx.query(
      'INSERT INTO table_b (user_id, address, saga_id) VALUES ($1, $2, $3) RETURNING id',
      [userId, address, sagaId],
    )
    return { addressId: rows[0].id }
  },

  async invokeMany(tx, calls) {
    const { rows } = await tx.query(
      `INSERT INTO table_b (user_id, address, saga_id)
       SELECT * FROM unnest($1::bigint[], $2::text[], $3::text[]) RETURNING id, saga_id`,
      [
        calls.map(({ input }) => input.userId),
        calls.map(({ input }) => input.address),
        calls.map(({ sagaId }) => sagaId),
      ],
    )
    const ids = new Map(rows.map(({ id, saga_id }) => [saga_id, id]))
    return calls.map(({ sagaId }) => ({ addressId: ids.get(sagaId) }))
  },

  async compensate(tx, { sagaId }) {
    await tx.query('DELETE FROM table_b WHERE saga_id = $1', [sagaId])
  },

  async compensateMany(tx, calls) {
    await tx.query('DELETE FROM table_b WHERE saga_id = ANY ($1)', [calls.map(({ sagaId }) => sagaId)])
  },

  async verify(tx, { sagaId }) {
    const { rows } = await tx.query('SELECT id FROM table_b WHERE saga_id = $1', [sagaId])
    return rows.map(({ id }) => `table_b ${id}`)
  },
}

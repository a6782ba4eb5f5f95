import { Type, type Static } from 'typebox'
import type { Client } from '../saga/node/db.js'
import type { Participant } from '../saga/types.js'

/** What it is given. */
export const userInput = Type.Object({ username: Type.String() }, { additionalProperties: false })

/** Service A: users. */
export const user: Participant<Static<typeof userInput>, { userId: string }, Client> = {
  name: 'user',

  async invoke(tx, { sagaId, input: { username } }) {
    const { rows } = await tx.query('INSERT INTO table_a (username, saga_id) VALUES ($1, $2) RETURNING id', [
      username,
      sagaId,
    ])
    return { userId: rows[0].id }
  },

  async invokeMany(tx, calls) {
    const { rows } = await tx.query(
      'INSERT INTO table_a (username, saga_id) SELECT * FROM unnest($1::text[], $2::text[]) RETURNING id, saga_id',
      [calls.map(({ input }) => input.username), calls.map(({ sagaId }) => sagaId)],
    )
    const ids = new Map(rows.map(({ id, saga_id }) => [saga_id, id]))
    return calls.map(({ sagaId }) => ({ userId: ids.get(sagaId) }))
  },

  async compensate(tx, { sagaId }) {
    await tx.query('DELETE FROM table_a WHERE saga_id = $1', [sagaId])
  },

  async compensateMany(tx, calls) {
    await tx.query('DELETE FROM table_a WHERE saga_id = ANY ($1)', [calls.map(({ sagaId }) => sagaId)])
  },

  async verify(tx, { sagaId }) {
    const { rows } = await tx.query('SELECT id FROM table_a WHERE saga_id = $1', [sagaId])
    return rows.map(({ id }) => `table_a ${id}`)
  },
}

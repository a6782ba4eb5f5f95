import { rejected } from '../../../src/saga/errors.js'
import type { Client } from '../../../src/saga/node/db.js'
import type { ForwardParticipant } from '../../../src/saga/types.js'

/** Issues the ticket, unless the flight's office is closed. */
export const ticket: ForwardParticipant<{ flight: string; email: string }, { number: string }, Client> = {
  name: 'ticket',
  async invoke(tx, { sagaId, input: { flight, email } }) {
    const { rowCount } = await tx.query('SELECT flight FROM closed_ticket_office WHERE flight = $1', [flight])
    if (rowCount) throw rejected(`the ticket office of ${flight} is closed`)
    const { rows } = await tx.query(
      'INSERT INTO ticket (saga_id, flight, email) VALUES ($1, $2, $3) RETURNING number',
      [sagaId, flight, email],
    )
    // A bigint: as text it keeps every digit.
    return { number: rows[0].number }
  },
  async verify(tx, { sagaId }) {
    const { rows } = await tx.query('SELECT number FROM ticket WHERE saga_id = $1', [sagaId])
    return rows.map(({ number }) => `ticket ${number}`)
  },
}

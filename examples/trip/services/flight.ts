import { rejected } from '../../../src/saga/errors.js'
import type { Client } from '../../../src/saga/node/db.js'
import type { Participant } from '../../../src/saga/types.js'

/** Takes seats of a flight, as long as there are any. */
export const flight: Participant<{ flight: string; seats: number }, { seats: number }, Client> = {
  name: 'flight',
  async invoke(tx, { sagaId, input: { flight, seats } }) {
    const { rowCount } = await tx.query('UPDATE flight_seats SET free = free - $2 WHERE flight = $1 AND free >= $2', [
      flight,
      seats,
    ])
    if (!rowCount) throw rejected(`there are not ${seats} seats on ${flight}`)
    await tx.query('INSERT INTO flight_booking (saga_id, flight, seats) VALUES ($1, $2, $3)', [sagaId, flight, seats])
    return { seats }
  },
  async compensate(tx, { sagaId }) {
    await tx.query(
      `WITH gone AS (DELETE FROM flight_booking WHERE saga_id = $1 RETURNING flight, seats)
       UPDATE flight_seats SET free = free + gone.seats FROM gone WHERE flight_seats.flight = gone.flight`,
      [sagaId],
    )
  },
  async verify(tx, { sagaId }) {
    const { rows } = await tx.query('SELECT flight, seats FROM flight_booking WHERE saga_id = $1', [sagaId])
    return rows.map(({ flight, seats }) => `${seats} seats on ${flight}`)
  },
}

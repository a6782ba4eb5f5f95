import { rejected } from '../../../src/saga/errors.js'
import type { Client } from '../../../src/saga/node/db.js'
import type { Participant } from '../../../src/saga/types.js'

/** Takes a room of a hotel, as long as there is one. */
export const room: Participant<{ hotel: string; nights: number }, { nights: number }, Client> = {
  name: 'room',
  async invoke(tx, { sagaId, input: { hotel, nights } }) {
    const { rowCount } = await tx.query('UPDATE hotel_rooms SET free = free - 1 WHERE hotel = $1 AND free >= 1', [
      hotel,
    ])
    if (!rowCount) throw rejected(`there is no room at ${hotel}`)
    await tx.query('INSERT INTO room_booking (saga_id, hotel, nights) VALUES ($1, $2, $3)', [sagaId, hotel, nights])
    return { nights }
  },
  async compensate(tx, { sagaId }) {
    await tx.query(
      `WITH gone AS (DELETE FROM room_booking WHERE saga_id = $1 RETURNING hotel)
       UPDATE hotel_rooms SET free = free + 1 FROM gone WHERE hotel_rooms.hotel = gone.hotel`,
      [sagaId],
    )
  },
  async verify(tx, { sagaId }) {
    const { rows } = await tx.query('SELECT hotel FROM room_booking WHERE saga_id = $1', [sagaId])
    return rows.map(({ hotel }) => `room at ${hotel}`)
  },
}

/** Orders breakfast for each morning of a stay. */
export const breakfast: Participant<{ hotel: string; mornings: number }, { mornings: number }, Client> = {
  name: 'breakfast',
  async invoke(tx, { sagaId, input: { hotel, mornings } }) {
    await tx.query('INSERT INTO breakfast_booking (saga_id, hotel, mornings) VALUES ($1, $2, $3)', [
      sagaId,
      hotel,
      mornings,
    ])
    return { mornings }
  },
  async compensate(tx, { sagaId }) {
    await tx.query('DELETE FROM breakfast_booking WHERE saga_id = $1', [sagaId])
  },
  async verify(tx, { sagaId }) {
    const { rows } = await tx.query('SELECT hotel FROM breakfast_booking WHERE saga_id = $1', [sagaId])
    return rows.map(({ hotel }) => `breakfast at ${hotel}`)
  },
}

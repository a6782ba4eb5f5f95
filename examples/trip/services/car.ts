import { rejected } from '../../../src/saga/errors.js'
import type { Client } from '../../../src/saga/node/db.js'
import type { Participant } from '../../../src/saga/types.js'

/** Books a car of a class that is known. While its desk takes none back, a booking can't be undone. */
export const car: Participant<{ class: string; days: number }, { class: string }, Client> = {
  name: 'car',
  async invoke(tx, { sagaId, input }) {
    const { rowCount } = await tx.query('SELECT class FROM car_class WHERE class = $1 FOR SHARE', [input.class])
    if (!rowCount) throw rejected(`there is no car of class ${input.class}`)
    await tx.query('INSERT INTO car_booking (saga_id, class, days) VALUES ($1, $2, $3)', [
      sagaId,
      input.class,
      input.days,
    ])
    return { class: input.class }
  },
  async compensate(tx, { sagaId, input }) {
    const { rowCount } = await tx.query('SELECT class FROM car_class WHERE class = $1 AND NOT takes_back', [
      input.class,
    ])
    if (rowCount) throw rejected(`the desk takes no ${input.class} back`)
    await tx.query('DELETE FROM car_booking WHERE saga_id = $1', [sagaId])
  },
  async verify(tx, { sagaId }) {
    const { rows } = await tx.query('SELECT class FROM car_booking WHERE saga_id = $1', [sagaId])
    return rows.map(({ class: name }) => `car of class ${name}`)
  },
}

import { rejected } from '../../../src/saga/errors.js'
import type { Client } from '../../../src/saga/node/db.js'
import type { ForwardParticipant } from '../../../src/saga/types.js'

const cardLimit = 500_000

export const charge: ForwardParticipant<{ cents: number }, { charged: number }, Client> = {
  name: 'charge',
  async invoke(tx, { sagaId, input: { cents } }) {
    if (cents > cardLimit) throw rejected('the card was declined')
    await tx.query('INSERT INTO trip_charge (saga_id, cents) VALUES ($1, $2)', [sagaId, cents])
    return { charged: cents }
  },
  async verify(tx, { sagaId }) {
    const { rows } = await tx.query('SELECT cents FROM trip_charge WHERE saga_id = $1', [sagaId])
    return rows.map(({ cents }) => `charge of ${cents}`)
  },
}

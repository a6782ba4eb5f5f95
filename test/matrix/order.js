import { fileURLToPath } from 'node:url'
import { defineMatrix } from '../../dist/saga/testing/index.js'
import { orderSaga } from './order-workflows.js'

/** Effects are rows of a table `effect`. */
const participant = (name) => ({
  name,
  async invoke(tx, { sagaId }) {
    await tx.query('INSERT INTO effect (saga_id, service) VALUES ($1, $2)', [sagaId, name])
    return { by: name }
  },
  async compensate(tx, { sagaId }) {
    await tx.query('DELETE FROM effect WHERE saga_id = $1 AND service = $2', [sagaId, name])
  },
  async verify(tx, { sagaId }) {
    const { rows } = await tx.query('SELECT id FROM effect WHERE saga_id = $1 AND service = $2', [sagaId, name])
    return rows.map(({ id }) => `effect ${id}`)
  },
})

const taken = (type) => ({
  type,
  parse: (input) => ({ input }),
  view: (input) => input,
  label: () => type,
  secrets: () => [],
})

export default defineMatrix({
  saga: orderSaga,
  workflows: { workflowsPath: fileURLToPath(new URL('./order-workflows.js', import.meta.url)) },
  participants: ['stock', 'credit', 'paper', 'ribbon', 'charge', 'parcel'].map(participant),
  sagas: [taken('orderSaga'), taken('wrapSaga')],
  input: (n) => ({ n }),
})

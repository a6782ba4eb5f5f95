import { readFileSync } from 'node:fs'
import { expect, test } from '@jest/globals'
import { ada, Sagas, testReplay } from '../helpers/sagas.js'
import { query, readShared } from '../helpers/shared.js'
import { testDemoPlan } from './demo-plan.js'

// With the services in the worker's process; test/services has them as processes of their own.
const sagas = new Sagas(readShared().system)

testDemoPlan(sagas, () => readFileSync(`${readShared().folder}/logs/shared.log`, 'utf8'))

test('a happy saga is at most 12 events of history', async () => {
  const { sagaId } = await sagas.run()
  await sagas.closing(sagaId)
  const history = JSON.parse(await sagas.temporal('workflow', 'show', '-w', sagaId, '--output', 'json'))
  expect(history.events.length).toBeLessThanOrEqual(12)
})

test('the payment stands in table_c alone, and masked everywhere else that people look', async () => {
  const saga = await sagas.run({ C: { mode: 'first', n: 1 } })
  const kept = await query<{ payment_method: string }>(
    sagas.where.database,
    'SELECT payment_method FROM table_c WHERE saga_id = $1',
    [saga.sagaId],
  )
  expect(kept).toEqual([{ payment_method: ada.payment }])
  expect(JSON.stringify([saga, await sagas.logRows(saga.sagaId)])).not.toContain('4111')
  const erased = await query(sagas.where.database, 'SELECT input FROM saga WHERE saga_id = $1', [saga.sagaId])
  expect(erased).toEqual([{ input: null }])
})

testReplay(() => sagas)

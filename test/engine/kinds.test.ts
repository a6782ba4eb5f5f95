import { afterAll, expect, test } from '@jest/globals'
import { effectService, startEngine } from '../helpers/engine.js'

const names = ['flight', 'hotel', 'charge', 'ticket', 'letter']
const engine = await startEngine('kinds', {
  workflows: new URL('./sagas.ts', import.meta.url),
  services: names.map((name) => effectService(name)),
  types: ['tripSaga'],
})
const { sagas } = engine
afterAll(() => engine.stop())

test.concurrent('a trip goes forward to its end', async () => {
  const sagaId = await engine.start('tripSaga', { to: 'Zürich' })
  expect(await sagas.ended(sagaId)).toMatchObject({ status: 'COMPLETED', by: 'charge', ticket: 'ticket' })
  expect(await engine.effects(sagaId)).toEqual(names)
})

test.concurrent('a pivot that fails after its commit is applied: the saga goes on', async () => {
  const sagaId = await engine.start(
    'tripSaga',
    { to: 'Zürich' },
    { failures: { charge: { mode: 'always', when: 'after' } } },
  )
  expect(await sagas.ended(sagaId)).toMatchObject({ status: 'COMPLETED' })
  expect(await engine.effects(sagaId)).toEqual(names)
  expect(await sagas.log(sagaId)).toEqual([
    'SAGA started',
    ...[
      'flight success 1',
      'hotel success 1',
      'charge failed 1',
      'charge failed 2',
      'charge failed 3',
      'charge success',
    ],
    ...['ticket success 1', 'letter success 1'],
    'SAGA completed',
  ])
})

test.concurrent('a pivot that fails before its commit rolls the saga back', async () => {
  const sagaId = await engine.start(
    'tripSaga',
    { to: 'Zürich' },
    { failures: { charge: { mode: 'always', when: 'before' } } },
  )
  expect(await sagas.ended(sagaId)).toMatchObject({ status: 'COMPENSATED', failedStep: 'charge' })
  expect(await engine.effects(sagaId)).toEqual([])
  expect(await sagas.log(sagaId)).toEqual([
    'SAGA started',
    ...['flight success 1', 'hotel success 1', 'charge failed 1', 'charge failed 2', 'charge failed 3'],
    'COMPENSATE_charge skipped 1',
    'ROLLBACK triggered',
    ...['COMPENSATE_hotel success 1', 'COMPENSATE_flight success 1'],
    ...['COMPENSATE_charge verified', 'COMPENSATE_hotel verified', 'COMPENSATE_flight verified'],
    'SAGA compensated',
  ])
})

test('every run replays', async () => {
  expect(await engine.replay()).toBe(sagas.started.length)
})

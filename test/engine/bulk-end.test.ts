import { afterAll, expect, test } from '@jest/globals'
import { startEngine } from '../helpers/engine.js'
import { Gated, parked, decide } from './gates.js'
import { tripSaga } from './sagas.js'

// Which sagas of a bulk an end touches, where they have a point of no return.

const names = ['flight', 'hotel', 'charge', 'ticket', 'letter']
const gated = new Gated()
const engine = await startEngine('bulk-end-engine', {
  workflows: new URL('./sagas.ts', import.meta.url),
  services: names.map((name) => gated.service(name)),
  types: ['tripSaga'],
  steps: { tripSaga: tripSaga.steps },
})
const { sagas } = engine
afterAll(() => engine.stop())

async function end(bulkId: string, how: 'cancel' | 'compensate', expected: number) {
  const response = await sagas.post(`/saga/bulk/${bulkId}/${how}`, { reason: 'the wrong file', expected })
  const { matching } = (await response.json()) as { matching?: number }
  return matching ?? response.status
}

const bulk = async (bulkId: string) => (await sagas.request(`/saga/bulk/${bulkId}`)).json()

test('a saga past its point of no return is not cancelled, and a completed one with such a point not compensated', async () => {
  const { bulkId, sagaIds } = await engine.startBulk('tripSaga', [
    { input: { refuse: ['ticket invoke'] } },
    { input: { hold: 'flight invoke' } },
    { input: {} },
  ])
  const [past = '', before = '', done = ''] = sagaIds
  expect(await parked(engine, past)).toEqual(['ticket'])
  await gated.at(before).reached
  await sagas.ended(done)
  expect(await bulk(bulkId)).toMatchObject({ needsAttention: 1, running: 1, cancellable: 1 })
  expect(await end(bulkId, 'cancel', 2)).toBe(1)
  expect(await end(bulkId, 'cancel', 1)).toBe(202)
  gated.at(before).open()
  expect(await sagas.ended(before)).toMatchObject({ status: 'COMPENSATED', error: { type: 'Cancelled' } })
  expect(await end(bulkId, 'compensate', 1)).toBe(0)
  gated.mend(past, 'ticket invoke')
  expect(await decide(engine, past, { step: 'ticket', action: 'retry' })).toBe(200)
  expect((await sagas.ended(past)).status).toBe('COMPLETED')
  expect(await engine.effects(before)).toEqual([])
  expect(await engine.effects(past)).toEqual(names)
})

test('a saga can be cancelled until it passes its point of no return, or somebody has cancelled it', async () => {
  const isCancellable = async (sagaId: string) => {
    const { status, links } = await sagas.get(sagaId)
    return { status, cancellable: links.cancel === `/saga/${sagaId}/cancel` }
  }
  const before = await engine.start('tripSaga', { hold: 'flight invoke' })
  const past = await engine.start('tripSaga', { hold: 'ticket invoke' })
  for (const sagaId of [before, past]) await gated.at(sagaId).reached

  expect(await isCancellable(before)).toEqual({ status: 'RUNNING', cancellable: true })
  expect(await isCancellable(past)).toEqual({ status: 'RUNNING', cancellable: false })
  await sagas.post(`/saga/${before}/cancel`, { reason: 'changed my mind' })
  expect(await isCancellable(before)).toEqual({ status: 'RUNNING', cancellable: false })

  for (const sagaId of [before, past]) gated.at(sagaId).open()
  expect(await sagas.ended(before)).toMatchObject({ status: 'COMPENSATED' })
  expect(await sagas.ended(past)).toMatchObject({ status: 'COMPLETED' })
  for (const sagaId of [before, past]) expect(await isCancellable(sagaId)).toMatchObject({ cancellable: false })
})

test('a saga of a bulk that runs alone is cancelled there', async () => {
  const { bulkId, sagaIds } = await engine.startBulk('tripSaga', [{ input: { hold: 'hotel invoke' } }, { input: {} }])
  const [alone = '', other = ''] = sagaIds
  await gated.at(alone).reached
  // Its call takes much longer than the other's: it leaves.
  await sagas.ended(other)
  await sagas.logged(alone, 'hotel failed 1')
  expect(await end(bulkId, 'cancel', 1)).toBe(202)
  gated.at(alone).open()
  expect(await sagas.ended(alone)).toMatchObject({ status: 'COMPENSATED', error: { type: 'Cancelled' } })
  expect(await engine.effects(alone)).toEqual([])
})

test('every run replays', () => expect(engine.replay()).resolves.toBeGreaterThanOrEqual(0))

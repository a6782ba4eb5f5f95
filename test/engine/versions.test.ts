import { afterAll, expect, test } from '@jest/globals'
import { effectService, startEngine } from '../helpers/engine.js'
import { until } from '../helpers/until.js'

// Sagas in flight while their code is changed under them: docs/change-a-saga.md. One after the other: they share a worker.

const code = (name: string) => new URL(`./versions/${name}.ts`, import.meta.url)
const engine = await startEngine('versions', {
  workflows: code('before'),
  services: ['stock', 'charge', 'letter'].map((name) => effectService(name)),
  types: ['orderSaga'],
})
const { sagas } = engine
afterAll(() => engine.stop())

/** A saga whose stock is in, and whose charge is tried again for some seconds. */
async function startSlow(failures = {}): Promise<string> {
  await engine.replaceWorker(code('before'))
  const sagaId = await engine.start(
    'orderSaga',
    { item: 'book' },
    { failures: { charge: { mode: 'first', n: 2, kind: 'hang' }, ...failures } },
  )
  await sagas.logged(sagaId, 'charge failed 1')
  return sagaId
}

test('a saga in flight takes a step that its code has gained', async () => {
  const sagaId = await startSlow()
  await engine.replaceWorker(code('after'))
  expect(await sagas.ended(sagaId)).toMatchObject({
    status: 'COMPLETED',
    steps: [{ step: 'stock' }, { step: 'charge' }, { step: 'letter', status: 'succeeded' }],
  })
  expect(await engine.effects(sagaId)).toEqual(['stock', 'charge', 'letter'])
})

test('a step gained in flight is undone like the others', async () => {
  const sagaId = await startSlow({ letter: { mode: 'always', when: 'after' } })
  await engine.replaceWorker(code('after'))
  expect(await sagas.ended(sagaId)).toMatchObject({ status: 'COMPENSATED', failedStep: 'letter' })
  expect(await engine.effects(sagaId)).toEqual([])
  expect((await sagas.log(sagaId)).filter((row) => row.includes('letter'))).toEqual([
    ...['letter failed 1', 'letter failed 2', 'letter failed 3'],
    ...['COMPENSATE_letter success 1', 'COMPENSATE_letter verified'],
  ])
})

test('a saga in flight whose steps have changed places stands still, and goes on with the old code', async () => {
  const sagaId = await startSlow()
  await engine.replaceWorker(code('swapped'))
  const complaint = await until('its workflow task fails', async () => {
    const { events } = await engine.client.workflow.getHandle(sagaId).fetchHistory()
    return events?.map((event) => event.workflowTaskFailedEventAttributes?.failure?.message).find(Boolean)
  })
  expect(complaint).toContain("the saga's code calls step charge where its history")
  expect(complaint).toContain('an attempt of step stock')
  expect(await sagas.get(sagaId)).toMatchObject({ status: 'RUNNING' })
  await engine.replaceWorker(code('before'))
  expect(await sagas.ended(sagaId)).toMatchObject({ status: 'COMPLETED' })
  expect(await engine.effects(sagaId)).toEqual(['stock', 'charge'])
})

test('every run replays against the guarded code', async () => {
  await engine.replaceWorker(code('after'))
  expect(await engine.replay({ failedTasks: true })).toBe(sagas.started.length)
})

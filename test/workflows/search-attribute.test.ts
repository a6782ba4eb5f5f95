import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { Sagas } from '../helpers/sagas.js'
import { startSystem, type System } from '../helpers/system.js'
import { until } from '../helpers/until.js'

// A namespace that loses the search attribute SagaStatus while a saga waits for an operator.

let system: System
let sagas: Sagas
beforeAll(async () => {
  system = await startSystem('search-attribute')
  sagas = new Sagas(system.where)
}, 90_000)
afterAll(() => system?.stop())

const attribute = (...args: string[]) =>
  sagas.temporal('operator', 'search-attribute', ...args, '-n', system.where.namespace)

test('a decision is carried out although the namespace has lost the search attribute', async () => {
  await attribute('create', '--name', 'SagaStatus', '--type', 'Keyword')
  await until('the namespace has it', async () => (await attribute('list')).includes('SagaStatus'))
  const sagaId = await sagas.start({
    C: { mode: 'always', kind: 'reject' },
    B: { mode: 'first', n: 8, on: 'compensate' },
  })
  await sagas.logged(sagaId, 'COMPENSATE_B stuck')
  await until('it is shown', async () => {
    const found = await sagas.temporal('workflow', 'describe', '-w', sagaId, '--output', 'json')
    return found.includes('SagaStatus')
  })
  await attribute('remove', '--name', 'SagaStatus', '--yes')
  const decision = { step: 'B', action: 'retry', reason: 'mended', actor: 'grace' }
  expect((await sagas.post(`/saga/${sagaId}/decision`, decision)).status).toBe(200)
  expect(await sagas.ended(sagaId)).toMatchObject({ status: 'COMPENSATED' })
})

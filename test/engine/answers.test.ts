import { createSecretKey, randomBytes, randomUUID } from 'node:crypto'
import { afterAll, expect, test } from '@jest/globals'
import type { AnyService } from '../../src/saga/node/barrier.js'
import { PayloadKeys } from '../../src/saga/node/payload-keys.js'
import { MAX_JSON_BYTES } from '../../src/saga/result.js'
import type { SagaView } from '../../src/saga/types.js'
import { effectService, startEngine } from '../helpers/engine.js'
import { until } from '../helpers/until.js'

// What participants answer and throw. All that Temporal is told is encrypted, which makes it larger.

/** By "<saga> <service>": how many bytes its result has as JSON. */
const sizes = new Map<string, number>()
/** By "<saga> <service>": what its invoke throws. */
const thrown = new Map<string, unknown>()

const odd = (name: string): AnyService => {
  const service = effectService(name)
  return {
    ...service,
    async invoke(tx, call) {
      const key = `${call.sagaId} ${name}`
      await service.invoke(tx, call)
      if (thrown.has(key)) throw thrown.get(key)
      return 'x'.repeat((sizes.get(key) ?? 4) - 2)
    },
    async verify(tx, call) {
      if (thrown.has(`${call.sagaId} ${name}`)) throw thrown.get(`${call.sagaId} ${name}`)
      return service.verify(tx, call)
    },
  }
}

const engine = await startEngine('answers', {
  workflows: new URL('./answers-sagas.ts', import.meta.url),
  services: ['first', 'charge', 'letter'].map(odd),
  types: ['answersSaga', 'innerSaga', 'outerSaga'],
  payloadKeys: new PayloadKeys([{ id: 'k1', key: createSecretKey(randomBytes(32)) }]),
})
const { sagas, client } = engine
afterAll(() => engine.stop())

const most = MAX_JSON_BYTES

const tooLarge = (whose: string) => ({
  type: 'InvalidResult',
  message: `the result of ${whose} has ${most + 1} bytes as JSON; ${most} is the most`,
})

async function start(type: string, input: object, results: Record<string, number> = {}): Promise<string> {
  const sagaId = randomUUID()
  for (const [service, size] of Object.entries(results)) sizes.set(`${sagaId} ${service}`, size)
  return engine.start(type, input, { sagaId })
}

/** How its run has closed, says Temporal. */
const closing = (sagaId: string) =>
  until(`${sagaId} is closed`, async () => {
    const { name } = (await client.workflow.getHandle(sagaId).describe()).status
    return name !== 'RUNNING' && name
  })

test.each(['first', 'charge', 'letter'])(
  'a saga completes with the largest results: of %s, and its own',
  async (step) => {
    const sagaId = await start('answersSaga', { own: most }, { [step]: most })
    expect(await sagas.ended(sagaId)).toMatchObject({ status: 'COMPLETED' })
    expect(await closing(sagaId)).toBe('COMPLETED')
  },
)

test.each(['first', 'charge'])(
  'a result of %s that is too large rolls the saga back, at its first attempt',
  async (step) => {
    const sagaId = await start('answersSaga', {}, { [step]: most + 1 })
    const saga = await sagas.ended(sagaId)
    expect(saga).toMatchObject({ status: 'COMPENSATED', failedStep: step, error: tooLarge(step) })
    expect(saga.steps.find((one) => one.step === step)).toMatchObject({ attempts: 1, status: 'failed' })
    expect(await engine.effects(sagaId)).toEqual([])
    expect(await closing(sagaId)).toBe('FAILED')
  },
)

test('a result that is too large behind the pivot waits for an operator', async () => {
  const sagaId = await start('answersSaga', {}, { letter: most + 1 })
  const saga = await until('it needs attention', async () => {
    const response = await sagas.request(`/saga/${sagaId}`)
    const found = response.ok ? ((await response.json()) as SagaView) : undefined
    return found?.status === 'NEEDS_ATTENTION' && found
  })
  expect(saga.steps.find(({ step }) => step === 'letter')).toMatchObject({ attempts: 1, error: tooLarge('letter') })
  sizes.delete(`${sagaId} letter`)
  const retry = { step: 'letter', action: 'retry', reason: 'it is smaller now', actor: 'grace' }
  expect((await sagas.post(`/saga/${sagaId}/decision`, retry)).status).toBe(200)
  expect(await sagas.ended(sagaId)).toMatchObject({ status: 'COMPLETED' })
})

test('a nested saga whose own result is too large is undone, and so is its parent', async () => {
  const fits = await start('outerSaga', { own: most })
  expect(await sagas.ended(fits)).toMatchObject({ status: 'COMPLETED' })
  expect(await closing(fits)).toBe('COMPLETED')
  const sagaId = await start('outerSaga', { own: most + 1 })
  expect(await sagas.ended(sagaId)).toMatchObject({ status: 'COMPENSATED', failedStep: 'inner' })
  expect(await sagas.get(`${sagaId}.inner`)).toMatchObject({ status: 'COMPENSATED', error: tooLarge('the saga') })
  expect(await engine.effects(`${sagaId}.inner`)).toEqual([])
})

test.each([
  { what: 'undefined', value: undefined, message: 'undefined was thrown, with no text that says why' },
  { what: 'null', value: null, message: 'null was thrown, with no text that says why' },
  {
    what: 'an object without prototype',
    value: Object.create(null) as unknown,
    message: 'no error but something of type object was thrown, with no text that says why',
  },
])(
  'a participant that throws $what has a row for each attempt, and could not be checked',
  async ({ value, message }) => {
    const sagaId = randomUUID()
    thrown.set(`${sagaId} first`, value)
    await engine.start('answersSaga', {}, { sagaId })
    expect(await sagas.ended(sagaId)).toMatchObject({
      status: 'COMPENSATED',
      failedStep: 'first',
      error: { type: 'OutcomeUnknown', message },
    })
    const log = await sagas.log(sagaId)
    expect(log.filter((row) => row.startsWith('first failed'))).toEqual([1, 2, 3].map((n) => `first failed ${n}`))
    expect(log).toContain('COMPENSATE_first residue')
  },
)

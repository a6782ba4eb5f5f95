import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { ada, everywhere, nowhere, Sagas, testReplay } from '../helpers/sagas.js'
import { startSystem, type System } from '../helpers/system.js'

let on: System
let off: System
let sagas: Sagas

beforeAll(async () => {
  ;[on, off] = await Promise.all([
    startSystem('failures-on'),
    startSystem('failures-off', { FAILURE_INJECTION: 'off' }),
  ])
  sagas = new Sagas(on.where)
})
afterAll(() => Promise.all([on, off].map((system) => system?.stop())))

const complete = { mode: 'none', when: 'before', kind: 'error', on: 'invoke' }
const defaults = {
  A: { ...complete, mode: 'alternate' },
  B: { ...complete, mode: 'alternate', when: 'after' },
  C: complete,
}

async function put(failures: unknown, at = sagas) {
  const response = await at.request('/failures', {
    method: 'PUT',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(failures),
  })
  return { status: response.status, answer: await response.json() }
}

/** Whether it is said that they may be changed. */
const allows = async (at = sagas): Promise<string | null> => (await at.request('/failures')).headers.get('allow')

async function get(at = sagas): Promise<unknown> {
  const response = await at.request('/failures')
  expect(response.status).toBe(200)
  return response.json()
}

/** A saga without failures of its own, from start to end: its attempts as the log has them. */
async function attempts(): Promise<string[]> {
  const response = await sagas.post('/saga?wait=60', ada)
  const saga = (await response.json()) as { sagaId: string; status: string }
  sagas.started.push(saga.sagaId)
  const log = await sagas.log(saga.sagaId)
  expect(await sagas.rows(saga.sagaId)).toEqual(saga.status === 'COMPLETED' ? everywhere : nowhere)
  return log.filter((row) => /^[ABC] /.test(row))
}

const untroubled = ['A success 1', 'B success 1', 'C success 1']
const troubled = ['A failed 1', 'A success 2', 'B failed 1', 'B success 2', 'C success 1']

// In this order: each test finds what the one before it has left in force.
test('from the start A fails every second call before its transaction, and B after its commit', async () => {
  expect(await get()).toEqual(defaults)
  expect(await attempts()).toEqual(untroubled)
  expect(await attempts()).toEqual(troubled)
  expect(await attempts()).toEqual(troubled)
})

test('putting the same again starts the counts anew', async () => {
  expect(await put(defaults)).toEqual({ status: 200, answer: defaults })
  expect(await attempts()).toEqual(untroubled)
  expect(await attempts()).toEqual(troubled)
})

test('a saga with failures of its own is neither failed nor counted by what is in force', async () => {
  await put(defaults)
  expect(await attempts()).toEqual(untroubled)
  const spared = await sagas.run({})
  expect(spared.steps).toMatchObject([{ attempts: 1 }, { attempts: 1 }, { attempts: 1 }])
  const own = await sagas.run({ C: { mode: 'first', n: 1 } })
  expect(own.steps).toMatchObject([{ attempts: 1 }, { attempts: 1 }, { attempts: 2 }])
  expect(await attempts()).toEqual(troubled)
})

test('put replaces all that is in force: what it does not name does not fail', async () => {
  expect(await put({ B: { mode: 'always' } })).toEqual({
    status: 200,
    answer: { A: complete, B: { ...complete, mode: 'always' }, C: complete },
  })
  expect(await get()).toEqual({ A: complete, B: { ...complete, mode: 'always' }, C: complete })
  expect(await attempts()).toEqual(['A success 1', 'B failed 1', 'B failed 2', 'B failed 3'])
})

test('what a saga brings along holds instead of it', async () => {
  await put({ B: { mode: 'always' } })
  const saga = await sagas.run({ A: { mode: 'first', n: 1 } })
  expect(saga).toMatchObject({ status: 'COMPLETED', steps: [{ attempts: 2 }, { attempts: 1 }, { attempts: 1 }] })
})

test('a list is put and given as a list, a list of one as the one', async () => {
  const list = [
    { mode: 'first', n: 1, when: 'after' },
    { mode: 'rate', rate: 0.25, on: 'compensate' },
  ]
  const completed = list.map((failure) => ({ ...complete, ...failure }))
  const { answer } = await put({ A: list, B: [{ mode: 'always', kind: 'reject' }], C: [] })
  expect(answer).toEqual({ A: completed, B: { ...complete, mode: 'always', kind: 'reject' }, C: complete })
  expect(await get()).toEqual(answer)
})

test('first fails the first calls of all sagas together, and no other', async () => {
  await put({ A: { mode: 'first', n: 2 } })
  expect(await attempts()).toEqual(['A failed 1', 'A failed 2', 'A success 3', 'B success 1', 'C success 1'])
  expect(await attempts()).toEqual(untroubled)
})

test('the settings and their counts outlive the process', async () => {
  await put({ C: { mode: 'alternate' } })
  expect(await attempts()).toEqual(untroubled)
  await on.kill()
  await on.restart()
  expect(await get()).toEqual({ A: complete, B: complete, C: { ...complete, mode: 'alternate' } })
  expect(await attempts()).toEqual(['A success 1', 'B success 1', 'C failed 1', 'C success 2'])
})

test('sagas that end at once share one count: every second call fails, whoever makes it', async () => {
  await put({ A: { mode: 'alternate' } })
  const all = await Promise.all(Array.from({ length: 12 }, () => attempts()))
  const calls = all.flat().filter((row) => row.startsWith('A '))
  const failed = calls.filter((row) => row.startsWith('A failed')).length
  expect(failed).toBe(Math.floor(calls.length / 2))
})

test('whoever reads or calls while all of it is replaced again and again finds the old or the new, never half of each', async () => {
  const all = { ...complete, mode: 'first', n: 1 }
  const [one, other] = [
    { A: all, B: all, C: all },
    { A: complete, B: complete, C: complete },
  ]
  await put(one)
  const [, found, ...sagasFound] = await Promise.all([
    (async () => {
      for (let n = 0; n < 30; n++) await put(n % 2 === 0 ? other : one)
    })(),
    Promise.all(Array.from({ length: 100 }, () => get())),
    // Each looks after itself that it is whole or gone, as it is where its every attempt has met a count begun anew.
    ...Array.from({ length: 5 }, () => attempts()),
  ])
  for (const failures of found) expect([one, other]).toContainEqual(failures)
  for (const rows of sagasFound.filter((one) => one.some((row) => row.startsWith('C success'))))
    expect(rows.filter((row) => row.includes('success'))).toHaveLength(3)
  expect(await get()).toEqual(one)
})

test('the types of sagas name their steps in order, with kind and service', async () => {
  const response = await sagas.request('/saga-types')
  const steps = Object.entries({ A: 'user', B: 'address', C: 'payment' })
  expect(await response.json()).toEqual({
    types: [
      {
        type: 'createUserSaga',
        steps: steps.map(([step, service]) => ({ step, kind: 'compensatable', service })),
      },
    ],
  })
})

test('injection that is switched off refuses failures, says that nothing fails, and fails nothing', async () => {
  const there = new Sagas(off.where)
  const none = { A: complete, B: complete, C: complete }
  expect(await get(there)).toEqual(none)
  expect(await allows(there)).toBe('GET, HEAD')
  expect(await allows()).toBe('GET, HEAD, PUT')
  expect(await put({ A: { mode: 'always' } }, there)).toMatchObject({ status: 403, answer: { status: 403 } })
  for (const failures of [{}, { A: { mode: 'none' } }]) {
    const refused = await there.post('/saga', { ...ada, username: 'eve', failures })
    expect(refused.status).toBe(403)
    expect(refused.headers.get('content-type')).toContain('application/problem+json')
  }
  for (let i = 0; i < 3; i++) {
    const response = await there.post('/saga?wait=60', ada)
    expect(await response.json()).toMatchObject({ status: 'COMPLETED', steps: Array(3).fill({ attempts: 1 }) })
  }
  const response = await there.request('/logs?limit=500')
  const { logs } = (await response.json()) as { logs: { status: string }[] }
  expect(logs).toHaveLength(15)
})

testReplay(() => sagas)

import { randomUUID } from 'node:crypto'
import { ApplicationFailure } from '@temporalio/common'
import { afterAll, expect, test } from '@jest/globals'
import { sagas as sagaTypes } from '../../src/activities/index.js'
import { SagaStore } from '../../src/saga/node/saga-store.js'
import { makePool } from '../../src/saga/node/db.js'
import { rejected } from '../../src/saga/errors.js'
import type { Plan } from '../../src/saga/types.js'
import { createUserSaga } from '../../src/workflows/create-user.js'
import { createUser } from '../../src/workflows/create-user-input.js'
import { effectService, startEngine } from '../helpers/engine.js'
import { ada, Sagas, testReplay } from '../helpers/sagas.js'
import { readShared } from '../helpers/shared.js'
import { until } from '../helpers/until.js'

const sagas = new Sagas(readShared().system)

// "<saga> <service>", on an engine with a point of no return.
const refusing = new Set<string>()
const broken = new Set<string>()
const gates = new Map<string, Promise<void>>()
const engine = await startEngine('plan', {
  workflows: new URL('../engine/sagas.ts', import.meta.url),
  services: ['flight', 'hotel', 'charge', 'ticket', 'letter'].map((name) =>
    effectService(name, {
      async invoke({ sagaId }) {
        await gates.get(`${sagaId} ${name}`)
        if (refusing.has(`${sagaId} ${name}`)) throw rejected('sold out')
      },
      compensate({ sagaId }) {
        if (!broken.has(`${sagaId} ${name}`)) return
        throw ApplicationFailure.create({ type: 'Jammed', message: 'jammed', nonRetryable: true })
      },
    }),
  ),
  types: ['tripSaga'],
  stepTimeoutMs: 10_000,
})
afterAll(() => engine.stop())

async function plan(sagaId: string, on = sagas): Promise<Plan> {
  const response = await on.request(`/saga/${sagaId}/plan`)
  expect(response.status).toBe(200)
  return (await response.json()) as Plan
}

/** What the saga's own run says. */
async function asked(sagaId: string, on = sagas): Promise<Plan> {
  const answer = await on.temporal('workflow', 'query', '-w', sagaId, '--type', 'plan', '--output', 'json')
  const { steps } = JSON.parse(answer).queryResult[0]
  // An empty list is null in what the CLI prints.
  return { steps: steps ?? [] }
}

const inputOfA = { username: 'ada' }
const inputOfB = { userId: expect.any(String), address: ada.address }
const undo = (step: string, service: string, input: unknown) => ({ step, service, action: 'compensate', input })
const nothing = { steps: [] }

test.concurrent('the plan of an unknown saga is a 404', async () => {
  const sagaId = randomUUID()
  const response = await sagas.request(`/saga/${sagaId}/plan`)
  expect({ status: response.status, type: response.headers.get('content-type') }).toEqual({
    status: 404,
    type: expect.stringContaining('application/problem+json'),
  })
  expect(await response.json()).toMatchObject({ status: 404, detail: expect.stringContaining(sagaId) })
})

test.concurrent('a saga that has not been started yet has nothing to undo', async () => {
  const pool = makePool(sagas.where.database, { max: 1, name: 'test' })
  const sagaId = `unstarted-${randomUUID()}`
  await new SagaStore(pool, sagaTypes).writeIntent({
    sagaId,
    saga: createUser,
    steps: createUserSaga.steps,
    input: ada,
    failures: {},
    maxOpen: 500,
  })
  await pool.end()
  expect(await plan(sagaId)).toEqual(nothing)
  // The sweep starts it.
  sagas.started.push(sagaId)
  expect(await sagas.ended(sagaId)).toMatchObject({ status: 'COMPLETED' })
})

test.concurrent('a step under way would be undone, though it is not known yet what it was given', async () => {
  const sagaId = await sagas.start({ A: { mode: 'first', n: 1, kind: 'hang' } })
  await until('A is under way', async () => (await sagas.get(sagaId)).steps[0]?.status === 'running')
  expect(await plan(sagaId)).toEqual({ steps: [undo('A', 'user', null)] })
  await sagas.logged(sagaId, 'A failed 1')
  expect(await plan(sagaId)).toMatchObject({ steps: expect.arrayContaining([undo('A', 'user', inputOfA)]) })
  expect(await sagas.ended(sagaId)).toMatchObject({ status: 'COMPLETED' })
  expect(await plan(sagaId)).toEqual(nothing)
})

test.concurrent('what has been reached would be undone, last first, with the payment masked', async () => {
  const sagaId = await sagas.start({ C: { mode: 'first', n: 2, kind: 'hang' } })
  await sagas.logged(sagaId, 'B success 1')
  await until('C is under way', async () => (await sagas.get(sagaId)).steps[2]?.status === 'running')
  expect(await plan(sagaId)).toEqual({
    steps: [undo('C', 'payment', null), undo('B', 'address', inputOfB), undo('A', 'user', inputOfA)],
  })
  await sagas.logged(sagaId, 'C failed 1')
  const known = await plan(sagaId)
  expect(known.steps).toMatchObject([{ step: 'C' }, { step: 'B' }, { step: 'A' }])
  expect(known.steps[0]?.input).toEqual({ userId: expect.any(String), payment: expect.stringMatching(/^\*{4}/) })
  expect(JSON.stringify(known)).not.toContain(ada.payment)
  expect(await asked(sagaId)).toEqual(known)
  await sagas.ended(sagaId)
})

test.concurrent('while it rolls back, what is still to be undone is planned, and nothing once that is done', async () => {
  const sagaId = await sagas.start({
    C: { mode: 'always', kind: 'reject' },
    B: { mode: 'first', n: 4, on: 'compensate' },
  })
  await sagas.logged(sagaId, 'COMPENSATE_B failed 2')
  const left = { steps: [undo('B', 'address', inputOfB), undo('A', 'user', inputOfA)] }
  expect(await plan(sagaId)).toEqual(left)
  expect(await asked(sagaId)).toEqual(left)
  expect(await sagas.ended(sagaId)).toMatchObject({ status: 'COMPENSATED' })
  expect(await plan(sagaId)).toEqual(nothing)
  await sagas.closing(sagaId)
  expect(await asked(sagaId)).toEqual(nothing)
})

test.concurrent('a saga that completed has nothing to undo any more', async () => {
  const { sagaId } = await sagas.run()
  expect(await plan(sagaId)).toEqual(nothing)
  await sagas.closing(sagaId)
  expect(await asked(sagaId)).toEqual(nothing)
})

test.concurrent('a saga that was skipped or resolved in part plans only what is left', async () => {
  const sagaId = randomUUID()
  refusing.add(`${sagaId} charge`)
  broken.add(`${sagaId} hotel`)
  broken.add(`${sagaId} flight`)
  await engine.start('tripSaga', { to: 'Zürich' }, { sagaId })
  await engine.sagas.logged(sagaId, 'COMPENSATE_hotel stuck')
  const to = { to: 'Zürich' }
  const both = { steps: [undo('hotel', 'hotel', to), undo('flight', 'flight', to)] }
  expect(await plan(sagaId, engine.sagas)).toEqual(both)
  expect(await asked(sagaId, engine.sagas)).toEqual(both)

  const decision = { action: 'skip', reason: 'leave it', actor: 'grace' }
  await engine.sagas.post(`/saga/${sagaId}/decision`, { step: 'hotel', ...decision })
  await engine.sagas.logged(sagaId, 'COMPENSATE_flight stuck')
  const one = { steps: [undo('flight', 'flight', to)] }
  expect(await plan(sagaId, engine.sagas)).toEqual(one)
  expect(await asked(sagaId, engine.sagas)).toEqual(one)

  await engine.sagas.post(`/saga/${sagaId}/decision`, { step: 'flight', ...decision })
  expect(await engine.sagas.ended(sagaId)).toMatchObject({ status: 'PARTIALLY_COMPENSATED' })
  expect(await plan(sagaId, engine.sagas)).toEqual(nothing)
})

test.concurrent('before its point of no return a saga plans its undo, and past it none', async () => {
  const sagaId = randomUUID()
  let open = () => {}
  gates.set(`${sagaId} charge`, new Promise((resolve) => (open = resolve)))
  refusing.add(`${sagaId} ticket`)
  await engine.start('tripSaga', { to: 'Zürich' }, { sagaId })
  await engine.sagas.logged(sagaId, 'hotel success 1')
  const to = { to: 'Zürich' }
  expect(await plan(sagaId, engine.sagas)).toEqual({
    steps: [undo('hotel', 'hotel', to), undo('flight', 'flight', to)],
  })
  open()
  await engine.sagas.logged(sagaId, 'ticket stuck')
  expect(await plan(sagaId, engine.sagas)).toEqual(nothing)
  expect(await engine.client.workflow.getHandle(sagaId).query('plan')).toEqual(nothing)
  await engine.sagas.post(`/saga/${sagaId}/decision`, {
    ...{ step: 'ticket', action: 'resolve', reason: 'sent by post', actor: 'grace' },
  })
  expect(await engine.sagas.ended(sagaId)).toMatchObject({ status: 'COMPLETED' })
})

testReplay(() => sagas)

test('every run of the engine replays', async () => {
  expect(await engine.replay()).toBe(engine.sagas.started.length)
})

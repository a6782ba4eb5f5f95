import { randomUUID } from 'node:crypto'
import { afterAll, expect, test } from '@jest/globals'
import { ApplicationFailure } from '@temporalio/common'
import type { DecisionsAccepted, DecisionsProgress } from '../../src/http/schemas/decisions.js'
import type { Saga } from '../../src/http/schemas/saga.js'
import { rejected } from '../../src/saga/errors.js'
import { effectService, startEngine } from '../helpers/engine.js'
import { startRelay } from '../helpers/relay.js'
import { nowhere, Sagas } from '../helpers/sagas.js'
import { query } from '../helpers/shared.js'
import { listeningAt, makeDatabase, makeNamespace, startProgram, startSystem } from '../helpers/system.js'
import { until } from '../helpers/until.js'

// Side by side on one engine: each test has an `error.type` of its own for its sagas, or a step that no other is stuck on.

/** Participants whose invoke refuses, each as "<saga> <service>". */
const refusing = new Set<string>()
/** What a participant's compensation fails with, likewise. */
const jams = new Map<string, string>()
/** What the work on a call waits for, by its actor. */
const gates = new Map<string, Promise<void>>()
/** Actors of calls whose first activity is given up for lost, while its work goes on behind. */
const lost = new Set<string>()

const names = ['first', 'second', 'third', 'room', 'breakfast', 'car', 'flight', 'hotel', 'charge', 'ticket', 'letter']
const engine = await startEngine('decisions', {
  workflows: new URL('../engine/decisions-sagas.ts', import.meta.url),
  services: names.map((name) =>
    effectService(name, {
      invoke({ sagaId }) {
        if (refusing.has(`${sagaId} ${name}`)) throw rejected(`${name} is sold out`)
      },
      compensate({ sagaId }) {
        const type = jams.get(`${sagaId} ${name}`)
        if (type) throw ApplicationFailure.create({ type, message: `${name} is jammed`, nonRetryable: true })
      },
    }),
  ),
  types: ['stackSaga', 'tripSaga', 'staySaga', 'roomSaga'],
  interceptors: {
    activity: [
      ({ info }) => ({
        inbound: {
          execute: async (input, next) => {
            if (info.activityType !== 'decideSome') return next(input)
            const [{ decisionsId }] = input.args as [{ decisionsId: string }]
            const actor = (await engine.decisions.get(decisionsId))?.actor ?? ''
            await gates.get(actor)
            if (!lost.delete(actor)) return next(input)
            void next(input).catch(() => {})
            throw new Error('its worker is gone')
          },
        },
      }),
    ],
  },
})
const { sagas, client } = engine

// API + worker that can be killed; and an API whose wire to Temporal can be cut.
const system = await startSystem('decisions-killed')
const killable = new Sagas(system.where)
const relay = await startRelay()
const away = { database: await makeDatabase('decisions-away'), namespace: 'decisions-away' }
await makeNamespace(away.namespace)
const awayApi = startProgram('api.js', 'decisions-away', {
  DATABASE_URL: away.database,
  TEMPORAL_ADDRESS: relay.address,
  TEMPORAL_NAMESPACE: away.namespace,
  PORT: '0',
})
const cutOff = new Sagas({ ...away, api: await listeningAt(awayApi) })

afterAll(async () => {
  await Promise.all([engine.stop(), system.stop(), awayApi.kill('SIGTERM')])
  await relay.stop()
})

const hers = { reason: 'looked at them', actor: 'grace' }

async function call(body: unknown, on = sagas) {
  const response = await on.post('/saga/decisions', body)
  const answer = (await response.json()) as DecisionsAccepted & { errors?: object[]; detail?: string }
  if (response.status === 202 && answer.matching > 0) on.started.push(`saga-decisions-${answer.decisionsId}`)
  return { status: response.status, headers: response.headers, answer }
}

async function progressOf({ decisionsId }: { decisionsId: string }, on = sagas): Promise<DecisionsProgress> {
  const response = await on.request(`/saga/decisions/${decisionsId}`)
  expect(response.status).toBe(200)
  return (await response.json()) as DecisionsProgress
}

/** How a call has ended. Survives an API that is away meanwhile. */
const over = (accepted: { decisionsId: string }, on = sagas) =>
  until(`the decisions ${accepted.decisionsId} are over`, async () => {
    const response = await on.request(`/saga/decisions/${accepted.decisionsId}`).catch(() => undefined)
    const progress = response?.ok ? ((await response.json()) as DecisionsProgress) : undefined
    return progress?.endedAt !== undefined && progress
  })

const needsAttention = (sagaId: string, on = sagas) =>
  until(`${sagaId} needs attention`, async () => {
    const response = await on.request(`/saga/${sagaId}`)
    return response.ok && ((await response.json()) as Saga).status === 'NEEDS_ATTENTION'
  })

const words = async (sagaId: string, on = sagas) =>
  (await on.logRows(sagaId)).filter(({ status }) => status === 'decision').map(({ message }) => message)

const stuckRows = async (sagaId: string) => (await sagas.log(sagaId)).filter((row) => row.endsWith(' stuck')).length

/** A rolled back saga whose `second` can't be compensated, with an error of that type. */
async function startStuck(errorType: string): Promise<string> {
  const sagaId = randomUUID()
  refusing.add(`${sagaId} third`)
  jams.set(`${sagaId} second`, errorType)
  await engine.start('stackSaga', { to: 'Zürich' }, { sagaId })
  await needsAttention(sagaId)
  return sagaId
}

const manyStuck = (n: number, errorType: string) => Promise.all(Array.from({ length: n }, () => startStuck(errorType)))
const mend = (sagaIds: string[]) => sagaIds.forEach((sagaId) => jams.delete(`${sagaId} second`))

/** Retries by hand, in vain. */
async function retryInVain(sagaId: string, actor: string): Promise<void> {
  const before = await stuckRows(sagaId)
  const decision = { step: 'second', action: 'retry', reason: 'tried it alone', actor }
  expect((await sagas.post(`/saga/${sagaId}/decision`, decision)).status).toBe(200)
  await until(`${sagaId} is stuck again`, async () => (await stuckRows(sagaId)) === before + 1)
}

/** Keeps the calls of that actor from being worked on until the gate is opened. */
function hold(actor: string): () => void {
  let open = () => {}
  gates.set(actor, new Promise((resolve) => (open = resolve)))
  return open
}

// Begun before the others, for an undo takes 40 s to be given up.
const jammed = Promise.all(
  Array.from({ length: 8 }, async () => {
    const sagaId = await killable.start({
      C: { mode: 'always', kind: 'reject' },
      A: { mode: 'first', n: 8, on: 'compensate' },
    })
    await needsAttention(sagaId, killable)
    return sagaId
  }),
)
jammed.catch(() => {})

test.concurrent('all sagas that are stuck on a step with that error are retried, and no others', async () => {
  const [sagaIds, other] = await Promise.all([manyStuck(12, 'Full'), startStuck('FullToo')])
  mend(sagaIds)
  const filter = { step: 'second', errorType: 'Full' }
  const { status, headers, answer } = await call({
    ...{ filter: { step: ' second', errorType: 'Full ' }, action: 'retry' },
    ...{ reason: ' the disk is larger now ', actor: 'grace ', perSecond: 100 },
  })
  expect(status).toBe(202)
  const { decisionsId } = answer
  expect(answer).toEqual({
    decisionsId: expect.stringMatching(/^[\da-f-]{36}$/),
    matching: 12,
    links: {
      self: `/saga/decisions/${decisionsId}`,
      temporal: expect.stringContaining(`/workflows/saga-decisions-${decisionsId}`),
    },
  })
  expect(headers.get('location')).toBe(`/saga/decisions/${decisionsId}`)
  expect(await over(answer)).toEqual({
    ...{ decisionsId, filter, status: 'done', action: 'retry', reason: 'the disk is larger now', actor: 'grace' },
    ...{ perSecond: 100, stopAfterFailures: 10, matching: 12, decided: 12, failed: 0, failures: [] },
    ...{ startedAt: expect.any(String), endedAt: expect.any(String), links: answer.links },
  })
  for (const sagaId of sagaIds) {
    expect(await sagas.ended(sagaId)).toMatchObject({ status: 'COMPENSATED' })
    expect(await words(sagaId)).toEqual(['retry by grace: the disk is larger now'])
    expect(await engine.effects(sagaId)).toEqual([])
  }
  expect(await sagas.get(other)).toMatchObject({ status: 'NEEDS_ATTENTION' })
  expect(await words(other)).toEqual([])
})

test.concurrent.each([
  ['resolve', 'COMPENSATED', 'resolved'],
  ['skip', 'PARTIALLY_COMPENSATED', 'skipped'],
])('what is stuck is decided as %s', async (action, ending, compensation) => {
  const sagaIds = await manyStuck(3, `For-${action}`)
  const { answer } = await call({ filter: { step: 'second', errorType: `For-${action}` }, action, ...hers })
  expect(await over(answer)).toMatchObject({ status: 'done', matching: 3, decided: 3, failed: 0 })
  for (const sagaId of sagaIds) {
    const saga = await sagas.ended(sagaId)
    expect(saga.status).toBe(ending)
    expect(saga.compensations).toContainEqual(expect.objectContaining({ status: compensation, ...hers }))
  }
})

test.concurrent('what is refused is named, stops the call when it is too much, and leaves the rest untouched', async () => {
  const sagaIds = Array.from({ length: 5 }, () => randomUUID())
  for (const sagaId of sagaIds) {
    refusing.add(`${sagaId} ticket`)
    await engine.start('tripSaga', { to: 'Zürich' }, { sagaId })
    await needsAttention(sagaId)
  }
  // Behind the point of no return nothing can be skipped.
  const { answer } = await call({ filter: { step: 'ticket' }, action: 'skip', ...hers, stopAfterFailures: 3 })
  expect(await over(answer)).toMatchObject({
    ...{ status: 'stopped', stoppedBecause: 'it failed for 3 of the 3 that it tried' },
    ...{ filter: { step: 'ticket' }, matching: 5, decided: 0, failed: 3 },
    // The oldest first.
    failures: sagaIds
      .slice(0, 3)
      .map((sagaId) => ({ sagaId, step: 'ticket', message: expect.stringContaining("so it can't be skipped") })),
  })
  for (const sagaId of sagaIds) expect(await words(sagaId)).toEqual([])

  const again = await call({ filter: { step: 'ticket' }, action: 'resolve', ...hers })
  expect(await over(again.answer)).toMatchObject({ status: 'done', matching: 5, decided: 5 })
  for (const sagaId of sagaIds) expect(await sagas.ended(sagaId)).toMatchObject({ status: 'COMPLETED' })
})

test.concurrent('what has moved on since the call is a failure of its own, what got stuck since is not touched', async () => {
  const errorType = 'Moving'
  const [waiting, ended, retried, changed] = (await manyStuck(4, errorType)) as [string, string, string, string]
  const open = hold('hopper')
  const filter = { step: 'second', errorType }
  const { answer } = await call({ filter, action: 'skip', reason: 'no use', actor: 'hopper' })
  expect(await progressOf(answer)).toMatchObject({ status: 'running', matching: 4, decided: 0, failed: 0 })

  const byHand = { step: 'second', action: 'resolve', reason: 'done by hand', actor: 'ada' }
  expect((await sagas.post(`/saga/${ended}/decision`, byHand)).status).toBe(200)
  await sagas.ended(ended)
  await retryInVain(retried, 'ada')
  jams.set(`${changed} second`, 'AnotherError')
  await client.workflow.getHandle(changed).terminate('by mistake')
  await engine.starter.recover(changed, 'its run was terminated')
  await until(`${changed} is stuck again`, async () => (await stuckRows(changed)) === 2)
  const late = await startStuck(errorType)
  open()

  const { failures, ...progress } = await over(answer)
  expect(progress).toMatchObject({ status: 'done', matching: 4, decided: 1, failed: 3 })
  expect(Object.fromEntries(failures.map(({ sagaId, message }) => [sagaId, message]))).toEqual({
    [ended]: `Saga ${ended} has ended as COMPENSATED; there is nothing to decide.`,
    [retried]: expect.stringContaining('has been decided by ada meanwhile (retry), and is stuck again'),
    [changed]: expect.stringContaining('is stuck for another reason by now (AnotherError: second is jammed)'),
  })
  expect(await words(waiting)).toEqual(['skip by hopper: no use'])
  for (const sagaId of [retried, changed, late]) {
    expect(await sagas.get(sagaId)).toMatchObject({ status: 'NEEDS_ATTENTION' })
  }
  expect(await words(late)).toEqual([])
})

test.concurrent('of two calls at once on the same sagas one decides for each', async () => {
  const sagaIds = await manyStuck(10, 'Raced')
  mend(sagaIds)
  const body = { filter: { step: 'second', errorType: 'Raced' }, action: 'retry', ...hers }
  const calls = await Promise.all([1, 2].map(() => call({ ...body, perSecond: 100, stopAfterFailures: 1_000 })))
  const ends = await Promise.all(calls.map(({ answer }) => over(answer)))
  expect(ends.map(({ status }) => status)).toEqual(['done', 'done'])
  expect(ends.map(({ matching, decided, failed }) => decided + failed - matching)).toEqual([0, 0])
  expect(ends.reduce((sum, { decided }) => sum + decided, 0)).toBe(10)
  for (const sagaId of sagaIds) {
    expect(await sagas.ended(sagaId)).toMatchObject({ status: 'COMPENSATED' })
    expect(await words(sagaId)).toHaveLength(1)
  }
})

test.concurrent('a call whose activity is lost, repeated, and still at work decides once for each saga, at its rate', async () => {
  // Each is stuck again as soon as it is retried.
  const sagaIds = await manyStuck(20, 'Lost')
  lost.add('lovelace')
  const filter = { step: 'second', errorType: 'Lost' }
  const { answer } = await call({ filter, action: 'retry', reason: 'once more', actor: 'lovelace', perSecond: 10 })
  expect(await over(answer)).toMatchObject({ status: 'done', matching: 20, decided: 20, failed: 0 })
  const made: number[] = []
  for (const sagaId of sagaIds) {
    await until(`${sagaId} is stuck again`, async () => (await stuckRows(sagaId)) === 2)
    const rows = (await sagas.logRows(sagaId)).filter(({ status }) => status === 'decision')
    expect(rows.map(({ message }) => message)).toEqual(['retry by lovelace: once more'])
    made.push(...rows.map(({ createdAt }) => Date.parse(createdAt)))
  }
  const gaps = made.toSorted((a, b) => a - b).flatMap((at, i, all) => (i > 0 ? [at - (all[i - 1] ?? 0)] : []))
  // A tenth of a second by the clock that writes the rows, of which less than 1 ms is cut off.
  expect(Math.min(...gaps)).toBeGreaterThanOrEqual(99)
})

test.concurrent('a call whose worker is killed goes on where it was, and decides once for each saga', async () => {
  const sagaIds = await jammed
  const body = { filter: { step: 'A' }, action: 'retry', actor: 'grace', perSecond: 2 }
  const { answer } = await call({ ...body, reason: 'the holder of 4111 1111 1111 1234 was asked' }, killable)
  await until('some are decided', async () => (await progressOf(answer, killable)).decided > 2)
  await system.kill()
  await system.restart()
  expect(await over(answer, killable)).toMatchObject({
    ...{ status: 'done', matching: 8, decided: 8, failed: 0 },
    // With no secret of the sagas in it.
    reason: 'the holder of **** was asked',
  })
  for (const sagaId of sagaIds) {
    expect(await killable.ended(sagaId)).toMatchObject({ status: 'COMPENSATED' })
    expect(await words(sagaId, killable)).toEqual(['retry by grace: the holder of **** was asked'])
    expect(await killable.rows(sagaId)).toEqual(nowhere)
  }
})

test.concurrent('a call whose run is gone is started again by the sweep', async () => {
  const sagaIds = await manyStuck(3, 'Swept')
  mend(sagaIds)
  const open = hold('hamilton')
  const filter = { step: 'second', errorType: 'Swept' }
  const { answer } = await call({ filter, action: 'retry', reason: 'mended', actor: 'hamilton' })
  const run = client.workflow.getHandle(`saga-decisions-${answer.decisionsId}`)
  await run.terminate('by mistake')
  await query(
    sagas.where.database,
    `UPDATE saga_decisions SET started_at = now() - interval '1 hour' WHERE decisions_id = $1`,
    [answer.decisionsId],
  )
  await engine.sweep.sweep()
  expect((await run.describe()).status.name).toBe('RUNNING')
  open()
  expect(await over(answer)).toMatchObject({ status: 'done', decided: 3 })
  for (const sagaId of sagaIds) expect(await sagas.ended(sagaId)).toMatchObject({ status: 'COMPENSATED' })
})

test.concurrent('a call whose run is cancelled stops, and leaves the rest untouched', async () => {
  const sagaId = await startStuck('Stopped')
  const open = hold('franklin')
  const filter = { step: 'second', errorType: 'Stopped' }
  const { answer } = await call({ filter, action: 'skip', reason: 'no use', actor: 'franklin' })
  await client.workflow.getHandle(`saga-decisions-${answer.decisionsId}`).cancel()
  const stopped = { status: 'stopped', stoppedBecause: 'its run was cancelled', matching: 1, decided: 0, failed: 0 }
  expect(await over(answer)).toMatchObject(stopped)
  open()
  await expect(client.workflow.getHandle(`saga-decisions-${answer.decisionsId}`).result()).rejects.toThrow(
    'Workflow execution cancelled',
  )
  expect(await sagas.get(sagaId)).toMatchObject({ status: 'NEEDS_ATTENTION' })
  expect(await words(sagaId)).toEqual([])
})

test.concurrent('a call whose history has grown long goes on in a new run', async () => {
  const sagaIds = await manyStuck(7, 'Long')
  mend(sagaIds)
  const open = hold('noether')
  const filter = { step: 'second', errorType: 'Long' }
  const { answer } = await call({ filter, action: 'retry', reason: 'mended', actor: 'noether', perSecond: 1 })
  const run = client.workflow.getHandle(`saga-decisions-${answer.decisionsId}`)
  const { runId } = await run.describe()
  // Nobody listens to these.
  await Promise.all(Array.from({ length: 500 }, () => run.signal('nudge')))
  open()
  expect(await over(answer)).toMatchObject({ status: 'done', decided: 7 })
  expect((await run.describe()).runId).not.toBe(runId)
  for (const sagaId of sagaIds) expect(await words(sagaId)).toEqual(['retry by noether: mended'])
})

test.concurrent('a run that is started by hand, with no call behind it, fails', async () => {
  const workflowId = `saga-decisions-${randomUUID()}`
  const options = { workflowId, taskQueue: 'saga', args: [{ decisionsId: 'unheard-of' }] }
  await expect(client.workflow.execute('sagaDecisions', options)).rejects.toMatchObject({
    cause: { cause: { type: 'UnknownDecisions', message: expect.stringContaining('no decisions unheard-of') } },
  })
})

test.concurrent('a nested saga that waits is one of its own', async () => {
  const sagaId = randomUUID()
  refusing.add(`${sagaId} car`)
  jams.set(`${sagaId}.hotel room`, 'Locked')
  await engine.start('staySaga', { to: 'Zürich' }, { sagaId })
  await needsAttention(`${sagaId}.hotel`)
  const { answer } = await call({ filter: { step: 'room' }, action: 'resolve', ...hers })
  expect(await over(answer)).toMatchObject({ status: 'done', matching: 1, decided: 1 })
  expect(await sagas.ended(sagaId)).toMatchObject({ status: 'COMPENSATED' })
  expect(await words(`${sagaId}.hotel`)).toEqual(['resolve by grace: looked at them'])
})

test.concurrent('a call that would match another number than was expected decides nothing', async () => {
  const sagaIds = await manyStuck(2, 'Counted')
  const order = { filter: { step: 'second', errorType: 'Counted' }, action: 'resolve', ...hers }
  for (const expected of [1, 3]) {
    const { status, answer } = await call({ ...order, expected })
    expect({ status, ...answer }).toMatchObject({
      ...{ status: 409, matching: 2 },
      detail: `${expected} sagas were expected to be stuck on second with Counted, and it would be 2. Nothing was decided.`,
    })
  }
  for (const sagaId of sagaIds) expect(await words(sagaId)).toEqual([])

  const { status, answer } = await call({ ...order, expected: 2 })
  expect({ status, matching: answer.matching }).toEqual({ status: 202, matching: 2 })
  expect(await over(answer)).toMatchObject({ status: 'done', matching: 2, decided: 2 })
})

test.concurrent('a call that matches nothing is done at once', async () => {
  for (const filter of [{ step: 'unheard-of' }, { step: 'second', errorType: 'Unheard' }]) {
    const { status, answer } = await call({ filter, action: 'retry', ...hers })
    expect({ status, matching: answer.matching }).toEqual({ status: 202, matching: 0 })
    expect(await progressOf(answer)).toMatchObject({
      ...{ status: 'done', matching: 0, decided: 0, failed: 0, failures: [], endedAt: expect.any(String) },
    })
  }
})

test.concurrent('a call that is not right is refused with the place, and nothing is written', async () => {
  const sagaId = await startStuck('Untouched')
  const filter = { step: 'second', errorType: 'Untouched' }
  const right = { filter, action: 'skip', reason: 'because', actor: 'nobody' }
  const { filter: _f, ...noFilter } = right
  const { action: _a, ...noAction } = right
  const { reason: _r, ...noReason } = right
  const { actor: _n, ...noActor } = right
  const bodies: [body: unknown, path: string][] = [
    [noFilter, '/filter'],
    [noAction, '/action'],
    [noReason, '/reason'],
    [noActor, '/actor'],
    [{ ...right, filter: {} }, '/filter/step'],
    [{ ...right, filter: 'second' }, '/filter'],
    [{ ...right, filter: null }, '/filter'],
    [{ ...right, filter: ['second'] }, '/filter'],
    [{ ...right, filter: { step: '' } }, '/filter/step'],
    [{ ...right, filter: { step: ' \u200b ' } }, '/filter/step'],
    [{ ...right, filter: { step: 7 } }, '/filter/step'],
    [{ ...right, filter: { step: 's'.repeat(256) } }, '/filter/step'],
    [{ ...right, filter: { ...filter, errorType: '' } }, '/filter/errorType'],
    [{ ...right, filter: { ...filter, errorType: null } }, '/filter/errorType'],
    [{ ...right, filter: { ...filter, errorType: 'a\u0000' } }, '/filter/errorType'],
    [{ ...right, filter: { ...filter, status: 'stuck' } }, '/filter/status'],
    [{ ...right, action: 'cancel' }, '/action'],
    [{ ...right, action: 'Skip' }, '/action'],
    [{ ...right, reason: 'r'.repeat(501) }, '/reason'],
    [{ ...right, reason: 'a\ud800' }, '/reason'],
    [{ ...right, actor: 'a'.repeat(101) }, '/actor'],
    [{ ...right, perSecond: 0 }, '/perSecond'],
    [{ ...right, perSecond: 101 }, '/perSecond'],
    [{ ...right, perSecond: 1.5 }, '/perSecond'],
    [{ ...right, perSecond: '10' }, '/perSecond'],
    [{ ...right, stopAfterFailures: 0 }, '/stopAfterFailures'],
    [{ ...right, stopAfterFailures: 1_001 }, '/stopAfterFailures'],
    [{ ...right, stopAfterFailures: null }, '/stopAfterFailures'],
    [{ ...right, input: { to: 'Bern' } }, '/input'],
    [{ ...right, step: 'second' }, '/step'],
    [[], ''],
    ['null', ''],
  ]
  for (const [body, path] of bodies) {
    const { status, answer } = await call(body)
    expect({ body, status, errors: answer.errors }).toMatchObject({ body, status: 400, errors: [{ path }] })
  }
  expect(await call('{')).toMatchObject({ status: 400, answer: { status: 400 } })
  const written = await query(sagas.where.database, `SELECT FROM saga_decisions WHERE actor = 'nobody'`)
  expect(written).toEqual([])
  expect(await sagas.get(sagaId)).toMatchObject({ status: 'NEEDS_ATTENTION' })
})

test.concurrent.each([
  [randomUUID(), 404],
  ['nonsense', 404],
  ['events', 404],
  ["'; DROP TABLE saga_decisions; --", 404],
  ['\u0000', 400],
  ['x'.repeat(256), 400],
])('of decisions %j there are none: %d', async (id, status) => {
  const response = await sagas.request(`/saga/decisions/${encodeURIComponent(id)}`)
  expect(response.headers.get('content-type')).toContain('application/problem+json')
  expect(await response.json()).toMatchObject({ status })
})

test.concurrent('a saga whose id is "decisions" is read, cancelled and decided like any other', async () => {
  refusing.add('decisions third')
  jams.set('decisions second', 'Named')
  expect((await sagas.request('/saga/decisions')).status).toBe(404)
  await engine.start('stackSaga', { to: 'Zürich' }, { sagaId: 'decisions' })
  await needsAttention('decisions')
  expect((await sagas.post('/saga/decisions/cancel', { reason: 'no longer needed' })).status).toBe(202)
  const decision = { step: 'second', action: 'resolve', ...hers }
  expect((await sagas.post('/saga/decisions/decision', decision)).status).toBe(200)
  expect(await sagas.ended('decisions')).toMatchObject({ status: 'COMPENSATED' })
})

test.concurrent('while Temporal is away nothing is written', async () => {
  relay.cut()
  await until('the API knows that Temporal is away', async () => {
    const ready = (await (await cutOff.request('/health/ready')).json()) as { temporal: string }
    return ready.temporal === 'away'
  })
  const { status, headers, answer } = await call({ filter: { step: 'A' }, action: 'retry', ...hers }, cutOff)
  expect({ status, detail: answer.detail }).toEqual({
    status: 503,
    detail: 'Temporal is away. Nothing was written; try again.',
  })
  expect(headers.get('retry-after')).not.toBeNull()
  expect(await query(away.database, 'SELECT FROM saga_decisions')).toEqual([])
})

test('every run replays', async () => {
  expect(await engine.replay()).toBeGreaterThan(0)
})

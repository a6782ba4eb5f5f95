import { randomUUID } from 'node:crypto'
import { afterAll, expect, test } from '@jest/globals'
import type { Saga } from '../../src/http/schemas/saga.js'
import type { FailuresInput } from '../../src/saga/failure.js'
import { ada, everywhere, nowhere, Sagas, testReplay } from '../helpers/sagas.js'
import { query, readShared } from '../helpers/shared.js'
import { listeningAt, makeProgramEnv, startProgram, startSystem } from '../helpers/system.js'
import { until } from '../helpers/until.js'

const sagas = new Sagas(readShared().system)

// A system with room for one saga, whose namespace knows SagaStatus; and one of separate programs, that can die.
const single = await startSystem('decision-single', { MAX_OPEN_SAGAS: '1' })
const singles = new Sagas(single.where)
await singles.temporal('operator', 'search-attribute', 'create', '--name', 'SagaStatus', '--type', 'Keyword')
const env = await makeProgramEnv('decision-programs')
let worker = startProgram('worker.js', 'decision-worker', env)
let api = startProgram('api.js', 'decision-api', { ...env, PORT: '0' })
const apiUrl = await listeningAt(api)
const programs = new Sagas({
  api: apiUrl,
  database: env['DATABASE_URL'] ?? '',
  namespace: env['TEMPORAL_NAMESPACE'] ?? '',
})
afterAll(async () => {
  await Promise.all([single.stop(), api.kill('SIGTERM'), worker.kill('SIGTERM')])
})

const hers = { reason: 'looked at it', actor: 'grace' }

async function decide(sagaId: string, decision: object | string, on = sagas) {
  const response = await on.post(`/saga/${encodeURIComponent(sagaId)}/decision`, decision)
  return { status: response.status, type: response.headers.get('content-type'), answer: await response.json() }
}

const needsAttention = (sagaId: string, on = sagas) =>
  until(
    `${sagaId} needs attention`,
    async () => {
      const response = await on.request(`/saga/${sagaId}`).catch(() => undefined)
      const saga = response?.ok ? ((await response.json()) as Saga) : undefined
      return saga?.status === 'NEEDS_ATTENTION' && saga
    },
    { timeoutMs: 100_000 },
  )

const words = async (sagaId: string, on = sagas) =>
  (await on.logRows(sagaId)).filter(({ status }) => status === 'decision').map(({ message }) => message)

/** What keeps an undo from being done: as often as its policy tries it, or for ever. */
const jammed: FailuresInput[string] = { mode: 'first', n: 8, on: 'compensate' }
const broken: FailuresInput[string] = { mode: 'always', on: 'compensate' }
const refusedC: FailuresInput = { C: { mode: 'always', kind: 'reject' } }

/** A saga, and what it is once it needs attention. */
interface Parked {
  sagaId: string
  parked: Promise<Saga>
}

/** Begins a saga whose undo will get stuck. */
function park(failures: FailuresInput, on = sagas): Promise<Parked> {
  const begun = on.start({ ...refusedC, ...failures }).then((sagaId) => {
    const parked = needsAttention(sagaId, on)
    parked.catch(() => {})
    return { sagaId, parked }
  })
  // It may fail before the test that wants it has begun.
  begun.catch(() => {})
  return begun
}

// All begun together, for an undo takes 40 s to be given up.
const behindB = park({ B: { ...jammed, n: 10 } })
const retriedA = park({ A: jammed })
const resolvedA = park({ A: { ...broken, when: 'after' } })
const skippedA = park({ A: broken })
const decidedByCli = park({ A: jammed })
const decidedBadly = park({ A: jammed })
const unlisted = park({ A: jammed })
const racedBy2 = park({ A: { ...broken, when: 'after' } })
const racedBy10 = park({ A: { ...broken, when: 'after' } })
const outlivingAll = park({ A: jammed }, programs)
const outlivingWorker = park({ B: jammed }, programs)
const listed = park({ A: jammed }, singles)

/** One whose user somebody else has begun to use: its undo meets a foreign key. */
const obstructed = (async () => {
  const sagaId = await sagas.start({
    C: [
      { mode: 'first', n: 1, kind: 'hang' },
      { mode: 'always', kind: 'reject' },
    ],
  })
  await sagas.logged(sagaId, 'B success 1')
  await query(
    sagas.where.database,
    `INSERT INTO table_b (user_id, address, saga_id) SELECT id, 'elsewhere', 'of another saga' FROM table_a WHERE saga_id = $1`,
    [sagaId],
  )
  await needsAttention(sagaId)
  return sagaId
})()
obstructed.catch(() => {})
const waited = sagas.post('/saga?wait=60', { ...ada, failures: { ...refusedC, A: jammed } })
waited.catch(() => {})

test.concurrent('a stuck undo makes the saga need attention, says what to do, and holds those behind it', async () => {
  const { sagaId, parked } = await behindB
  expect(await parked).toMatchObject({
    status: 'NEEDS_ATTENTION',
    failedStep: 'C',
    compensations: [
      { step: 'C', status: 'empty' },
      { step: 'B', status: 'stuck', attempts: 8, error: { type: 'OutcomeUnknown' } },
      { step: 'A', status: 'pending', attempts: 0 },
    ],
  })
  expect(await parked).not.toHaveProperty('endedAt')
  expect(await sagas.log(sagaId)).toEqual([
    'SAGA started',
    ...['A success 1', 'B success 1', 'C failed 1'],
    'ROLLBACK triggered',
    'COMPENSATE_C skipped 1',
    ...[1, 2, 3, 4, 5, 6, 7, 8].map((attempt) => `COMPENSATE_B failed ${attempt}`),
    'COMPENSATE_B stuck',
  ])
  const stuck = (await sagas.logRows(sagaId)).at(-1)
  expect(stuck?.message).toMatch(
    new RegExp(
      `^Compensating B of saga ${sagaId} failed 8 times \\(.+\\)\\. Remove .+, then decide: retry, resolve .+ or skip`,
    ),
  )
  expect(await sagas.rows(sagaId)).toEqual({ a: 1, b: 1, c: 0 })

  // Decided by one who looks at it: done again, and what is behind it too.
  const { status, answer } = await decide(sagaId, {
    step: 'B',
    action: 'retry',
    reason: ' looked at it ',
    actor: 'grace ',
  })
  expect(status).toBe(200)
  expect(answer).toMatchObject({ sagaId, links: { self: `/saga/${sagaId}` } })
  expect(['COMPENSATING', 'COMPENSATED']).toContain(answer.status)
  expect(await sagas.ended(sagaId)).toMatchObject({
    status: 'COMPENSATED',
    compensations: [{}, { step: 'B', status: 'done', attempts: 11, ...hers }, { step: 'A', status: 'done' }],
  })
  expect((await sagas.log(sagaId)).slice(-9)).toEqual([
    ...['COMPENSATE_B decision', 'COMPENSATE_B failed 9', 'COMPENSATE_B failed 10', 'COMPENSATE_B success 11'],
    'COMPENSATE_A success 1',
    ...['COMPENSATE_C verified', 'COMPENSATE_B verified', 'COMPENSATE_A verified'],
    'SAGA compensated',
  ])
  expect(await words(sagaId)).toEqual(['retry by grace: looked at it'])
  expect(await sagas.rows(sagaId)).toEqual(nowhere)
  expect(await sagas.closing(sagaId)).toMatchObject({ status: 'FAILED', failure: { type: 'SagaCompensated' } })
})

test.concurrent('whoever waits for the end is answered when the saga needs attention', async () => {
  const answer = await waited
  const saga = (await answer.json()) as Saga
  sagas.started.push(saga.sagaId)
  expect({ status: answer.status, saga }).toMatchObject({ status: 200, saga: { status: 'NEEDS_ATTENTION' } })
  await decide(saga.sagaId, { step: 'A', action: 'retry', ...hers })
  expect(await sagas.ended(saga.sagaId)).toMatchObject({ status: 'COMPENSATED' })
})

test.concurrent('a retry that succeeds compensates the saga', async () => {
  const { sagaId, parked } = await retriedA
  await parked
  expect(await decide(sagaId, { step: 'A', action: 'retry', ...hers })).toMatchObject({ status: 200 })
  expect(await sagas.ended(sagaId)).toMatchObject({ status: 'COMPENSATED' })
  expect(await sagas.rows(sagaId)).toEqual(nowhere)
})

test.concurrent('what stands in the way of an undo is named, and once it is removed a retry succeeds', async () => {
  const sagaId = await obstructed
  const stuck = (await sagas.logRows(sagaId)).at(-1)
  expect(stuck).toMatchObject({ service: 'COMPENSATE_A', status: 'stuck' })
  expect(stuck?.message).toContain('SQLSTATE 23503 on table_b')
  await query(
    sagas.where.database,
    `DELETE FROM table_b WHERE saga_id = 'of another saga' AND user_id = (SELECT id FROM table_a WHERE saga_id = $1)`,
    [sagaId],
  )
  await decide(sagaId, { step: 'A', action: 'retry', ...hers })
  expect(await sagas.ended(sagaId)).toMatchObject({ status: 'COMPENSATED' })
  expect(await sagas.rows(sagaId)).toEqual(nowhere)
})

test.concurrent('what a person has done by hand counts as compensated', async () => {
  const { sagaId, parked } = await resolvedA
  await parked
  expect(await decide(sagaId, { step: 'A', action: 'resolve', ...hers })).toMatchObject({ status: 200 })
  expect(await sagas.ended(sagaId)).toMatchObject({
    status: 'COMPENSATED',
    compensations: [{}, {}, { step: 'A', status: 'resolved', ...hers }],
  })
  const rows = await sagas.logRows(sagaId)
  expect(rows.at(-1)).toMatchObject({
    service: 'SAGA',
    status: 'compensated',
    message: expect.stringContaining('A: done by hand'),
  })
  expect(await sagas.log(sagaId)).toContain('COMPENSATE_A verified')
  expect(await sagas.rows(sagaId)).toEqual(nowhere)
})

test.concurrent('what a person leaves makes the saga compensated in part, and says so everywhere', async () => {
  const { sagaId, parked } = await skippedA
  await parked
  expect(await decide(sagaId, { step: 'A', action: 'skip', ...hers })).toMatchObject({ status: 200 })
  expect(await sagas.ended(sagaId)).toMatchObject({
    status: 'PARTIALLY_COMPENSATED',
    compensations: [{}, { status: 'done' }, { step: 'A', status: 'skipped', ...hers }],
  })
  expect(await sagas.rows(sagaId)).toEqual({ a: 1, b: 0, c: 0 })
  const [{ id } = { id: 0 }] = await query<{ id: number }>(
    sagas.where.database,
    'SELECT id FROM table_a WHERE saga_id = $1',
    [sagaId],
  )
  const rows = (await sagas.logRows(sagaId)).map(({ service, status, message }) => ({ service, status, message }))
  expect(rows.slice(-6)).toEqual([
    { service: 'COMPENSATE_A', status: 'decision', message: 'skip by grace: looked at it' },
    { service: 'COMPENSATE_A', status: 'skipped', message: 'left as it is by grace: looked at it' },
    { service: 'COMPENSATE_C', status: 'verified', message: expect.anything() },
    { service: 'COMPENSATE_B', status: 'verified', message: expect.anything() },
    { service: 'COMPENSATE_A', status: 'residue', message: `still there: table_a ${id}` },
    { service: 'SAGA', status: 'compensated', message: 'in part: C: nothing to undo, B: undone, A: left as it is' },
  ])
  expect(await sagas.closing(sagaId)).toMatchObject({
    status: 'FAILED',
    failure: {
      type: 'SagaCompensated',
      message: expect.stringContaining('compensated in part'),
      details: { compensations: [{ step: 'C' }, { step: 'B' }, { step: 'A', status: 'skipped', ...hers }] },
    },
  })
  await query(sagas.where.database, 'DELETE FROM table_a WHERE saga_id = $1', [sagaId])
})

const good = { step: 'A', action: 'retry', ...hers }
const badDecisions: [what: string, body: unknown, path: string][] = [
  ['nothing in it', {}, '/step'],
  ['no step', { ...good, step: undefined }, '/step'],
  ['an empty step', { ...good, step: '' }, '/step'],
  ['a step that is no text', { ...good, step: 1 }, '/step'],
  ['a step too long', { ...good, step: 's'.repeat(256) }, '/step'],
  ['no action', { ...good, action: undefined }, '/action'],
  ['an unknown action', { ...good, action: 'undo' }, '/action'],
  ['an action in capitals', { ...good, action: 'Retry' }, '/action'],
  ['an action that is no text', { ...good, action: null }, '/action'],
  ['no reason', { ...good, reason: undefined }, '/reason'],
  ['an empty reason', { ...good, reason: '' }, '/reason'],
  ['a reason of nothing visible', { ...good, reason: ' \u200b ' }, '/reason'],
  ['a reason that is no text', { ...good, reason: 1 }, '/reason'],
  ['a reason too long', { ...good, reason: 'r'.repeat(501) }, '/reason'],
  ['a reason with a NUL', { ...good, reason: 'a\u0000b' }, '/reason'],
  ['a reason of two lines', { ...good, reason: 'a\nb' }, '/reason'],
  ['half a character', { ...good, reason: 'a\ud800' }, '/reason'],
  ['no actor', { ...good, actor: undefined }, '/actor'],
  ['an empty actor', { ...good, actor: '' }, '/actor'],
  ['an actor that is no text', { ...good, actor: ['grace'] }, '/actor'],
  ['an actor too long', { ...good, actor: 'a'.repeat(101) }, '/actor'],
  ['an actor with a control character', { ...good, actor: 'a\tb' }, '/actor'],
  ['an unknown field', { ...good, force: true }, '/force'],
  ['a number of its own', { ...good, number: 1 }, '/number'],
  ['an input with resolve', { ...good, action: 'resolve', input: {} }, '/input'],
  ['an input with skip', { ...good, action: 'skip', input: null }, '/input'],
  ['a list', [good], ''],
  ['null', 'null', ''],
  ['a text', '"retry"', ''],
]

test.concurrent('a decision that is not right, or not due, is refused, and the saga waits on', async () => {
  const { sagaId, parked } = await decidedBadly
  const before = await parked
  for (const [what, body, path] of badDecisions) {
    const { status, type, answer } = await decide(sagaId, body as object | string)
    expect({ what, status, type, errors: answer.errors }).toMatchObject({
      what,
      status: 400,
      type: expect.stringContaining('application/problem+json'),
      errors: expect.arrayContaining([{ path, message: expect.stringMatching(/./) }]),
    })
  }
  expect(await decide(sagaId, '{')).toMatchObject({ status: 400 })
  for (const step of ['B', 'C', 'D', 'a']) {
    expect(await decide(sagaId, { ...good, step })).toMatchObject({
      status: 409,
      answer: {
        title: 'Conflict',
        detail: expect.stringMatching(/does not wait for a decision on .\. It waits on A\./),
      },
    })
  }
  expect(await sagas.get(sagaId)).toEqual(before)

  // Decided: the same again is an answer that was lost, another one comes too late.
  const reason = `${'🙃'.repeat(400)} card ${ada.payment}`
  const decision = { ...good, reason, actor: 'a'.repeat(100) }
  expect(await decide(sagaId, decision)).toMatchObject({ status: 200 })
  expect(await decide(sagaId, decision)).toMatchObject({ status: 200 })
  expect(await decide(sagaId, { ...good, actor: 'ada' })).toMatchObject({ status: 409 })
  const saga = await sagas.ended(sagaId)
  expect(await decide(sagaId, decision)).toMatchObject({ status: 200, answer: { status: 'COMPENSATED' } })
  const late = await decide(sagaId, { ...good, actor: 'ada' })
  expect(late).toMatchObject({ status: 409, answer: { detail: expect.stringContaining('has ended as COMPENSATED') } })
  expect(await sagas.get(sagaId)).toEqual(saga)
  // A payment in the words of a decision is masked like any other.
  expect(await words(sagaId)).toEqual([`retry by ${decision.actor}: ${'🙃'.repeat(400)} card ****`])
  expect(JSON.stringify(saga)).not.toContain(ada.payment)
})

test.concurrent('a saga that does not wait, or is not there, takes no decision', async () => {
  const running = await sagas.start({ C: { mode: 'first', n: 1, kind: 'hang' } })
  await sagas.logged(running, 'B success 1')
  expect(await decide(running, good)).toMatchObject({
    status: 409,
    type: expect.stringContaining('application/problem+json'),
    answer: { detail: expect.stringContaining('RUNNING') },
  })
  expect(await sagas.ended(running)).toMatchObject({ status: 'COMPLETED' })
  expect(await decide(running, good)).toMatchObject({
    status: 409,
    answer: { detail: expect.stringContaining('has ended as COMPLETED') },
  })
  expect(await words(running)).toEqual([])
  expect(await sagas.rows(running)).toEqual(everywhere)
  const unknown = randomUUID()
  expect(await decide(unknown, good)).toMatchObject({
    status: 404,
    answer: { detail: expect.stringContaining(unknown) },
  })
})

test.concurrent.each([
  [2, racedBy2],
  [10, racedBy10],
])('of %i decisions at once one is taken', async (count, raced) => {
  const { sagaId, parked } = await raced
  await parked
  const decisions = Array.from({ length: count }, (_, i) => ({
    step: 'A',
    action: i % 2 === 0 ? 'resolve' : 'skip',
    reason: `reason ${i}`,
    actor: `actor ${i}`,
  }))
  const answers = await Promise.all(decisions.map((decision) => decide(sagaId, decision)))
  expect(answers.map(({ status }) => status).filter((status) => status !== 409)).toEqual([200])
  const winner = decisions[answers.findIndex(({ status }) => status === 200)]
  expect(await sagas.ended(sagaId)).toMatchObject({
    status: winner?.action === 'resolve' ? 'COMPENSATED' : 'PARTIALLY_COMPENSATED',
  })
  expect(await words(sagaId)).toEqual([`${winner?.action} by ${winner?.actor}: ${winner?.reason}`])
})

test.concurrent('a decision by the temporal CLI leaves the same rows; one that is not right leaves no event', async () => {
  const { sagaId, parked } = await decidedByCli
  await parked
  const update = (decision: object) =>
    sagas.temporal(
      ...['workflow', 'update', 'execute', '-w', sagaId, '--name', 'decide'],
      ...['--input', JSON.stringify(decision), '--output', 'json'],
    )
  const ask = async (type: string) => {
    const answer = await sagas.temporal('workflow', 'query', '-w', sagaId, '--type', type, '--output', 'json')
    return JSON.parse(answer).queryResult[0]
  }
  const events = async () =>
    JSON.parse(await sagas.temporal('workflow', 'show', '-w', sagaId, '--output', 'json')).events.length

  const { links, ...saga } = await parked
  expect(await ask('state')).toEqual(saga)
  expect(await ask('plan')).toEqual(await (await sagas.request(`/saga/${sagaId}/plan`)).json())

  const before = await events()
  for (const bad of [
    { ...good, actor: '' },
    { ...good, action: 'undo' },
    { ...good, step: 'B' },
    { ...good, x: 1 },
  ]) {
    await expect(update(bad)).rejects.toThrow(/DecisionRefused/)
  }
  expect(await events()).toBe(before)

  const answer = JSON.parse(await update(good))
  expect(answer.result).toMatchObject({ sagaId, compensations: [{}, {}, { step: 'A', ...hers }] })
  expect(await sagas.ended(sagaId)).toMatchObject({ status: 'COMPENSATED' })
  expect((await sagas.log(sagaId)).slice(-7)).toEqual([
    ...['COMPENSATE_A stuck', 'COMPENSATE_A decision', 'COMPENSATE_A success 9'],
    ...['COMPENSATE_C verified', 'COMPENSATE_B verified', 'COMPENSATE_A verified'],
    'SAGA compensated',
  ])
  expect(await words(sagaId)).toEqual(['retry by grace: looked at it'])
})

test.concurrent("a saga that waits takes no place of MAX_OPEN_SAGAS; it is found by its SagaStatus, and so is one that inherits another's", async () => {
  const { sagaId, parked } = await listed
  await parked
  const found = (status: string) =>
    until(`SagaStatus of ${sagaId} is ${status}`, async () => {
      const list = JSON.parse(
        await singles.temporal('workflow', 'list', '--query', `SagaStatus="${status}"`, '--output', 'json'),
      )
      return list.length > 0 && list.map((one: { execution: { workflowId: string } }) => one.execution.workflowId)
    })
  expect(await found('NEEDS_ATTENTION')).toEqual([sagaId])
  const running = await singles.start({ C: { mode: 'first', n: 1, kind: 'hang' } })
  expect((await singles.post('/saga', ada)).status).toBe(503)
  expect(await singles.ended(running)).toMatchObject({ status: 'COMPLETED' })

  await decide(sagaId, { ...good }, singles)
  expect(await singles.ended(sagaId)).toMatchObject({ status: 'COMPENSATED' })
  expect(await found('COMPENSATED')).toEqual([sagaId])

  // As a run does that another one has continued in.
  const started = `status-${randomUUID()}`
  await singles.temporal(
    ...['workflow', 'start', '--type', 'createUserSaga', '--task-queue', 'saga', '--workflow-id', started],
    ...['--input', JSON.stringify({ ...ada, failures: {} }), '--search-attribute', 'SagaStatus="NEEDS_ATTENTION"'],
  )
  expect(await singles.ended(started)).toMatchObject({ status: 'COMPLETED' })
  await until('it is found as COMPLETED', async () => {
    const query = `SagaStatus="COMPLETED" AND WorkflowId="${started}"`
    return JSON.parse(await singles.temporal('workflow', 'list', '--query', query, '--output', 'json')).length === 1
  })
})

test.concurrent('a namespace without SagaStatus makes no workflow task fail', async () => {
  const { sagaId, parked } = await unlisted
  await parked
  await decide(sagaId, good)
  expect(await sagas.ended(sagaId)).toMatchObject({ status: 'COMPENSATED' })
  await sagas.closing(sagaId)
  const { events } = JSON.parse(await sagas.temporal('workflow', 'show', '-w', sagaId, '--output', 'json'))
  const types: string[] = events.map(({ eventType }: { eventType: string }) => eventType)
  expect(types.filter((type) => /WORKFLOW_TASK_FAILED|UPSERT/.test(type))).toEqual([])
})

test.concurrent('a saga that waits survives the death of everything, and a decision that finds no worker is acted on by the next', async () => {
  const { sagaId, parked } = await outlivingAll
  const late = await outlivingWorker
  await Promise.all([parked, late.parked])
  await Promise.all([api.kill('SIGKILL'), worker.kill('SIGKILL')])
  api = startProgram('api.js', 'decision-api', { ...env, PORT: new URL(apiUrl).port })
  await listeningAt(api)

  // No worker yet: the decision stands in the row, and is answered for.
  const early = await decide(late.sagaId, { step: 'B', action: 'retry', ...hers }, programs)
  expect(early).toMatchObject({ status: 200, answer: { status: 'COMPENSATING' } })
  expect(await decide(late.sagaId, { step: 'B', action: 'skip', ...hers }, programs)).toMatchObject({
    status: 409,
  })

  worker = startProgram('worker.js', 'decision-worker', env)
  expect(await programs.get(sagaId)).toMatchObject({ status: 'NEEDS_ATTENTION' })
  expect(await decide(sagaId, good, programs)).toMatchObject({ status: 200 })
  for (const id of [sagaId, late.sagaId]) {
    expect(await programs.ended(id)).toMatchObject({ status: 'COMPENSATED' })
    expect(await programs.rows(id)).toEqual(nowhere)
    expect(await words(id, programs)).toEqual(['retry by grace: looked at it'])
  }
})

testReplay(() => sagas)

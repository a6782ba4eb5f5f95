import { randomUUID } from 'node:crypto'
import { expect, test } from '@jest/globals'
import type { Problem } from '../../src/http/schemas/common.js'
import type { Saga } from '../../src/http/schemas/saga.js'
import { rawRequest } from '../helpers/raw.js'
import { ada, everywhere, nowhere, Sagas, testReplay } from '../helpers/sagas.js'
import { query, readShared } from '../helpers/shared.js'

const sagas = new Sagas(readShared().system)
const happy = { ...ada, failures: {} }

/** POST /saga, without failures unless the body says otherwise. */
async function start(options: { query?: string; headers?: Record<string, string>; body?: unknown } = {}) {
  const { query = '', headers = {}, body = happy } = options
  const response = await sagas.post(`/saga${query}`, body, headers)
  const answer = (await response.json()) as Saga & Pick<Problem, 'title' | 'errors'>
  if (response.ok && !sagas.started.includes(answer.sagaId)) sagas.started.push(answer.sagaId)
  return { status: response.status, headers: response.headers, answer }
}

/** How many sagas there are for a username that only one test uses. */
async function countSagas(username: string): Promise<number> {
  const [row] = await query<{ n: number }>(
    sagas.where.database,
    'SELECT count(*)::int AS n FROM saga WHERE label = $1',
    [username],
  )
  return row?.n ?? 0
}

test('a start is answered with 202, where the saga is to be found, and its links', async () => {
  const { status, headers, answer } = await start()
  const self = `/saga/${answer.sagaId}`
  expect(status).toBe(202)
  expect(headers.get('location')).toBe(self)
  expect(headers.get('preference-applied')).toBeNull()
  expect(headers.get('idempotent-replayed')).toBeNull()
  expect(answer).toEqual({
    sagaId: expect.stringMatching(/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/),
    status: 'RUNNING',
    links: {
      self,
      logs: `/logs?saga=${answer.sagaId}`,
      events: `${self}/events`,
      temporal: `${readShared().temporalUi}/namespaces/shared/workflows/${answer.sagaId}`,
    },
  })
  expect(await sagas.ended(answer.sagaId)).toMatchObject({ status: 'COMPLETED' })
})

test('two calls without a key are two sagas', async () => {
  const [one, other] = await Promise.all([start(), start()])
  expect(one.answer.sagaId).not.toBe(other.answer.sagaId)
})

test.each([
  { prefer: 'wait=60', applied: 'wait=60' },
  { prefer: 'wait=99999', applied: 'wait=60' },
  { prefer: 'return=minimal, Wait="30"; x=y', applied: 'wait=30' },
])('Prefer: $prefer is applied as $applied, and answers with the whole saga', async ({ prefer, applied }) => {
  const { status, headers, answer } = await start({ headers: { prefer } })
  expect(status).toBe(200)
  expect(headers.get('preference-applied')).toBe(applied)
  expect(headers.get('location')).toBe(`/saga/${answer.sagaId}`)
  expect(answer).toEqual(await sagas.get(answer.sagaId))
  expect(answer).toMatchObject({ status: 'COMPLETED', endedAt: expect.any(String) })
})

test.each([
  'wait=abc',
  'wait=-1',
  'wait=1.5',
  'wait',
  'wait=',
  '',
  'awaits=5',
  'respond-async',
  'respond-async, wait=5',
])('Prefer: "%s" waits for nothing', async (prefer) => {
  const { status, headers, answer } = await start({ headers: { prefer } })
  expect(status).toBe(202)
  expect(headers.get('preference-applied')).toBeNull()
  expect(answer.status).toBe('RUNNING')
})

test('?wait= answers with the whole saga, and goes before Prefer', async () => {
  const { status, headers, answer } = await start({ query: '?wait=60', headers: { prefer: 'wait=1' } })
  expect(status).toBe(200)
  expect(headers.get('preference-applied')).toBeNull()
  expect(answer.status).toBe('COMPLETED')
})

test('?wait=0 waits for nothing', async () => {
  expect(await start({ query: '?wait=0' })).toMatchObject({ status: 202, answer: { status: 'RUNNING' } })
})

test('an outcome that does not come in time is a 202, and the saga goes on', async () => {
  const body = { ...ada, failures: { C: { mode: 'first', n: 1, kind: 'hang' } } }
  const { status, headers, answer } = await start({ headers: { prefer: 'wait=1' }, body })
  expect(status).toBe(202)
  expect(headers.get('preference-applied')).toBe('wait=1')
  expect(answer).toMatchObject({ status: 'RUNNING', links: { self: `/saga/${answer.sagaId}` } })
  expect(answer).not.toHaveProperty('steps')
  expect(await sagas.ended(answer.sagaId)).toMatchObject({ status: 'COMPLETED' })
  expect(await sagas.rows(answer.sagaId)).toEqual(everywhere)
})

test.each([
  ...['-1', '61', '1.5', 'abc', '', '1e9', '1&wait=2'].map((value) => ({ query: `wait=${value}`, path: '/wait' })),
  ...['never', '', 'decided&until=ended'].map((value) => ({ query: `until=${value}`, path: '/until' })),
  { query: 'wiat=5', path: '/wiat' },
])('?$query is refused', async ({ query, path }) => {
  const username = `query ${randomUUID()}`
  const { status, answer } = await start({ query: `?${query}`, body: { ...happy, username } })
  expect(status).toBe(400)
  expect(answer.errors).toMatchObject([{ path }])
  expect(await countSagas(username)).toBe(0)
})

const slowUndo = {
  C: { mode: 'always', kind: 'reject' },
  A: { mode: 'first', n: 3, on: 'compensate' },
}

test('?until=decided answers once the saga rolls back; the undo goes on behind the answer', async () => {
  const { status, answer } = await start({ query: '?wait=60&until=decided', body: { ...ada, failures: slowUndo } })
  expect(status).toBe(200)
  expect(answer).toMatchObject({ status: 'COMPENSATING', failedStep: 'C', error: { type: 'Rejected' } })
  expect(answer).not.toHaveProperty('endedAt')
  expect(await sagas.ended(answer.sagaId)).toMatchObject({ status: 'COMPENSATED' })
  expect(await sagas.rows(answer.sagaId)).toEqual(nowhere)
})

test('?until=decided answers a saga that completes with its end', async () => {
  const { status, answer } = await start({ query: '?until=decided', headers: { prefer: 'wait=60' } })
  expect(status).toBe(200)
  expect(answer).toMatchObject({ status: 'COMPLETED', userId: expect.any(String) })
})

test('?until=ended answers once everything is undone', async () => {
  const { status, answer } = await start({ query: '?wait=60&until=ended', body: { ...ada, failures: slowUndo } })
  expect(status).toBe(200)
  expect(answer).toMatchObject({
    status: 'COMPENSATED',
    compensations: [{}, {}, { step: 'A', status: 'done', attempts: 4 }],
  })
  expect(await sagas.rows(answer.sagaId)).toEqual(nowhere)
})

test('20 calls at once with one key are one saga', async () => {
  const username = `key ${randomUUID()}`
  const calls = Array.from({ length: 20 }, () =>
    start({ headers: { 'idempotency-key': username.replace(' ', '-') }, body: { ...happy, username } }),
  )
  const answers = await Promise.all(calls)
  expect(answers.map(({ status }) => status)).toEqual(Array(20).fill(202))
  expect(new Set(answers.map(({ answer }) => answer.sagaId)).size).toBe(1)
  const replayed = answers.map(({ headers }) => headers.get('idempotent-replayed'))
  expect(replayed.filter((header) => header === 'true')).toHaveLength(19)
  expect(replayed.filter((header) => header === null)).toHaveLength(1)
  expect(await countSagas(username)).toBe(1)
  const sagaId = answers[0]?.answer.sagaId ?? ''
  expect(await sagas.ended(sagaId)).toMatchObject({ status: 'COMPLETED' })
  expect(await sagas.rows(sagaId)).toEqual(everywhere)
})

test('the same JSON in another layout, with other blanks around its texts and defaults spelled out, is the same', async () => {
  const headers = { 'idempotency-key': randomUUID() }
  const { username, address, payment } = ada
  const first = await start({ headers, body: { username, address, payment, failures: { A: { mode: 'none' } } } })
  const failures = { A: [{ on: 'invoke', kind: 'error', when: 'before', mode: 'none' }] }
  const body = JSON.stringify({ failures, payment: `\t${payment} `, address, username: ` ${username}` }, undefined, 4)
  const again = await start({ headers, body })
  expect(again.status).toBe(202)
  expect(again.headers.get('idempotent-replayed')).toBe('true')
  expect(again.headers.get('location')).toBe(first.headers.get('location'))
  expect(again.answer.sagaId).toBe(first.answer.sagaId)
})

test.each([
  { what: 'username', body: { ...happy, username: 'Ada' } },
  { what: 'payment', body: { ...happy, payment: `${ada.payment}5` } },
  { what: 'failures', body: { ...happy, failures: { C: { mode: 'none' } } } },
  { what: 'failures left out', body: ada },
])('a key that comes back with another body is refused ($what)', async ({ body }) => {
  const headers = { 'idempotency-key': randomUUID() }
  const first = await start({ headers })
  const other = await start({ headers, body })
  expect(other).toMatchObject({ status: 422, answer: { title: 'Unprocessable Entity' } })
  expect(other.headers.get('content-type')).toContain('application/problem+json')
  const again = await start({ headers })
  expect(again.answer.sagaId).toBe(first.answer.sagaId)
})

test('a refused call does not use up its key', async () => {
  const headers = { 'idempotency-key': randomUUID() }
  expect(await start({ headers, body: { ...happy, username: '' } })).toMatchObject({ status: 400 })
  expect(await start({ headers, query: '?wait=61' })).toMatchObject({ status: 400 })
  const { status, headers: answered } = await start({ headers })
  expect(status).toBe(202)
  expect(answered.get('idempotent-replayed')).toBeNull()
})

test.each([
  { failures: {}, ending: 'COMPLETED' },
  { failures: { C: { mode: 'always', kind: 'reject' } }, ending: 'COMPENSATED' },
])('a key holds after its saga has ended as $ending, and answers with that', async ({ failures, ending }) => {
  const headers = { 'idempotency-key': randomUUID() }
  const body = { ...ada, failures }
  const { answer } = await start({ headers, body, query: '?wait=60' })
  expect(answer.status).toBe(ending)
  const again = await start({ headers, body })
  expect(again).toMatchObject({ status: 202, answer: { sagaId: answer.sagaId, status: ending } })
  expect(again.headers.get('idempotent-replayed')).toBe('true')
  const whole = await start({ headers, body, query: '?wait=60' })
  expect(whole).toMatchObject({ status: 200, answer })
  expect(whole.headers.get('idempotent-replayed')).toBe('true')
})

test('a key of 128 visible characters is one', async () => {
  const key = randomUUID().padEnd(127, '!') + '~'
  const [first, again] = [
    await start({ headers: { 'idempotency-key': key } }),
    await start({ headers: { 'idempotency-key': key } }),
  ]
  expect(again.answer.sagaId).toBe(first.answer.sagaId)
})

test.each([
  { what: 'an empty key', key: '' },
  { what: 'a key of 129 characters', key: 'k'.repeat(129) },
  { what: 'a key with a blank inside', key: 'a b' },
  { what: 'a key beyond ASCII', key: 'clé' },
  { what: 'a key with a tab', key: 'a\tb' },
  { what: 'two keys', key: ['one', 'two'] },
  { what: 'the same key twice', key: ['one', 'one'] },
])('$what is refused', async ({ key }) => {
  const username = `bad key ${randomUUID()}`
  const { status, headers, body } = await rawRequest(sagas.where.api, {
    method: 'POST',
    path: '/saga',
    headers: { 'content-type': 'application/json', 'idempotency-key': key },
    body: JSON.stringify({ ...happy, username }),
  })
  expect(status).toBe(400)
  expect(headers['content-type']).toContain('application/problem+json')
  expect(JSON.parse(body).errors).toMatchObject([{ path: '/idempotency-key' }])
  expect(await countSagas(username)).toBe(0)
})

test('a key is of POST /saga alone: elsewhere it is not used up', async () => {
  const headers = { 'idempotency-key': randomUUID() }
  expect((await sagas.post(`/saga/${randomUUID()}/cancel`, { reason: 'none such' }, headers)).status).toBe(404)
  expect((await sagas.request('/logs?limit=1', { headers })).status).toBe(200)
  const { status, headers: answered } = await start({ headers })
  expect({ status, replayed: answered.get('idempotent-replayed') }).toEqual({ status: 202, replayed: null })
})

testReplay(() => sagas)

import { randomUUID } from 'node:crypto'
import { expect, test } from '@jest/globals'
import type { LogRow } from '../../src/http/schemas/log.js'
import { readEvents, type SentEvent } from '../helpers/events.js'
import { rawRequest } from '../helpers/raw.js'
import { ada, everywhere, Sagas, testReplay } from '../helpers/sagas.js'
import { readShared } from '../helpers/shared.js'
import { until } from '../helpers/until.js'

const sagas = new Sagas(readShared().system)
const refusedC = { C: { mode: 'always', kind: 'reject' } } as const
const slow = { C: { mode: 'first', n: 1, kind: 'hang' } } as const

async function logs(filter: Record<string, string | number | bigint> = {}): Promise<LogRow[]> {
  const search = new URLSearchParams(Object.entries(filter).map(([name, value]) => [name, String(value)]))
  const response = await sagas.request(`/logs?${search}`)
  expect(response.status).toBe(200)
  return ((await response.json()) as { logs: LogRow[] }).logs
}

async function events(sagaId: string, lastEventId?: string): Promise<AsyncGenerator<SentEvent>> {
  const response = await sagas.request(`/saga/${encodeURIComponent(sagaId)}/events`, {
    headers: { accept: 'text/event-stream', ...(lastEventId !== undefined && { 'last-event-id': lastEventId }) },
  })
  expect(response.status).toBe(200)
  expect(response.headers.get('content-type')).toContain('text/event-stream')
  return readEvents(response)
}

async function all(stream: AsyncGenerator<SentEvent>): Promise<SentEvent[]> {
  const sent: SentEvent[] = []
  for await (const one of stream) sent.push(one)
  return sent
}
const logEvents = (sent: SentEvent[]) => sent.filter(({ event }) => event === 'log')

test.each(['', '/events', '?a=1'])('an unknown saga%s is a 404 that names it', async (rest) => {
  const sagaId = randomUUID()
  const response = await sagas.request(`/saga/${sagaId}${rest}`)
  expect(response.status).toBe(404)
  expect(response.headers.get('content-type')).toContain('application/problem+json')
  expect(await response.json()).toEqual({
    type: 'about:blank',
    title: 'Not Found',
    status: 404,
    detail: `There is no saga ${sagaId}.`,
  })
})

test('an id in capitals is another one: an id is whatever a workflow is called', async () => {
  const { sagaId } = await sagas.run()
  expect((await sagas.request(`/saga/${sagaId.replace(/[a-f]/, (letter) => letter.toUpperCase())}`)).status).toBe(404)
})

test('a saga that runs shows the step that is under way', async () => {
  const sagaId = await sagas.start(slow)
  await sagas.logged(sagaId, 'B success 1')
  const saga = await sagas.get(sagaId)
  expect(saga).toMatchObject({
    status: 'RUNNING',
    steps: [
      { step: 'A', service: 'user', status: 'succeeded', outcome: 'applied', attempts: 1 },
      { step: 'B', service: 'address', status: 'succeeded' },
      { step: 'C', service: 'payment', status: 'running', attempts: 0 },
    ],
    compensations: [],
  })
  for (const field of ['endedAt', 'error', 'failedStep', 'userId']) expect(saga).not.toHaveProperty(field)
})

test('the log is given newest first, 50 rows unless told otherwise', async () => {
  const [saga] = await Promise.all(Array.from({ length: 10 }, () => sagas.run()))
  const rows = await logs()
  expect(rows).toHaveLength(50)
  expect(rows.map(({ id }) => id)).toEqual(rows.map(({ id }) => id).toSorted((a, b) => Number(b - a)))
  const [row, ...others] = await logs({ saga: saga?.sagaId ?? '', service: 'A' })
  expect(others).toEqual([])
  expect(row).toEqual({
    id: expect.any(Number),
    sagaId: saga?.sagaId,
    service: 'A',
    status: 'success',
    message: 'applied',
    attempt: 1,
    createdAt: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/),
  })
})

test('the log is filtered by saga, service and status, alone and together', async () => {
  const { sagaId: saga } = await sagas.run({ ...refusedC, A: { mode: 'first', n: 1 } })
  const services = async (filter: Record<string, string | number>) =>
    (await logs({ saga, ...filter })).map(({ service, attempt }) => `${service} ${attempt ?? ''}`.trim())
  expect(await services({ service: 'A' })).toEqual(['A 2', 'A 1'])
  expect(await services({ service: 'A', status: 'failed' })).toEqual(['A 1'])
  expect(await services({ status: 'failed' })).toEqual(['C 1', 'A 1'])
  expect(await services({ service: 'COMPENSATE_A' })).toEqual(['COMPENSATE_A 1'])
  expect(await services({ service: 'a' })).toEqual([])
  expect(await services({ service: '%' })).toEqual([])
  expect(await services({ limit: 2 })).toEqual(['SAGA', 'COMPENSATE_A 1'])
  expect(new Set((await logs({ service: 'ROLLBACK', status: 'triggered' })).map(({ service }) => service))).toEqual(
    new Set(['ROLLBACK']),
  )
  expect(await logs({ saga: randomUUID() })).toEqual([])
})

test('pages by limit and before give every row once', async () => {
  const { sagaId: saga } = await sagas.run(refusedC)
  const whole = await logs({ saga, limit: 500 })
  const paged: LogRow[] = []
  for (;;) {
    const last = paged.at(-1)
    const page = await logs({ saga, limit: 2, ...(last && { before: last.id }) })
    if (page.length === 0) break
    paged.push(...page)
  }
  expect(paged).toEqual(whole)
})

test('the events of an ended saga are its log in order, and its status last', async () => {
  const saga = await sagas.run(refusedC)
  const sent = await all(await events(saga.sagaId))
  const rows = await sagas.logRows(saga.sagaId)
  expect(sent).toEqual([
    ...rows.map((row) => ({ event: 'log', id: String(row.id), data: row })),
    { event: 'status', id: undefined, data: saga },
  ])
})

test.each([
  { how: 'completes', failures: {}, statuses: ['RUNNING', 'COMPLETED'] },
  {
    how: 'rolls back',
    failures: { C: { mode: 'always', kind: 'reject' }, A: { mode: 'first', n: 1, on: 'compensate' } },
    statuses: ['RUNNING', 'COMPENSATING', 'COMPENSATED'],
  },
] as const)(
  'the events of a saga that $how, from its start, are all its rows and end with its end',
  async ({ failures, statuses }) => {
    const sagaId = await sagas.start({ B: { mode: 'first', n: 1 }, ...failures })
    const sent = await all(await events(sagaId))
    const rows = await sagas.logRows(sagaId)
    expect(logEvents(sent)).toEqual(rows.map((row) => ({ event: 'log', id: String(row.id), data: row })))
    const told = sent.filter(({ event }) => event === 'status')
    const changes = told.map(({ data }) => data.status).filter((status, i, before) => status !== before[i - 1])
    expect(changes).toEqual(statuses)
    expect(sent.at(-1)).toEqual({ event: 'status', id: undefined, data: await sagas.get(sagaId) })
  },
)

test('a reader that comes back with the last id it saw misses no row and gets none twice', async () => {
  const sagaId = await sagas.start({ ...slow, A: { mode: 'first', n: 1 } })
  const before: SentEvent[] = []
  for await (const sent of await events(sagaId)) {
    before.push(sent)
    if (sent.event === 'log' && sent.data.service === 'B') break
  }
  const lastId = before.findLast(({ id }) => id !== undefined)?.id
  const after = await all(await events(sagaId, lastId))
  const rows = await sagas.logRows(sagaId)
  expect(logEvents([...before, ...after]).map(({ data }) => data)).toEqual(rows)
  expect(after.at(-1)?.data).toMatchObject({ status: 'COMPLETED' })
})

test('a reader that comes back behind the last row is told the end, and no row', async () => {
  const saga = await sagas.run()
  const lastId = (await sagas.logRows(saga.sagaId)).at(-1)?.id
  expect(await all(await events(saga.sagaId, String(lastId)))).toEqual([{ event: 'status', id: undefined, data: saga }])
})

test('a reader that comes with an id of a row yet to come, or of another saga, is told how it stands and ends', async () => {
  const sagaId = await sagas.start(slow)
  const sent = await all(await events(sagaId, String(Number.MAX_SAFE_INTEGER)))
  expect(logEvents(sent)).toEqual([])
  expect(sent.at(-1)).toEqual({ event: 'status', id: undefined, data: await sagas.get(sagaId) })
  const earlier = await sagas.run()
  const later = await sagas.run()
  const lastOfEarlier = (await sagas.logRows(earlier.sagaId)).at(-1)?.id
  const rows: unknown[] = await sagas.logRows(later.sagaId)
  const behind = logEvents(await all(await events(later.sagaId, String(lastOfEarlier)))).map(({ data }) => data)
  expect(behind).toEqual(rows)
})

test.each(['abc', '', '-1', '1.5', '9223372036854775808', '1e999'])(
  'a Last-Event-ID that is none ("%s") begins at the beginning',
  async (lastEventId) => {
    const saga = await sagas.run()
    const sent = await all(await events(saga.sagaId, lastEventId))
    expect(logEvents(sent)).toHaveLength((await sagas.logRows(saga.sagaId)).length)
    expect(sent.at(-1)).toMatchObject({ event: 'status', data: { status: 'COMPLETED' } })
  },
)

test('the events of an unknown saga are a 404, and no stream', async () => {
  const response = await sagas.request(`/saga/${randomUUID()}/events`, { headers: { accept: 'text/event-stream' } })
  expect(response.status).toBe(404)
  expect(response.headers.get('content-type')).toContain('application/problem+json')
})

test('HEAD of the events of a running saga holds no stream', async () => {
  const sagaId = await sagas.start(slow)
  const path = `/saga/${sagaId}/events`
  const { status, headers, body } = await rawRequest(sagas.where.api, { method: 'HEAD', path })
  expect({ status, body }).toEqual({ status: 200, body: '' })
  expect(headers['content-type']).toContain('text/event-stream')
  expect(await sagas.get(sagaId)).toMatchObject({ status: 'RUNNING' })
})

test.each(
  ['a/b c?é', '100%', 'order #7 & more', '+', '%2F', '🙃é'.repeat(85), "'; DROP TABLE saga; --"].map((odd) => ({
    odd,
  })),
)('a saga that the CLI started as "$odd" is read under its encoded id', async ({ odd }) => {
  await sagas.temporal(
    ...['workflow', 'start', '--type', 'createUserSaga', '--task-queue', 'saga', '-w', odd],
    ...['--input', JSON.stringify({ ...ada, failures: {} })],
  )
  sagas.started.push(odd)
  const path = `/saga/${encodeURIComponent(odd)}`
  await until('a worker has opened it', async () => (await rawRequest(sagas.where.api, { path })).status === 200)
  expect(await sagas.ended(odd)).toMatchObject({
    sagaId: odd,
    status: 'COMPLETED',
    links: {
      self: `/saga/${encodeURIComponent(odd)}`,
      logs: `/logs?saga=${encodeURIComponent(odd)}`,
      events: `/saga/${encodeURIComponent(odd)}/events`,
    },
  })
  expect(await sagas.log(odd)).toHaveLength(5)
  expect(await all(await events(odd))).toHaveLength(6)
  expect(await sagas.rows(odd)).toEqual(everywhere)
})

test('the process says that it lives, and that everything it needs is there', async () => {
  const live = await sagas.request('/health/live')
  expect([live.status, await live.json()]).toEqual([200, { status: 'ok' }])
  const ready = await sagas.request('/health/ready')
  const parts = { postgres: 'ok', temporal: 'ok', worker: 'ok' }
  expect([ready.status, await ready.json()]).toEqual([200, { status: 'ok', ...parts }])
})

test('health answers under any Host, as probes ask', async () => {
  const headers = { host: '10.1.2.3:3000' }
  expect(await rawRequest(sagas.where.api, { path: '/health/live', headers })).toMatchObject({ status: 200 })
})

testReplay(() => sagas)

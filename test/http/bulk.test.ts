import { randomUUID } from 'node:crypto'
import { connect } from 'node:net'
import { once } from 'node:events'
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import type { Bulk, BulkAccepted, BulkSummary } from '../../src/http/schemas/bulk.js'
import type { Problem } from '../../src/http/schemas/common.js'
import type { Saga } from '../../src/http/schemas/saga.js'
import { readEvents } from '../helpers/events.js'
import { ada, everywhere, nowhere, Sagas } from '../helpers/sagas.js'
import { query, readShared } from '../helpers/shared.js'
import { listeningAt, startProgram, startSystem, type Program, type System } from '../helpers/system.js'
import { until } from '../helpers/until.js'

const tokens = {
  vera: 'token-of-vera-0123456789',
  sam: 'token-of-sam-0123456789',
  olga: 'token-of-olga-0123456789',
}

// Few single sagas at once: those of a bulk are none.
let system: System
let sagas: Sagas
let guarded: Program
let guardedUrl: string
beforeAll(async () => {
  system = await startSystem('bulk-http', { MAX_OPEN_SAGAS: '1' })
  sagas = new Sagas(system.where)
  guarded = startProgram('api.js', 'bulk-guarded', {
    DATABASE_URL: system.where.database,
    TEMPORAL_ADDRESS: readShared().temporal,
    TEMPORAL_NAMESPACE: system.where.namespace,
    PORT: '0',
    API_TOKENS: `vera:viewer:${tokens.vera},sam:starter:${tokens.sam},olga:operator:${tokens.olga}`,
  })
  guardedUrl = await listeningAt(guarded)
})
afterAll(async () => {
  await guarded?.kill('SIGTERM')
  await system?.stop()
})

/** Without failures of their own the demo's would be injected. */
const user = (username: string, more: object = {}) => ({ ...ada, username, failures: {}, ...more })
const users = (name: string, n: number) => Array.from({ length: n }, (_, i) => user(`${name} ${i}`))
const ndjson = (...lines: unknown[]) =>
  lines.map((line) => `${typeof line === 'string' ? line : JSON.stringify(line)}\n`).join('')
const refusedC = { failures: { C: { mode: 'always', kind: 'reject' } } } as const

interface Answer {
  status: number
  headers: Headers
  bulk: BulkAccepted
  problem: Problem
}

async function answered(response: Response): Promise<Answer> {
  const body = (await response.json()) as BulkAccepted & Problem
  return { status: response.status, headers: response.headers, bulk: body, problem: body }
}

const sendJson = async (all: unknown, { query = '', headers = {} } = {}) =>
  answered(await sagas.post(`/saga/bulk${query}`, all, headers))

const sendLines = async (body: string | Uint8Array<ArrayBuffer>, { query = '', headers = {} } = {}) =>
  answered(
    await sagas.request(`/saga/bulk${query}`, {
      method: 'POST',
      headers: { 'content-type': 'application/x-ndjson', ...headers },
      body,
    }),
  )

async function get(bulkId: string): Promise<Bulk> {
  const response = await sagas.request(`/saga/bulk/${bulkId}`)
  expect(response.status).toBe(200)
  return (await response.json()) as Bulk
}

const ended = ({ bulkId }: BulkAccepted) =>
  until(`bulk ${bulkId} has ended`, async () => {
    const bulk = await get(bulkId)
    return bulk.status === 'ENDED' && bulk
  })

async function list(path: string): Promise<Saga[]> {
  const response = await sagas.request(path)
  expect(response.status).toBe(200)
  return ((await response.json()) as { sagas: Saga[] }).sagas
}

const names = (of: Saga[]) => of.map(({ input }) => String(input.username)).toSorted()

/** How many sagas were written for users whose name begins so. */
const written = async (name: string) => (await list(`/saga?q=${encodeURIComponent(name)}`)).length

test('each saga of a call is a saga of its own, and the call tells how many have come to what', async () => {
  const all = [...users('json', 4), user('json refused', refusedC)]
  const { status, headers, bulk } = await sendJson({ sagas: all })
  const { bulkId } = bulk
  expect({ status, bulk }).toEqual({
    status: 202,
    bulk: {
      bulkId,
      accepted: 5,
      rejected: 0,
      links: { self: `/saga/bulk/${bulkId}`, events: `/saga/bulk/${bulkId}/events`, sagas: `/saga?bulk=${bulkId}` },
    },
  })
  expect(headers.get('location')).toBe(bulk.links.self)
  expect(await ended(bulk)).toMatchObject({
    ...{ type: 'createUserSaga', total: 5, completed: 4, compensated: 1, running: 0, needsAttention: 0 },
    failures: [{ step: 'C', type: 'Rejected', count: 1 }],
  })
  const found = await list(bulk.links.sagas)
  expect(names(found)).toEqual(all.map(({ username }) => username).toSorted())
  for (const { sagaId, status, bulkId: of, input, links } of found) {
    expect({ of, temporal: links.temporal }).toEqual({
      of: bulkId,
      temporal: expect.stringContaining(`saga-bulk-${bulkId}`),
    })
    expect(await sagas.rows(sagaId)).toEqual(input.username === 'json refused' ? nowhere : everywhere)
    expect(status).toBe(input.username === 'json refused' ? 'COMPENSATED' : 'COMPLETED')
    expect(await sagas.get(sagaId)).toMatchObject({ bulkId, status })
  }
  expect(names(await list(`${bulk.links.sagas}&status=COMPENSATED`))).toEqual(['json refused'])
  expect(names(await list(`${bulk.links.sagas}&step=C`))).toEqual(['json refused'])
  expect(names(await list(`${bulk.links.sagas}&q=json%202`))).toEqual(['json 2'])
  expect(await list(`/saga?bulk=${randomUUID()}`)).toEqual([])
})

test('the sagas of a bulk are listed page by page, each once', async () => {
  const { bulk } = await sendJson({ sagas: users('paged', 7) })
  const found: Saga[] = []
  for (let cursor: string | null = ''; cursor !== null;) {
    const page = await sagas.request(`${bulk.links.sagas}&limit=3${cursor && `&cursor=${cursor}`}`)
    const { sagas: some, nextCursor } = (await page.json()) as { sagas: Saga[]; nextCursor: string | null }
    found.push(...some)
    cursor = nextCursor
  }
  expect(names(found)).toEqual(users('paged', 7).map(({ username }) => username))
})

test('lines may be blank, end as on Windows, and the last one need not end', async () => {
  const body = `\n${JSON.stringify(user('lines 0'))}\r\n \t\r\n\n${JSON.stringify(user('lines 1 \u2028 “ü”'))}\n${JSON.stringify(user('lines 2'))}`
  const { status, bulk } = await sendLines(body)
  expect({ status, accepted: bulk.accepted }).toEqual({ status: 202, accepted: 3 })
  expect(await ended(bulk)).toMatchObject({ completed: 3 })
  expect(names(await list(bulk.links.sagas))).toEqual(['lines 0', 'lines 1 \u2028 “ü”', 'lines 2'])
})

describe('where some of it is not right', () => {
  const bad = (name: string) => [
    user(`${name} 0`),
    { ...user(`${name} 1`), address: '' },
    '{"username": ',
    { ...user(`${name} 3`), extra: 1 },
    '[]',
    '{"__proto__": {}, "username": "x"}',
    `"${'x'.repeat(70_000)}"`,
    user(`${name} 7`),
  ]
  const told = [
    { line: 2, path: '/address', message: 'must not be empty' },
    { line: 3, path: '', message: 'is not valid JSON' },
    { line: 4, path: '/extra', message: 'is not a field of this' },
    { line: 5, path: '', message: expect.any(String) },
    { line: 6, path: '', message: 'is not valid JSON' },
    { line: 7, path: '', message: 'has more than 65536 bytes' },
  ]

  test('nothing is started, and each line is named', async () => {
    const { status, headers, problem } = await sendLines(ndjson(...bad('refused')))
    expect(headers.get('content-type')).toContain('application/problem+json')
    expect({ status, errors: problem.errors }).toEqual({ status: 400, errors: told })
    expect(problem.detail).toBe('The body is not right: 6 of its 8 sagas are not. Nothing was started; see errors.')
    expect(await written('refused')).toBe(0)
  })

  test('in JSON by its place in the list', async () => {
    const { status, problem } = await sendJson({ sagas: [user('place 0'), { ...user('place 1'), username: 7 }] })
    expect({ status, errors: problem.errors }).toEqual({
      status: 400,
      errors: [{ path: '/sagas/1/username', message: 'must be string' }],
    })
    expect(await written('place')).toBe(0)
  })

  test('the rest is started where the call says so', async () => {
    const { status, bulk } = await sendLines(ndjson(...bad('skipped')), { query: '?onInvalid=skip' })
    const rejections = told.map(({ line, ...error }) => ({ line, errors: [error] }))
    expect({ status, ...bulk }).toMatchObject({ status: 202, accepted: 2, rejected: 6, rejections })
    expect(await ended(bulk)).toMatchObject({ total: 2, completed: 2, rejected: 6, rejections })
    expect(names(await list(bulk.links.sagas))).toEqual(['skipped 0', 'skipped 7'])
  })

  test('a hundred lines are told', async () => {
    const { bulk } = await sendLines(ndjson(user('one of many'), ...Array.from({ length: 150 }, () => '?')), {
      query: '?onInvalid=skip',
    })
    expect({ rejected: bulk.rejected, told: bulk.rejections?.length }).toEqual({ rejected: 150, told: 100 })
    const { problem } = await sendLines(ndjson(...Array.from({ length: 150 }, () => '?')))
    expect(problem.errors).toHaveLength(100)
  })

  test.each([
    { what: 'no saga', send: () => sendLines('\n\n'), status: 400 },
    { what: 'no saga that is right', send: () => sendLines('?\n', { query: '?onInvalid=skip' }), status: 400 },
    { what: 'an empty list', send: () => sendJson({ sagas: [] }), status: 400 },
    { what: 'no list', send: () => sendJson([user('x')]), status: 400 },
    { what: 'a field beside the list', send: () => sendJson({ sagas: [user('x')], more: 1 }), status: 400 },
    { what: 'a list as a line', send: () => sendLines(ndjson([user('x')])), status: 400 },
    {
      what: 'an unknown onInvalid',
      send: () => sendJson({ sagas: [user('x')] }, { query: '?onInvalid=x' }),
      status: 400,
    },
    { what: 'broken UTF-8', send: () => sendLines(new Uint8Array([0x22, 0xff, 0x22, 0x0a])), status: 400 },
    {
      what: 'more than 10,000 lines',
      send: () => sendLines(ndjson(...Array.from({ length: 10_001 }, () => '?')), { query: '?onInvalid=skip' }),
      status: 400,
    },
    { what: 'more than 32 MiB of lines', send: () => sendLines(' '.repeat(33 * 2 ** 20)), status: 413 },
    { what: 'more than 32 MiB of JSON', send: () => sendJson(' '.repeat(33 * 2 ** 20)), status: 413 },
    { what: 'a form', send: () => sendLines('a=b', { headers: { 'content-type': 'text/plain' } }), status: 415 },
    { what: 'gzip', send: () => sendLines('{}', { headers: { 'content-encoding': 'gzip' } }), status: 415 },
    {
      what: 'another origin',
      send: () => sendLines('{}', { headers: { origin: 'http://evil.example' } }),
      status: 403,
    },
  ])('$what is refused with a $status', async ({ send, status: expected }) => {
    const { status, headers, problem } = await send()
    expect({ status, type: headers.get('content-type') }).toEqual({
      status: expected,
      type: expect.stringContaining('application/problem+json'),
    })
    expect(problem.detail).toMatch(/\S{3}/)
  })
})

describe('an Idempotency-Key', () => {
  const keyed = (headers: object = {}) => ({ headers: { 'idempotency-key': randomUUID(), ...headers } })

  test('gives the same bulk for the same sagas, however they are written', async () => {
    const key = keyed()
    const first = await sendJson({ sagas: users('keyed', 3) }, key)
    const second = await sendLines(ndjson(...users('keyed', 3), '?'), { ...key, query: '?onInvalid=skip' })
    expect(second.status).toBe(202)
    expect(second.bulk).toEqual(first.bulk)
    expect([first, second].map(({ headers }) => headers.get('idempotent-replayed'))).toEqual([null, 'true'])
    expect(await written('keyed')).toBe(3)
  })

  test('is refused with other sagas', async () => {
    const key = keyed()
    expect((await sendJson({ sagas: users('other', 3) }, key)).status).toBe(202)
    const { status, problem } = await sendJson({ sagas: users('other', 2) }, key)
    expect({ status, detail: problem.detail }).toMatchObject({ status: 422, detail: expect.stringMatching(/new key/) })
  })

  test('is not used up by a call that is refused', async () => {
    const key = keyed()
    expect((await sendLines(ndjson('?', user('mended')), key)).status).toBe(400)
    const { status, headers } = await sendLines(ndjson(user('mended')), key)
    expect({ status, replayed: headers.get('idempotent-replayed') }).toEqual({ status: 202, replayed: null })
  })

  test('makes one bulk of calls that come at once', async () => {
    const key = keyed()
    const all = await Promise.all(Array.from({ length: 8 }, () => sendJson({ sagas: users('at once', 20) }, key)))
    expect(new Set(all.map(({ status, bulk }) => `${status} ${bulk.bulkId}`)).size).toBe(1)
    expect(all.filter(({ headers }) => !headers.has('idempotent-replayed'))).toHaveLength(1)
    expect(await written('at once')).toBe(20)
  })

  test('makes no saga twice where a call was cut off half-way and is sent again', async () => {
    const key = randomUUID()
    const body = ndjson(...users('cut', 200))
    const { hostname, port, host } = new URL(sagas.where.api)
    const socket = connect(Number(port), hostname)
    await once(socket, 'connect')
    const head = ['POST /saga/bulk HTTP/1.1', `Host: ${host}`, 'Content-Type: application/x-ndjson']
    socket.write([...head, `Idempotency-Key: ${key}`, `Content-Length: ${body.length}`, '', ''].join('\r\n'))
    await new Promise((sent) => socket.write(body.slice(0, body.length / 2), sent))
    socket.destroy()
    const { status, headers, bulk } = await sendLines(body, { headers: { 'idempotency-key': key } })
    expect({ status, replayed: headers.get('idempotent-replayed') }).toEqual({ status: 202, replayed: null })
    expect(await ended(bulk)).toMatchObject({ total: 200, completed: 200 })
    expect(await query(sagas.where.database, `SELECT FROM saga WHERE label LIKE 'cut %'`)).toHaveLength(200)
  })
})

test('a saga with a number that loses digits is the one that is left out, however it is sent', async () => {
  const good = JSON.stringify(user('exact'))
  const bad = good.replace('"failures":{}', '"failures":{"A":{"mode":"rate","rate":0.12345678901234567890}}')
  expect(bad).not.toBe(good)
  const error = { path: '/failures/A/rate', message: expect.stringContaining('loses digits') as unknown as string }
  for (const send of [
    () => sendJson(`{"sagas":[${good},${bad},${good}]}`, { query: '?onInvalid=skip' }),
    () => sendLines(`${good}\n${bad}\n${good}\n`, { query: '?onInvalid=skip' }),
  ]) {
    const { status, bulk } = await send()
    expect({ status, bulk }).toMatchObject({
      status: 202,
      bulk: { accepted: 2, rejected: 1, rejections: [{ line: 2, errors: [error] }] },
    })
    await ended(bulk)
  }
})

test('more sagas than may be started one by one are a bulk, and single ones start beside them', async () => {
  const { bulk } = await sendJson({ sagas: users('beside', 30) })
  const sagaId = await sagas.start()
  expect(await ended(bulk)).toMatchObject({ completed: 30 })
  expect((await sagas.ended(sagaId)).status).toBe('COMPLETED')
})

test('its events tell each change, and end with it', async () => {
  const { bulk } = await sendJson({ sagas: users('events', 40) })
  const response = await sagas.request(bulk.links.events, { headers: { accept: 'text/event-stream' } })
  expect(response.headers.get('content-type')).toContain('text/event-stream')
  const told: Bulk[] = []
  for await (const { event, data } of readEvents(response)) {
    expect(event).toBe('bulk')
    told.push(data as unknown as Bulk)
  }
  expect(told.at(-1)).toEqual(await get(bulk.bulkId))
  expect(told.at(-1)).toMatchObject({ status: 'ENDED', completed: 40, running: 0 })
  for (const { total, completed, compensated, partiallyCompensated, needsAttention, running } of told) {
    expect(completed + compensated + partiallyCompensated + needsAttention + running).toBe(total)
  }
  expect((await sagas.request(bulk.links.events, { headers: { accept: 'text/html' } })).status).toBe(406)
})

test('who follows one saga of a bulk is told its log and its end', async () => {
  const { bulk } = await sendJson({ sagas: users('followed', 20) })
  const [{ sagaId } = { sagaId: '' }] = await list(bulk.links.sagas)
  const rows: string[] = []
  let last: unknown
  for await (const { event, data } of readEvents(await sagas.request(`/saga/${sagaId}/events`))) {
    if (event === 'log') rows.push(`${data.service} ${data.status}`)
    else last = data.status
  }
  expect(rows).toEqual(['SAGA started', 'A success', 'B success', 'C success', 'SAGA completed'])
  expect(last).toBe('COMPLETED')
})

test('bulks are listed, the newest first', async () => {
  const { bulk: first } = await sendJson({ sagas: users('older', 1) })
  const { bulk: second } = await sendJson({ sagas: users('newer', 2) })
  await Promise.all([ended(first), ended(second)])
  const response = await sagas.request('/saga/bulk?limit=2')
  const { bulks } = (await response.json()) as { bulks: BulkSummary[] }
  const { failures, rejections, cancellable, ...summary } = await get(second.bulkId)
  expect(bulks).toHaveLength(2)
  expect(bulks[0]).toEqual(summary)
  expect(bulks[1]).toMatchObject({ bulkId: first.bulkId, total: 1, completed: 1 })
  expect((await sagas.request('/saga/bulk?limit=101')).status).toBe(400)
})

test('a bulk that is not there is a 404, and one that has not paused is not resumed', async () => {
  for (const id of [randomUUID(), 'x', 'a b']) {
    const path = `/saga/bulk/${encodeURIComponent(id)}`
    expect((await sagas.request(path)).status).toBe(404)
    expect((await sagas.request(`${path}/events`)).status).toBe(404)
    expect((await sagas.post(`${path}/resume`, {})).status).toBe(404)
  }
  const { bulk } = await sendJson({ sagas: users('unpaused', 1) })
  await ended(bulk)
  const { status, problem } = await answered(await sagas.post(`${bulk.links.self}/resume`, {}))
  expect({ status, detail: problem.detail }).toEqual({
    status: 409,
    detail: `Bulk ${bulk.bulkId} has ended; there is nothing to resume.`,
  })
  expect((await sagas.request('/saga/bulk', { method: 'DELETE' })).status).toBe(405)
})

test('viewers read, starters start, and operators inject failures and resume', async () => {
  const as = (token: string) =>
    new Sagas({ ...system.where, api: guardedUrl }, token ? { authorization: `Bearer ${token}` } : {})
  const plain = { sagas: [{ ...ada, username: 'roles' }] }
  const failing = { sagas: [user('roles failing')] }
  const statuses = async (token: string) => {
    const who = as(token)
    const answers = [
      await who.request('/saga/bulk'),
      await who.post('/saga/bulk', plain),
      await who.post('/saga/bulk', failing),
      await who.request('/saga/bulk', {
        method: 'POST',
        headers: { 'content-type': 'application/x-ndjson' },
        body: ndjson(...failing.sagas),
      }),
      await who.post(`/saga/bulk/${randomUUID()}/resume`, {}),
    ]
    return answers.map(({ status }) => status)
  }
  expect(await statuses('')).toEqual([401, 401, 401, 401, 401])
  expect(await statuses(tokens.vera)).toEqual([200, 403, 403, 403, 403])
  expect(await statuses(tokens.sam)).toEqual([200, 202, 403, 403, 403])
  expect(await statuses(tokens.olga)).toEqual([200, 202, 202, 202, 404])
})

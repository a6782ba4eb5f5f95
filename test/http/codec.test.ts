import { randomBytes, randomUUID } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import type { Problem } from '../../src/http/schemas/common.js'
import type { Payloads } from '../../src/http/schemas/codec.js'
import { rawBytes, rawRequest } from '../helpers/raw.js'
import { ada, Sagas } from '../helpers/sagas.js'
import { readShared } from '../helpers/shared.js'
import { startSystem, type System } from '../helpers/system.js'

const tokens = {
  viewer: 'token-of-vera-0123456789',
  starter: 'token-of-sam-0123456789',
  operator: 'token-of-olga-0123456789',
}
const API_TOKENS = `vera:viewer:${tokens.viewer},sam:starter:${tokens.starter},olga:operator:${tokens.operator}`
const PAYLOAD_KEYS = `k1:${randomBytes(32).toString('base64')}`
const bearer = (token: string) => ({ authorization: `Bearer ${token}` })
const ui = new URL(readShared().temporalUi).origin

let system: System
let sagas: Sagas

beforeAll(async () => {
  system = await startSystem('codec', { API_TOKENS, PAYLOAD_KEYS })
  sagas = new Sagas(system.where)
})
afterAll(() => system?.stop())

const text = (value: string) => Buffer.from(value).toString('base64')
const inTheClear = { metadata: { encoding: text('json/plain') }, data: text('"in the clear"') }

const ask = (path: string, body: unknown, headers: Record<string, string> = bearer(tokens.operator)) =>
  sagas.post(path, body, headers)

async function encode(payloads: Payloads['payloads']): Promise<Payloads> {
  const response = await ask('/codec/encode', { payloads })
  expect(response.status).toBe(200)
  return (await response.json()) as Payloads
}

async function problemOf(response: Response): Promise<Problem> {
  expect(response.headers.get('content-type')).toContain('application/problem+json')
  return (await response.json()) as Problem
}

test('an operator encrypts and decrypts payloads as the codec protocol has them', async () => {
  const encrypted = await encode([inTheClear, { metadata: { encoding: text('binary/null') } }])
  expect(encrypted.payloads).toHaveLength(2)
  for (const { metadata, data } of encrypted.payloads ?? []) {
    expect(metadata).toEqual({ encoding: text('binary/encrypted'), 'encryption-key-id': text('k1') })
    expect(Buffer.from(data ?? '', 'base64').includes('in the clear')).toBe(false)
  }
  const mixed = { payloads: [...(encrypted.payloads ?? []), inTheClear] }
  const decoded = await (await ask('/codec/decode', mixed, { ...bearer(tokens.operator), 'x-namespace': 'any' })).json()
  expect(decoded).toEqual({ payloads: [inTheClear, { metadata: { encoding: text('binary/null') } }, inTheClear] })
  expect(await (await ask('/codec/decode', {})).json()).toEqual({ payloads: [] })
})

test('nobody else does: without a token it is a 401, with another role a 403', async () => {
  const { payloads } = await encode([inTheClear])
  for (const path of ['/codec/encode', '/codec/decode']) {
    for (const origin of [{}, { origin: ui }]) {
      const answers = await Promise.all([
        ask(path, { payloads }, { ...origin }),
        ask(path, { payloads }, { ...bearer('token-of-nobody-0123456789'), ...origin }),
        ask(path, { payloads }, { ...bearer(tokens.viewer), ...origin }),
        ask(path, { payloads }, { ...bearer(tokens.starter), ...origin }),
      ])
      expect(answers.map(({ status }) => status)).toEqual([401, 401, 403, 403])
      for (const answer of answers) expect(await answer.text()).not.toContain(inTheClear.data)
    }
  }
})

test('a key that is not there, and a payload that was changed, are a 422 that says so', async () => {
  const { payloads: [one] = [] } = await encode([inTheClear])
  const foreign = { ...one, metadata: { ...one?.metadata, 'encryption-key-id': text('k0') } }
  expect(await problemOf(await ask('/codec/decode', { payloads: [foreign] }))).toMatchObject({
    status: 422,
    detail: expect.stringContaining('the key "k0", which PAYLOAD_KEYS does not have here'),
  })
  const changed = { ...one, data: text(`x${Buffer.from(one?.data ?? '', 'base64').toString()}`) }
  expect(await problemOf(await ask('/codec/decode', { payloads: [changed] }))).toMatchObject({
    status: 422,
    detail: expect.stringContaining('does not fit'),
  })
})

test.each<[string, unknown, number]>([
  ['no JSON', '{', 400],
  ['a list', [], 400],
  ['payloads that are none', { payloads: [7] }, 400],
  ['data that is no base64', { payloads: [{ data: '§' }] }, 400],
  ['metadata that is no base64', { payloads: [{ metadata: { encoding: 'json/plain!' } }] }, 400],
  ['a field that there is not', { payloads: [], more: 1 }, 400],
])('%s is refused as a problem', async (_, body, status) => {
  expect((await problemOf(await ask('/codec/decode', body))).status).toBe(status)
})

test('a history whose payloads are asked for one by one is not too many calls', async () => {
  const answers = await Promise.all(Array.from({ length: 300 }, () => ask('/codec/decode', { payloads: [inTheClear] })))
  expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([200]))
})

test('a page of history is not too large, more than 8 MiB is', async () => {
  const data = text('x'.repeat(4 * 1024 * 1024))
  expect((await encode([{ metadata: {}, data }])).payloads).toHaveLength(1)
  const { host } = new URL(system.where.api)
  const head = [
    'POST /codec/decode HTTP/1.1',
    ...[`Host: ${host}`, `Authorization: Bearer ${tokens.operator}`, 'Content-Type: application/json'],
    `Content-Length: ${8 * 1024 * 1024 + 1}`,
  ]
  expect(await rawBytes(system.where.api, `${head.join('\r\n')}\r\n\r\n{`)).toMatchObject({ status: 413 })
})

/** What a browser is told of who may read the answer. */
const shared = (headers: Record<string, string>) =>
  Object.fromEntries(Object.entries(headers).filter(([name]) => name.startsWith('access-control-')))

test("the Web UI's pages may ask, and say so before: with a token, or with the session of our own page", async () => {
  const allowed = {
    'access-control-allow-origin': ui,
    'access-control-allow-credentials': 'true',
    'access-control-allow-methods': 'POST',
    'access-control-allow-headers': 'authorization, content-type, x-namespace',
    'access-control-max-age': '600',
  }
  const preflight = await rawRequest(system.where.api, {
    method: 'OPTIONS',
    path: '/codec/decode',
    headers: {
      origin: ui,
      'access-control-request-method': 'POST',
      'access-control-request-headers': 'content-type,x-namespace',
    },
  })
  expect(preflight).toMatchObject({ status: 204, body: '', headers: { vary: 'origin' } })
  expect(shared(preflight.headers)).toEqual(allowed)

  const login = await ask('/login', { token: tokens.operator }, {})
  const cookie = (login.headers.get('set-cookie') ?? '').split(';')[0] ?? ''
  for (const who of [bearer(tokens.operator), { cookie }]) {
    const answer = await ask(
      '/codec/decode',
      { payloads: [inTheClear] },
      { ...who, origin: ui, 'x-namespace': 'default' },
    )
    expect(answer.status).toBe(200)
    expect(shared(Object.fromEntries(answer.headers))).toEqual(allowed)
  }
  // A refusal too can be read, and told to whoever looks at the page.
  const refused = await ask('/codec/decode', { payloads: [] }, { origin: ui })
  expect(refused.status).toBe(401)
  expect(shared(Object.fromEntries(refused.headers))).toEqual(allowed)
})

test.each([
  'http://evil.example',
  'null',
  `${ui}.evil.example`,
  `${ui}/`,
  ui.replace('http:', 'https:'),
  ui.replace(/:\d+$/, ''),
  ui.toUpperCase(),
])('pages of %s may not, with or without a preflight', async (origin) => {
  for (const method of ['OPTIONS', 'POST']) {
    const answer = await rawRequest(system.where.api, {
      method,
      path: '/codec/decode',
      headers: { ...bearer(tokens.operator), origin, 'content-type': 'application/json' },
      body: method === 'POST' ? '{"payloads":[]}' : undefined,
    })
    expect(answer.status).toBe(403)
    expect(shared(answer.headers)).toEqual({})
  }
})

test("the Web UI's pages may call nothing else, and nothing else is shared with them", async () => {
  for (const path of ['/logs', '/saga', '/login', '/codec', '/codec/nothing', '/openapi.json']) {
    const answer = await sagas.request(path, { headers: { ...bearer(tokens.operator), origin: ui } })
    expect({ path, status: answer.status, shared: shared(Object.fromEntries(answer.headers)) }).toEqual({
      path,
      status: 403,
      shared: {},
    })
  }
  // Nor does our own page, or a program, need to be let in.
  const own = await ask('/codec/decode', { payloads: [] }, { ...bearer(tokens.operator), origin: system.where.api })
  expect({ status: own.status, shared: shared(Object.fromEntries(own.headers)) }).toEqual({ status: 200, shared: {} })
})

test('another Host is refused as everywhere', async () => {
  const answer = await rawRequest(system.where.api, {
    method: 'POST',
    path: '/codec/decode',
    headers: { ...bearer(tokens.operator), host: 'evil.example', origin: ui, 'content-type': 'application/json' },
    body: '{"payloads":[]}',
  })
  expect(answer.status).toBe(403)
})

test('they are in the document, with their role; without keys there is neither', async () => {
  const document = (await (await sagas.request('/openapi.json')).json()) as { paths: Record<string, object> }
  expect(document.paths['/codec/decode']).toMatchObject({ post: { description: 'Role: operator.' } })
  expect(document.paths['/codec/decode']).not.toHaveProperty('options')
  const without = new Sagas(readShared().system)
  expect((await without.post('/codec/decode', { payloads: [] })).status).toBe(404)
  expect((await without.request('/codec/decode', { method: 'OPTIONS', headers: { origin: ui } })).status).toBe(403)
  expect(await (await without.request('/openapi.json')).text()).not.toContain('/codec/')
})

test('the CLI starts and reads sagas through it, and sees nothing without', async () => {
  const sagaId = `codec-${randomUUID()}`
  const input = { ...ada, username: randomUUID(), failures: { C: { mode: 'always', kind: 'reject' } } }
  const codec = ['--codec-endpoint', `${system.where.api}/codec`, '--codec-auth', `Bearer ${tokens.operator}`]
  await sagas.temporal(
    ...['workflow', 'start', '--type', 'createUserSaga', '--task-queue', 'saga', '--workflow-id', sagaId],
    ...['--input', JSON.stringify(input), ...codec],
  )
  const operator = new Sagas(system.where, bearer(tokens.operator))
  expect(await operator.ended(sagaId)).toMatchObject({ status: 'COMPENSATED', input: { username: input.username } })
  // Its row is written before its run closes, and with it the history.
  await operator.closing(sagaId)

  const show = ['workflow', 'show', '--workflow-id', sagaId, '--output', 'json']
  const decrypted = bytesOf(await sagas.temporal(...show, ...codec))
  expect(decrypted).toContain(input.username)
  expect(decrypted).toContain(`Saga ${sagaId} was compensated: step C failed`)
  const raw = bytesOf(await sagas.temporal(...show))
  expect(raw).not.toContain(input.username)
  expect(raw).not.toContain('was compensated: step C')
  expect(raw).toContain('Encoded failure')
})

/** A history with what it has in base64 beside it. */
function bytesOf(history: string): string {
  return history.replaceAll(/"data": *"([^"]+)"/g, (_, data: string) => Buffer.from(data, 'base64').toString())
}

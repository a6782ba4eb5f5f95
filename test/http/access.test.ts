import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, jest, test } from '@jest/globals'
import type { Problem } from '../../src/http/schemas/common.js'
import { Logins } from '../../src/http/access.js'
import { loadConfig } from '../../src/config.js'
import { rawRequest } from '../helpers/raw.js'
import { ada, nowhere, Sagas, testReplay } from '../helpers/sagas.js'
import { query, readShared } from '../helpers/shared.js'
import { startSystem, type System } from '../helpers/system.js'
import { until } from '../helpers/until.js'

const tokens = {
  viewer: 'token-of-vera-0123456789',
  starter: 'token-of-sam-0123456789',
  operator: 'token-of-olga-0123456789',
}
const wrongToken = 'token-of-nobody-0123456789'
const API_TOKENS = `vera:viewer:${tokens.viewer},sam:starter:${tokens.starter},olga:operator:${tokens.operator}`
const bearer = (token: string) => ({ authorization: `Bearer ${token}` })

let system: System
let viewer: Sagas
let starter: Sagas
let operator: Sagas
let nobody: Sagas
/** A saga that waits for a person at last, after all tries of A's compensation; meanwhile other tests have their turn. */
let stuck: Promise<Response>

beforeAll(async () => {
  system = await startSystem('access', { API_TOKENS })
  nobody = new Sagas(system.where)
  ;[viewer, starter, operator] = [tokens.viewer, tokens.starter, tokens.operator].map(
    (token) => new Sagas(system.where, bearer(token)),
  ) as [Sagas, Sagas, Sagas]
  const failures = { C: { mode: 'always', kind: 'reject' }, A: { mode: 'always', on: 'compensate' } }
  stuck = operator.post('/saga?wait=60', { ...ada, failures })
})
afterAll(() => system?.stop())

async function problemOf(response: Response): Promise<Problem> {
  expect(response.headers.get('content-type')).toContain('application/problem+json')
  const problem = (await response.json()) as Problem
  expect(problem.status).toBe(response.status)
  return problem
}

/** What is answered where a valid token is missing, the same whatever was asked and whatever came in its place. */
const unauthorized = {
  type: 'about:blank',
  title: 'Unauthorized',
  status: 401,
  detail: 'A valid token is needed: send it as `Authorization: Bearer …`, or log in on the page.',
  scheme: 'Bearer',
}

async function asUnauthorized(response: Response) {
  return { ...(await problemOf(response)), scheme: response.headers.get('www-authenticate') }
}

/** Every route of the API's own document; one that is new has to be put here. */
const routes = {
  'GET /saga': 'viewer',
  'GET /saga/{id}': 'viewer',
  'GET /saga/{id}/events': 'viewer',
  'GET /saga/{id}/plan': 'viewer',
  'GET /saga/decisions/{id}': 'viewer',
  'GET /saga/bulk': 'viewer',
  'GET /saga/bulk/{id}': 'viewer',
  'GET /saga/bulk/{id}/events': 'viewer',
  'GET /saga-types': 'viewer',
  'GET /stuck': 'viewer',
  'GET /logs': 'viewer',
  'GET /failures': 'viewer',
  'GET /metrics': 'viewer',
  'GET /overview': 'viewer',
  'POST /saga': 'starter',
  'POST /saga/bulk': 'starter',
  'POST /saga/bulk/{id}/cancel': 'operator',
  'POST /saga/bulk/{id}/compensate': 'operator',
  'POST /saga/bulk/{id}/resume': 'operator',
  'POST /saga/{id}/cancel': 'operator',
  'POST /saga/{id}/decision': 'operator',
  'POST /saga/decisions': 'operator',
  'PUT /failures': 'operator',
  'GET /health/live': 'anyone',
  'GET /health/ready': 'anyone',
  'GET /login': 'anyone',
  'POST /login': 'anyone',
  'POST /logout': 'anyone',
}
const roles = ['viewer', 'starter', 'operator'] as const

/** A call of that route with nothing in it. */
function call(route: string, headers: Record<string, string> = {}): Promise<Response> {
  const [method = '', path = ''] = route.split(' ')
  const body = method === 'GET' ? {} : { body: '{}' }
  const json = method === 'GET' ? {} : { 'content-type': 'application/json' }
  return nobody.request(path.replace('{id}', 'no-such-saga'), { method, headers: { ...json, ...headers }, ...body })
}

test('every route of the document has its role, and the document says so', async () => {
  const response = await nobody.request('/openapi.json')
  const document = (await response.json()) as {
    paths: Record<string, Record<string, { description?: string; security?: unknown[] }>>
  }
  const found = Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, { description, security }]) => [
      `${method.toUpperCase()} ${path}`,
      security?.length === 0 ? 'anyone' : /Role: (\w+)\.$/.exec(description ?? '')?.[1],
    ]),
  )
  expect(Object.fromEntries(found)).toEqual(routes)
  const actors = JSON.stringify(document).match(/"actor":\{"type":"string","minLength"/g)
  expect(actors).toBeNull()
})

describe.each(Object.entries(routes).filter(([, role]) => role !== 'anyone'))('%s', (route, needed) => {
  test.each([
    { what: 'no token', headers: {} },
    { what: 'a wrong token', headers: bearer(wrongToken) },
    { what: 'an empty token', headers: { authorization: 'Bearer ' } },
    { what: 'a token by another scheme', headers: { authorization: `Basic ${tokens.operator}` } },
    { what: 'the start of a token', headers: bearer(tokens.operator.slice(0, -1)) },
    { what: 'a token of 8 KiB', headers: bearer('x'.repeat(8 * 1024)) },
  ])('is refused with $what', async ({ headers }) => {
    expect(await asUnauthorized(await call(route, headers))).toEqual(unauthorized)
  })

  test.each(roles)(`needs the role ${needed}: %s`, async (role) => {
    const response = await call(route, bearer(tokens[role]))
    if (roles.indexOf(role) >= roles.indexOf(needed as 'viewer')) {
      expect([401, 403, 429]).not.toContain(response.status)
      return
    }
    expect(response.status).toBe(403)
    expect((await problemOf(response)).detail).toContain(`needs the role ${needed}`)
  })
})

test('health, the document and the files of the pages need no token, nor a right one', async () => {
  const page = await (await nobody.request('/')).text()
  const assets = [...page.matchAll(/(?:src|href)="(\/[^"]+)"/g)].map(([, path = '']) => path)
  expect(assets.length).toBeGreaterThan(2)
  const paths = [
    '/',
    '/health/live',
    '/health/ready',
    '/openapi.json',
    '/docs',
    '/docs/static/swagger-ui.css',
    ...assets,
  ]
  for (const path of paths) {
    expect({ path, status: (await nobody.request(path)).status }).toEqual({ path, status: 200 })
    const again = await nobody.request(path, { headers: bearer(wrongToken) })
    expect({ path, status: again.status }).toEqual({ path, status: 200 })
  }
})

test('what there is not, and a wrong method, is told only to who may read', async () => {
  for (const [method, path] of [
    ['GET', '/nothing'],
    ['GET', '/assets/nothing.js'],
    ['GET', '/health/nothing'],
    ['DELETE', '/saga'],
    ['DELETE', '/health/live'],
    ['GET', '/%2e%2e/package.json'],
    ['GET', '/assets%2F..%2Flogs'],
    ['GET', '/docs%2F..%2Flogs'],
    ['GET', '/health/..%2flogs'],
    ['GET', '/LOGS'],
    ['GET', '/logs/'],
  ] as const) {
    expect(await asUnauthorized(await nobody.request(path, { method }))).toEqual(unauthorized)
    expect([404, 405]).toContain((await problemOf(await viewer.request(path, { method }))).status)
  }
  expect((await nobody.request('/logs', { method: 'HEAD' })).status).toBe(401)
  expect((await nobody.request('/%6cogs')).status).toBe(401)
})

test('a key belongs to its saga, whoever sends it again', async () => {
  const headers = { 'idempotency-key': randomUUID() }
  const [first, again] = [
    await starter.post('/saga?wait=60', ada, headers),
    await operator.post('/saga?wait=60', ada, headers),
  ]
  expect([first.headers.get('idempotent-replayed'), again.headers.get('idempotent-replayed')]).toEqual([null, 'true'])
  const saga = (await first.json()) as { sagaId: string }
  operator.started.push(saga.sagaId)
  expect(await again.json()).toEqual(saga)
})

test('failures in a body need the role operator', async () => {
  const username = randomUUID()
  for (const failures of [{}, { C: { mode: 'always', kind: 'crash' } }]) {
    const refused = await problemOf(await starter.post('/saga', { ...ada, username, failures }))
    expect(refused).toMatchObject({ status: 403, detail: expect.stringContaining('needs the role operator') })
  }
  const rows = await query(system.where.database, `SELECT 1 FROM saga WHERE input ->> 'username' = $1`, [username])
  expect(rows).toEqual([])
  const started = await starter.post('/saga?wait=60', { ...ada, username })
  expect(started.status).toBe(200)
  operator.started.push(((await started.json()) as { sagaId: string }).sagaId)
})

test('who cancels is who is logged in, and nobody else can be named', async () => {
  const sagaId = await operator.start({ C: { mode: 'first', n: 1, kind: 'hang' } })
  await operator.logged(sagaId, 'B success 1')
  const forged = await operator.post(`/saga/${sagaId}/cancel`, { reason: 'ordered twice', actor: 'vera' })
  expect(await problemOf(forged)).toMatchObject({
    status: 400,
    errors: [{ path: '/actor', message: 'is who is logged in; leave it out' }],
  })
  expect((await operator.post(`/saga/${sagaId}/cancel`, { reason: 'ordered twice' })).status).toBe(202)
  await operator.ended(sagaId)
  const rollback = (await operator.logRows(sagaId)).find(({ service }) => service === 'ROLLBACK')
  expect(rollback?.message).toContain('cancelled by olga: ordered twice')
  expect(await operator.rows(sagaId)).toEqual(nowhere)
})

describe('a session', () => {
  const withCookie = (setCookie: string) => ({ cookie: `theme=dark; ${setCookie.split(';')[0]}` })
  /** What another process with these tokens hands out. */
  const sessionOf = (name: 'vera' | 'olga', given = API_TOKENS) => {
    const { apiTokens } = loadConfig({ DATABASE_URL: 'postgres://nowhere', API_TOKENS: given })
    return withCookie(new Logins(apiTokens).sessionCookie({ name, role: 'viewer' }, { secure: false }))
  }

  test('is made from a token, is as good as it, and goes with log-out', async () => {
    const response = await nobody.post('/login', { token: tokens.starter })
    expect(await response.json()).toEqual({ login: true, name: 'sam', role: 'starter' })
    const cookie = response.headers.get('set-cookie') ?? ''
    expect(cookie).toMatch(/^saga_session=[^; ]+; Max-Age=43200; Path=\/; HttpOnly; SameSite=Strict$/)
    expect(cookie).not.toContain(tokens.starter)
    const headers = withCookie(cookie)
    expect(await (await nobody.request('/login', { headers })).json()).toEqual({
      login: true,
      name: 'sam',
      role: 'starter',
    })
    expect((await nobody.request('/logs', { headers })).status).toBe(200)
    expect((await nobody.post('/saga', {}, headers)).status).toBe(400)
    expect((await nobody.post('/saga/no-such-saga/cancel', { reason: 'x' }, headers)).status).toBe(403)

    const out = await nobody.post('/logout', {}, headers)
    expect(out.headers.get('set-cookie')).toBe('saga_session=; Max-Age=0; Path=/; HttpOnly; SameSite=Strict')
    expect(await (await nobody.request('/login')).json()).toEqual({ login: true })
  })

  test('is kept to https where it was made there', async () => {
    const { host } = new URL(system.where.api)
    const { headers } = await rawRequest(system.where.api, {
      method: 'POST',
      path: '/login',
      headers: { 'content-type': 'application/json', origin: `https://${host}` },
      body: JSON.stringify({ token: tokens.viewer }),
    })
    expect(String(headers['set-cookie'])).toMatch(/; HttpOnly; SameSite=Strict; Secure$/)
  })

  test('of another process with the same tokens is as good', async () => {
    expect((await nobody.request('/logs', { headers: sessionOf('vera') })).status).toBe(200)
  })

  test('ends with its token, after 12 hours, and when a letter of it is changed', async () => {
    const other = API_TOKENS.replace(tokens.viewer, 'another-token-of-vera')
    const fresh = sessionOf('vera').cookie
    const now = jest.spyOn(Date, 'now').mockReturnValue(Date.now() - 12 * 60 * 60 * 1_000)
    const old = sessionOf('vera').cookie
    now.mockRestore()
    const cookies = [
      sessionOf('vera', other).cookie,
      old,
      fresh.replace(/\.vera$/, '.olga'),
      fresh.replace(/=(\d)/, '=9'),
      fresh.replace(/\.[\w-]{43}\./, `.${'A'.repeat(43)}.`),
      'saga_session=',
      `saga_session=${tokens.operator}`,
      'saga_session=9999999999999..vera',
    ]
    for (const cookie of cookies)
      expect(await asUnauthorized(await nobody.request('/logs', { headers: { cookie } }))).toEqual(unauthorized)
  })

  test('does not stand in for a wrong token', async () => {
    const headers = { ...sessionOf('olga'), ...bearer(wrongToken) }
    expect(await asUnauthorized(await nobody.request('/logs', { headers }))).toEqual(unauthorized)
  })

  test.each(['http://evil.example', 'null', 'http://127.0.0.1:1'])(
    'is of no use to a page of another origin, %s',
    async (origin) => {
      const sagaId = await operator.start()
      const headers = { ...sessionOf('olga'), 'content-type': 'application/json', origin }
      const body = JSON.stringify({ reason: 'forged' })
      for (const path of [`/saga/${sagaId}/cancel`, '/login', '/logout']) {
        const { status } = await rawRequest(system.where.api, { method: 'POST', path, headers, body })
        expect({ path, status }).toEqual({ path, status: 403 })
      }
      expect(await operator.ended(sagaId)).toMatchObject({ status: 'COMPLETED' })
    },
  )
})

test('without tokens there is no login, and who asks need not say', async () => {
  const open = new Sagas(readShared().system)
  expect(await (await open.request('/login')).json()).toEqual({ login: false })
  expect((await open.request('/logs', { headers: bearer(wrongToken) })).status).toBe(200)
  expect((await problemOf(await open.post('/login', { token: wrongToken }))).status).toBe(405)
  const document = (await (await open.request('/openapi.json')).json()) as { security?: unknown }
  expect(document.security).toBeUndefined()
})

test.each([
  { what: 'the page', path: '/', status: 200 },
  { what: 'the reference page', path: '/docs', status: 200 },
  { what: 'an answer', path: '/logs', status: 200 },
  { what: 'a refusal', path: '/logs?limit=0', status: 400 },
  { what: 'nothing', path: '/nothing', status: 404 },
  { what: 'a refused token', path: '/logs', status: 401, headers: bearer(wrongToken) },
  { what: 'health', path: '/health/live', status: 200 },
])('a browser may do no more with $what than it needs to', async ({ path, status, headers }) => {
  const response = await viewer.request(path, { ...(headers && { headers }) })
  expect(response.status).toBe(status)
  expect(Object.fromEntries(response.headers)).toMatchObject({
    'content-security-policy':
      "default-src 'none';script-src 'self';style-src 'self';img-src 'self' data:;connect-src 'self';base-uri 'none';form-action 'none';frame-ancestors 'none'",
    'x-content-type-options': 'nosniff',
    'x-frame-options': 'DENY',
    'referrer-policy': 'no-referrer',
    'cross-origin-opener-policy': 'same-origin',
    'cross-origin-resource-policy': 'same-origin',
  })
  expect(response.headers.has('strict-transport-security')).toBe(false)
  expect(response.headers.get('cache-control')).toMatch(path === '/' ? /^public, max-age=0$/ : /^no-store$/)
})

test('who decides is who is logged in, for one saga and for many', async () => {
  const response = await stuck
  const { sagaId, status } = (await response.json()) as { sagaId: string; status: string }
  expect(status).toBe('NEEDS_ATTENTION')
  operator.started.push(sagaId)
  const decision = { step: 'A', action: 'skip', reason: 'seen to' }
  const forged = await operator.post(`/saga/${sagaId}/decision`, { ...decision, actor: 'vera' })
  expect(await problemOf(forged)).toMatchObject({ status: 400, errors: [{ path: '/actor' }] })
  const many = { filter: { step: 'none such' }, action: 'retry', reason: 'seen to' }
  expect(await problemOf(await operator.post('/saga/decisions', { ...many, actor: 'vera' }))).toMatchObject({
    errors: [{ path: '/actor' }],
  })

  expect((await operator.post(`/saga/${sagaId}/decision`, decision)).status).toBe(200)
  const { compensations } = await operator.ended(sagaId)
  expect(compensations.find(({ step }) => step === 'A')).toMatchObject({ status: 'skipped', actor: 'olga' })
  const accepted = (await (await operator.post('/saga/decisions', many)).json()) as { decisionsId: string }
  const progress = await viewer.request(`/saga/decisions/${accepted.decisionsId}`)
  expect(await progress.json()).toMatchObject({ actor: 'olga', matching: 0 })
})

test('who asks too often is told to wait, and nobody else is', async () => {
  const answer = await until('a request too many', async () => {
    const all = await Promise.all(Array.from({ length: 150 }, () => viewer.request('/logs?limit=0')))
    return all.find(({ status }) => status === 429)
  })
  expect(answer.headers.get('retry-after')).toBe('1')
  expect((await problemOf(answer)).detail).toContain('Try again in 1 second')
  expect((await operator.request('/logs')).status).toBe(200)
  expect((await viewer.request('/health/live')).status).toBe(200)
})

test('logging in with wrong tokens has an end, and then a right one has to wait as well', async () => {
  const statuses = new Set<number>()
  const answer = await until('an attempt too many', async () => {
    const response = await nobody.post('/login', { token: wrongToken })
    statuses.add(response.status)
    return response.status === 429 && response
  })
  expect([...statuses]).toEqual([401, 429])
  expect(Number(answer.headers.get('retry-after'))).toBeGreaterThan(0)
  expect((await problemOf(answer)).status).toBe(429)
  expect((await nobody.post('/login', { token: tokens.operator })).status).toBe(429)
  expect((await operator.request('/logs')).status).toBe(200)
})

test('no token stands in the log of the program', () => {
  const log = system.log()
  expect(log).toContain('A login with an unknown token was refused')
  expect(log).toContain('"name":"sam","role":"starter","needed":"operator"')
  for (const token of [...Object.values(tokens), wrongToken]) expect(log).not.toContain(token)
})

testReplay(() => operator)

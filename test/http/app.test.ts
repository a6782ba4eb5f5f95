import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals'
import type { FastifyInstance } from 'fastify'
import { pino } from 'pino'
import { loadConfig } from '../../src/config.js'
import { makeApp, type AppContext } from '../../src/http/app.js'
import { participantBounds, sagaBounds } from '../../src/saga/node/db.js'

/** The app by itself, with a login; what is behind it breaks at every touch. */
let app: FastifyInstance
const logged: string[] = []
const secret = 'SELECT payment FROM table_c -- relation "table_c" does not exist'

const broken = () => Promise.reject(new Error(secret))
let answer: () => Promise<never> = broken
afterEach(() => {
  answer = broken
})

beforeAll(async () => {
  const config = loadConfig({
    DATABASE_URL: 'postgres://nowhere',
    API_TOKENS: 'olga:operator:token-of-olga-0123456789',
  })
  const context = {
    config,
    store: { get: () => answer() },
    temporalHealth: { isAway: false },
    // One that counts nothing: the route of the figures is to be there.
    metrics: { url: 'http://127.0.0.1:9', meter: { createGauge: () => ({ set: () => {} }) } },
  }
  app = await makeApp(context as unknown as AppContext, pino({}, { write: (line) => void logged.push(line) }))
  await app.ready()
})
afterAll(() => app?.close())

test.each(['53100', '53200', '53300', '58030'])('PostgreSQL that says %s is a 503 with Retry-After', async (code) => {
  answer = () => Promise.reject(Object.assign(new Error(secret), { code, severity: 'ERROR' }))
  const headers = { authorization: 'Bearer token-of-olga-0123456789' }
  const response = await app.inject({ url: '/saga/some-saga', headers })
  expect({ status: response.statusCode, retryAfter: response.headers['retry-after'] }).toEqual({
    status: 503,
    retryAfter: '2',
  })
  expect(response.body).not.toContain('table_c')
})

/** Every method and path that the router knows, from its tree: a part of a path in a line, its children behind it. */
function routes(): { method: 'GET'; path: string }[] {
  const parts: string[] = []
  const lines = app.printRoutes({ commonPrefix: false }).split('\n').filter(Boolean)
  return lines.flatMap((line) => {
    const [, indent = '', part = '', methods = ''] = /^(.*?)[├└]── (\S*)(?: \(([\w, ]+)\))?$/.exec(line) ?? []
    const depth = indent.length / 4
    parts.splice(depth, Infinity, part)
    const path = parts.join('')
    return methods
      .split(', ')
      .filter(Boolean)
      .map((method) => ({ method: method as 'GET', path }))
  })
}

/** The page's own files, and the API's own reference: the same for everybody. */
const publicFiles = /^\/($|index\.html$|favicon\.svg$|assets\/|docs$|docs\/|openapi\.json$)/

test('every route that the router knows is one of the document, which names its role, or a public file', () => {
  const { paths = {} } = app.swagger() as { paths?: Record<string, object> }
  const documented = Object.entries(paths).flatMap(([path, methods]) =>
    Object.keys(methods).map((method) => `${method.toUpperCase()} ${path.replaceAll(/\{(\w+)\}/g, ':$1')}`),
  )
  const known = routes().map(({ method, path }) => ({
    path,
    route: `${method === ('HEAD' as string) ? 'GET' : method} ${path}`,
  }))
  expect(known.length).toBeGreaterThan(30)
  const others = known.filter(({ path, route }) => !documented.includes(route) && !publicFiles.test(path))
  expect(others).toEqual([])
})

test('without a token every route is a 401, but for what anyone may do', async () => {
  const open: string[] = []
  for (const { method, path } of routes()) {
    const url = path.replace(':id', 'x').replace('*', 'x')
    const { statusCode } = await app.inject({ method, url, headers: { host: 'localhost' } })
    if (statusCode !== 401 && !publicFiles.test(path)) open.push(`${method} ${path}`)
  }
  expect(open.toSorted()).toEqual([
    'GET /health/live',
    'GET /health/ready',
    'GET /login',
    'HEAD /health/live',
    'HEAD /health/ready',
    'HEAD /login',
    'POST /login',
    'POST /logout',
  ])
})

test('what breaks inside is a 500 that says nothing of it, and stands in the log', async () => {
  const headers = { host: 'localhost', authorization: 'Bearer token-of-olga-0123456789' }
  const answer = await app.inject({ url: '/saga/x', headers })
  expect(answer.statusCode).toBe(500)
  expect(answer.headers).toMatchObject({
    'content-type': expect.stringContaining('application/problem+json'),
    'cache-control': 'no-store',
    'content-security-policy': expect.stringContaining("default-src 'none'"),
    'x-content-type-options': 'nosniff',
  })
  expect(answer.json()).toEqual({
    type: 'about:blank',
    title: 'Internal Server Error',
    status: 500,
    detail: expect.not.stringMatching(/SELECT|table_c|Error/),
  })
  expect(logged.join('')).toContain('table_c')
})

test('no time is without a limit', () => {
  const { connectionTimeout, keepAliveTimeout, bodyLimit } = app.initialConfig
  const { handlerTimeout } = app.initialConfig as { handlerTimeout?: number }
  const { requestTimeout, headersTimeout } = app.server
  const limits = { requestTimeout, handlerTimeout, connectionTimeout, keepAliveTimeout, headersTimeout, bodyLimit }
  for (const [name, limit] of Object.entries({ ...limits, ...sagaBounds, ...participantBounds }))
    expect({ name, isLimited: (limit ?? 0) > 0 }).toEqual({ name, isLimited: true })
  // Node would swap them.
  expect(headersTimeout).toBeLessThanOrEqual(requestTimeout)
})

import { randomUUID } from 'node:crypto'
import { gzipSync } from 'node:zlib'
import { afterAll, expect, test } from '@jest/globals'
import type { Problem } from '../../src/http/schemas/common.js'
import type { Saga } from '../../src/http/schemas/saga.js'
import { rawBytes, rawEndless, rawRequest, type RawAnswer } from '../helpers/raw.js'
import { ada, everywhere, Sagas, testReplay } from '../helpers/sagas.js'
import { query } from '../helpers/shared.js'
import { startSystem } from '../helpers/system.js'

// A system of its own: nobody else writes to its tables while these tests look at them.
const system = await startSystem('bad-input')
afterAll(() => system.stop())
const sagas = new Sagas(system.where)
const { api } = sagas.where
const json = { 'content-type': 'application/json' }

/** What an answer says as a problem (RFC 9457), with nothing of the inside in it, and nothing for a browser to run or keep. */
function problemOf({ status, headers, body }: RawAnswer): Problem {
  expect({ status, type: headers['content-type'], body }).toMatchObject({
    type: expect.stringMatching(/^application\/problem\+json\b/),
  })
  expect(headers).toMatchObject({
    'cache-control': 'no-store',
    'content-security-policy': expect.stringContaining("default-src 'none'"),
    'x-content-type-options': 'nosniff',
  })
  expect(body).not.toMatch(
    /^\s*at |node_modules|\.[jt]s\b|\/work\/|SELECT|INSERT|SQLSTATE|saga_|FST_|ajv|"stack"|"code"/im,
  )
  const problem: Problem = JSON.parse(body)
  expect(problem).toMatchObject({
    type: 'about:blank',
    title: expect.stringMatching(/./),
    status,
    detail: expect.stringMatching(/./),
  })
  return problem
}

const post = (body: unknown, headers: Record<string, string> = json, path = '/saga') =>
  rawRequest(api, {
    method: 'POST',
    path,
    headers,
    body: typeof body === 'string' || Buffer.isBuffer(body) ? body : JSON.stringify(body),
  })

// Begun first, for the server waits for the rest of them.
const unfinished = [
  {
    what: 'whose body is shorter than it says',
    first: 'POST /saga HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n{',
    then: '',
  },
  { what: 'whose head comes a byte a second', first: 'GET /logs HTTP/1.1\r\nHost: localhost\r\nx: ', then: 'x' },
  {
    what: 'whose body comes a byte a second',
    first: 'POST /saga HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 999\r\n\r\n',
    then: ' ',
  },
].map((request) => {
  const startedAt = Date.now()
  const answer = rawEndless(api, { ...request, everyMs: 1_000 })
  return { what: request.what, answer: answer.then((given) => ({ ...given, afterMs: Date.now() - startedAt })) }
})

interface Bad {
  what: string
  /** Made from a body that would do, or sent as it is. */
  body: (good: Good) => unknown
  status?: number
  path?: string
}
interface Good {
  username: string
  address: string
  payment: string
}

const limits = { username: 100, address: 500, payment: 100 }
const fields = Object.entries(limits) as [keyof Good, number][]
const inField = (field: keyof Good, what: string, value: unknown): Bad => ({
  what: `${field}: ${what}`,
  body: (good) => ({ ...good, [field]: value }),
  path: `/${field}`,
})
const failing = (what: string, failures: unknown, path: string): Bad => ({
  what: `failures: ${what}`,
  body: (good) => ({ ...good, failures }),
  path: `/failures${path}`,
})

const badBodies: Bad[] = [
  { what: 'a bracket alone', body: () => '{' },
  { what: 'nothing', body: () => '' },
  { what: 'null', body: () => 'null', path: '' },
  { what: 'a list', body: (good) => [good], path: '' },
  { what: 'a text', body: () => '"saga"', path: '' },
  { what: 'a byte order mark', body: (good) => `\ufeff${JSON.stringify(good)}` },
  { what: 'UTF-16', body: (good) => Buffer.from(JSON.stringify(good), 'utf16le') },
  { what: 'a trailing comma', body: (good) => `${JSON.stringify(good).slice(0, -1)},}` },
  { what: 'NaN', body: (good) => JSON.stringify(good).replace(/"payment":"[^"]+"/, '"payment":NaN') },
  { what: 'two bodies', body: (good) => JSON.stringify(good).repeat(2) },
  {
    what: 'bytes that are not UTF-8',
    body: (good) => Buffer.from(JSON.stringify({ ...good, username: '\u00ff\u00fe' }), 'latin1'),
  },
  { what: '10,000 lists in one another', body: () => `${'['.repeat(10_000)}${']'.repeat(10_000)}`, path: '/0/0/0' },
  { what: 'an unknown field', body: (good) => ({ ...good, role: 'admin' }), path: '/role' },
  { what: 'a field of the answer', body: (good) => ({ ...good, sagaId: randomUUID() }), path: '/sagaId' },
  { what: 'an unknown field with odd characters', body: (good) => ({ ...good, 'a/b~c': 1 }), path: '/a~1b~0c' },
  {
    what: 'a field in another case',
    body: ({ username, ...good }) => ({ ...good, Username: username }),
    path: '/Username',
  },
  { what: '__proto__', body: (good) => `{"__proto__":{"role":"admin"},${JSON.stringify(good).slice(1)}` },
  { what: '__proto__, escaped', body: (good) => `{"\\u005f_proto__":{},${JSON.stringify(good).slice(1)}` },
  { what: 'constructor.prototype', body: (good) => ({ ...good, constructor: { prototype: { role: 'admin' } } }) },
  ...fields.flatMap(([field, limit]): Bad[] => [
    { what: `${field}: missing`, body: ({ [field]: _left, ...good }) => good, path: `/${field}` },
    inField(field, 'a number', 5),
    inField(field, 'true', true),
    inField(field, 'null', null),
    inField(field, 'an object', {}),
    inField(field, 'a list', ['ada']),
    inField(field, 'empty', ''),
    inField(field, 'only blanks', ' \u00a0\u3000 '),
    inField(field, 'only zero-width characters', '\u200b\u200d\ufeff'),
    inField(field, `${limit + 1} characters`, 'x'.repeat(limit + 1)),
    inField(field, `${limit + 1} emoji`, '🙃'.repeat(limit + 1)),
    inField(field, 'NUL', 'a\u0000b'),
    inField(field, 'a lone surrogate', 'a\ud800b'),
    inField(field, 'a line break', 'a\r\nb'),
    inField(field, 'a tab inside', 'a\tb'),
    inField(field, 'an escape sequence', '\u001b[31mred'),
    inField(field, 'a C1 control character', 'a\u0085b'),
  ]),
  failing('a text', 'none', ''),
  failing('null', null, ''),
  failing('a list', [], ''),
  failing('an unknown service', { D: { mode: 'always' } }, '/D'),
  failing('__defineGetter__', { __defineGetter__: { mode: 'always' } }, '/__defineGetter__'),
  failing('a mode alone', { A: 'always' }, '/A'),
  failing('no mode', { A: {} }, '/A/mode'),
  failing('an unknown mode', { A: { mode: 'sometimes' } }, '/A/mode'),
  failing('an unknown kind', { B: { mode: 'always', kind: 'sigh' } }, '/B/kind'),
  failing('an unknown when', { B: { mode: 'always', when: 'during' } }, '/B/when'),
  failing('an unknown on', { B: { mode: 'always', on: 'undo' } }, '/B/on'),
  failing('an unknown field', { B: { mode: 'always', after: 3 } }, '/B/after'),
  failing('first without n', { C: { mode: 'first' } }, '/C/n'),
  failing('first 0', { C: { mode: 'first', n: 0 } }, '/C/n'),
  failing('first -1', { C: { mode: 'first', n: -1 } }, '/C/n'),
  failing('first 1.5', { C: { mode: 'first', n: 1.5 } }, '/C/n'),
  failing('first "1"', { C: { mode: 'first', n: '1' } }, '/C/n'),
  failing('n with another mode', { C: { mode: 'always', n: 1 } }, '/C'),
  failing('rate without a rate', { C: { mode: 'rate' } }, '/C/rate'),
  failing('rate 2', { C: { mode: 'rate', rate: 2 } }, '/C/rate'),
  failing('a rate that is no number', { C: { mode: 'rate', rate: 'NaN' } }, '/C/rate'),
  failing('rate null', { C: { mode: 'rate', rate: null } }, '/C/rate'),
  failing('rate -0.1', { C: { mode: 'rate', rate: -0.1 } }, '/C/rate'),
  failing('a rate with another mode', { C: { mode: 'first', n: 1, rate: 0.5 } }, '/C'),
  failing('reject with after', { C: { mode: 'always', kind: 'reject', when: 'after' } }, '/C/when'),
  failing('reject on compensate', { C: { mode: 'always', kind: 'reject', on: 'compensate' } }, '/C/on'),
  failing('the second of a list', { C: [{ mode: 'none' }, { mode: 'first' }] }, '/C/1/n'),
  failing('a list in a list', { C: [[{ mode: 'none' }]] }, '/C/0'),
  failing('a list of 101', { C: Array(101).fill({ mode: 'none' }) }, '/C'),
]

/** Rows of each table that a request could have written to. */
const countRows = async () => {
  const [row] = await query(
    sagas.where.database,
    `SELECT (SELECT count(*) FROM saga) AS saga, (SELECT count(*) FROM saga_log) AS log, (SELECT count(*) FROM table_a) AS a,
            (SELECT count(*) FROM saga_decisions) AS decisions, (SELECT generation FROM failure_injection) AS failures`,
  )
  return row
}
const before = await countRows()

// What is refused comes first; behind it all there must be no row more than before it.
test.each(badBodies)('POST /saga refuses $what, with 400', async ({ body, path }) => {
  const problem = problemOf(await post(body(ada)))
  expect(problem.status).toBe(400)
  const named = problem.errors?.map(({ path }) => path) ?? []
  expect(named).toEqual(expect.arrayContaining(path === undefined ? [] : [path]))
})

test('every field at fault is named at once', async () => {
  const problem = problemOf(await post({ username: 5, address: '', role: 'admin', failures: { D: {} } }))
  expect(problem.status).toBe(400)
  const paths = problem.errors?.map(({ path }) => path)
  expect(paths?.toSorted()).toEqual(['/address', '/failures/D', '/payment', '/role', '/username'])
})

const inexact: { what: string; value: string; below?: string }[] = [
  { what: 'an integer of 20 digits', value: '12345678901234567890' },
  { what: '2^53 + 1', value: '9007199254740993' },
  { what: '1e400', value: '1e400' },
  { what: 'a share of 20 digits', value: '0.12345678901234567890' },
  { what: 'a NUL', value: '"\\u0000"' },
  { what: 'a NUL in a name', value: '{"\\u0000":1}' },
  { what: 'half a character', value: '"\\ud800"' },
  { what: '6,000 levels', value: '['.repeat(6_000) + ']'.repeat(6_000) },
]
const word = '"step":"B","action":"retry","reason":"mended","actor":"grace"'
const entries = [
  { path: '/saga', body: '{"username":"a","address":"b","payment":"c","failures":{"A":?}}', at: '/failures/A' },
  { path: '/failures', method: 'PUT', body: '{"A":{"mode":"rate","rate":?}}', at: '/A/rate' },
  { path: '/saga/x/cancel', body: '{"reason":?}', at: '/reason' },
  { path: '/saga/x/decision', body: `{${word},"input":?}`, at: '/input' },
  { path: '/saga/x/decision', body: `{${word},"input":{"to":[1,?]}}`, at: '/input/to/1' },
  { path: '/saga/decisions', body: `{"filter":{"step":"B","errorType":?},${word}}`, at: '/filter/errorType' },
  { path: '/saga/bulk', body: '{"sagas":[{"username":?}]}', at: '/sagas/0/username' },
  { path: '/saga/bulk', type: 'application/x-ndjson', body: '{"username":?}\n', at: '/username' },
]

test.each(entries.flatMap((entry) => inexact.map((one) => ({ ...entry, ...one }))))(
  '$path with $what at $at is refused with 400, and the place is named',
  async ({ path, method = 'POST', type = 'application/json', body, at, value }) => {
    const text = body.replace('?', value)
    const headers = { 'content-type': type }
    const problem = problemOf(await rawRequest(api, { method, path, headers, body: text }))
    expect(problem.status).toBe(400)
    const named = problem.errors?.map(({ path }) => path) ?? []
    // What is nested too deeply is named by where that begins.
    expect(named).toContainEqual(expect.stringMatching(new RegExp(`^${at}(/0)*$`)))
    expect(await countRows()).toEqual(before)
  },
)

test.each(badBodies.filter(({ what }) => what.startsWith('failures: ')))(
  'PUT /failures refuses $what, and leaves what is in force',
  async ({ body, path = '' }) => {
    const inForce = await rawRequest(api, { path: '/failures' })
    const { failures } = body({ username: '', address: '', payment: '' }) as { failures: unknown }
    const answer = await rawRequest(api, {
      method: 'PUT',
      path: '/failures',
      headers: json,
      body: JSON.stringify(failures),
    })
    const problem = problemOf(answer)
    expect(problem.status).toBe(400)
    expect(problem.errors).toContainEqual({ path: path.replace('/failures', ''), message: expect.any(String) })
    expect((await rawRequest(api, { path: '/failures' })).body).toBe(inForce.body)
  },
)

test.each([
  { what: 'none', headers: {} },
  ...[
    'text/plain',
    'application/x-www-form-urlencoded',
    'multipart/form-data; boundary=x',
    'application/xml',
    'application/json garbage',
    'application/json\tfoo',
    'application/jsonx',
    'application/json; charset=utf-16',
    'application/json; charset=latin1',
    'application/json;charset="utf-7"',
    'application/json; charset=',
    'json',
    ' ',
  ].map((type) => ({ what: `"${type}"`, headers: { 'content-type': type } })),
])('content type $what is refused with 415', async ({ headers }) => {
  const answer = await post({ ...ada, failures: {} }, headers)
  expect(problemOf(answer).status).toBe(415)
})

const plain = Buffer.from(JSON.stringify({ ...ada, failures: {} }))

test.each([
  { what: 'gzip', body: gzipSync(plain) },
  { what: 'a bomb', body: gzipSync(Buffer.alloc(10_000_000, 32)), encoding: 'gzip' },
  { what: 'gzip that it is not', body: plain, encoding: 'gzip' },
  { what: 'br', body: plain },
  { what: 'gzip, gzip', body: plain },
  { what: 'nonsense', body: plain },
])('a body under Content-Encoding ($what) is refused with 415', async ({ what, body, encoding = what }) => {
  expect(problemOf(await post(body, { ...json, 'content-encoding': encoding })).status).toBe(415)
})

test.each([
  'Application/JSON',
  'application/json; charset=utf-8',
  'application/json; charset="UTF-8"',
  ' application/json',
  'application/json ;charset=UTF-8',
  'Application/Json ;',
  'application/json; x=y',
])('a body under content type "%s" is validated like any other', async (type) => {
  const problem = problemOf(await post({ ...ada, username: 5 }, { 'content-type': type }))
  expect(problem.status).toBe(400)
  expect(problem.errors).toMatchObject([{ path: '/username' }])
})

const bodyOf = (bytes: number) => String(plain) + ' '.repeat(bytes - plain.length)

test.each([
  { what: 'by its length', headers: {} },
  { what: 'in chunks', headers: { 'transfer-encoding': 'chunked' } },
])('a body of 64 KiB and a byte, sent $what, is refused with 413', async ({ headers }) => {
  expect(problemOf(await post(bodyOf(64 * 1024 + 1), { ...json, ...headers })).status).toBe(413)
})

test('a body in chunks without end is refused with 413 once it is too large', async () => {
  const answer = await rawEndless(api, {
    first:
      'POST /saga HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n',
    then: `1000\r\n${' '.repeat(4_096)}\r\n`,
    everyMs: 1,
  })
  expect(problemOf(answer).status).toBe(413)
  expect(answer.bytes).toBeLessThan(1024 * 1024)
})

test.each([
  { method: 'PUT', path: '/saga', allow: ['GET', 'HEAD', 'POST'] },
  { method: 'DELETE', path: '/saga?q=ada', allow: ['GET', 'HEAD', 'POST'] },
  { method: 'DELETE', path: `/saga/${randomUUID()}`, allow: ['GET', 'HEAD'] },
  { method: 'POST', path: '/saga/x?wait=1', allow: ['GET', 'HEAD'] },
  { method: 'GET', path: '/saga/x/cancel', allow: ['POST'] },
  { method: 'POST', path: '/saga/x/events', allow: ['GET'] },
  { method: 'DELETE', path: '/logs', allow: ['GET', 'HEAD'] },
  { method: 'PATCH', path: '/failures', allow: ['GET', 'HEAD', 'PUT'] },
  { method: 'OPTIONS', path: '/saga', allow: ['POST'] },
  { method: 'TRACE', path: '/logs', allow: ['GET', 'HEAD'] },
  { method: 'PROPFIND', path: '/logs', allow: ['GET', 'HEAD'] },
  { method: 'POST', path: '/health/ready', allow: ['GET', 'HEAD'] },
  { method: 'DELETE', path: '/saga/decisions', allow: ['POST'] },
  { method: 'DELETE', path: '/saga/decisions/x', allow: ['GET', 'HEAD'] },
  { method: 'PUT', path: '/saga/x/decision', allow: ['POST'] },
  { method: 'DELETE', path: '/saga/x/plan', allow: ['GET', 'HEAD'] },
])('$method $path is refused with 405, and told what is possible', async ({ method, path, allow }) => {
  const answer = await rawRequest(api, { method, path, ...(/^P[AOU]/.test(method) && { headers: json, body: '{}' }) })
  expect(problemOf(answer).status).toBe(405)
  expect(answer.headers['allow']?.split(', ')).toEqual(expect.arrayContaining(allow))
})

test('another method in a header is not listened to', async () => {
  const headers = { 'x-http-method-override': 'PUT' }
  const before = await rawRequest(api, { path: '/failures' })
  expect(await rawRequest(api, { path: '/failures', headers })).toMatchObject({ status: 200, body: before.body })
})

const longId = 'é'.repeat(256)

test.each(
  [
    ...['/nothing', '/SAGA', '/SAGA/x', '//saga', '//saga/x', `/saga/${randomUUID()}/rows`, '/logs/', '/favicon.png'],
    ...['/logs%2f', '/%2flogs', '/saga%2fx', '/docs/..%2flogs', '/logs;limit=1'],
    ...[
      '/../package.json',
      '/..%2fpackage.json',
      '/%2e%2e/package.json',
      '/..%5cpackage.json',
      '/%252e%252e/package.json',
      '/assets/..%2f..%2fpackage.json',
      '/docs/static/..%2f..%2fpackage.json',
      '/.git/config',
      '/.env',
      '/src/http/',
      '/assets',
      '/assets/',
      '/index.html%00',
    ],
    ...[`/saga/${randomUUID()}`, '/saga/abc', '/saga/..', '/saga/%2E%2E', `/saga/${'x'.repeat(255)}`],
    ...[`/saga/${encodeURIComponent(longId.slice(1))}`, '/saga/%27%3B%20DROP%20TABLE%20saga%3B--', '/saga/%25'],
  ].map((path) => ({ path: path.slice(0, 60), whole: path })),
)('GET $path is a 404', async ({ whole }) => {
  expect(problemOf(await rawRequest(api, { path: whole })).status).toBe(404)
})

test.each([
  { what: 'an empty id', path: '/saga/', status: 400 },
  { what: 'a bad escape', path: '/saga/%', status: 400 },
  { what: 'a bad escape', path: '/saga/%zz', status: 400 },
  { what: 'a bad escape below a saga', path: '/saga/%zz/events', status: 400 },
  { what: 'bytes that are not UTF-8', path: '/saga/%ff%fe', status: 400 },
  { what: 'a surrogate', path: '/saga/%ED%A0%80', status: 400 },
  { what: 'NUL', path: '/saga/a%00b', status: 400 },
  { what: 'a line break', path: '/saga/a%0Ab', status: 400 },
  { what: 'a line break, of events', path: '/saga/a%0Ab/events', status: 400 },
  { what: 'an id of 256 characters', path: `/saga/${'x'.repeat(256)}`, status: 400 },
  { what: 'an id of 256 letters beyond ASCII', path: `/saga/${encodeURIComponent(longId)}`, status: 400 },
  { what: 'an id of 5,000 characters', path: `/saga/${'x'.repeat(5_000)}`, status: 414 },
])('GET of a URL with $what is refused with $status', async ({ path, status }) => {
  expect(problemOf(await rawRequest(api, { path })).status).toBe(status)
})

test.each([
  ...['0', '-1', '501', '1000000000', '1.5', '', 'ten', 'null', '1&limit=2'].map((value) => ({
    query: `limit=${value}`,
    path: '/limit',
  })),
  ...['0', '-1', '1.5', '', 'x', '9223372036854775808', '99999999999999999999', '1&before=2'].map((value) => ({
    query: `before=${value}`,
    path: '/before',
  })),
  ...['', '%00', 'a%0Ab', 'x'.repeat(256), 'a&saga=b'].map((value) => ({ query: `saga=${value}`, path: '/saga' })),
  ...['', 'A&service=B'].map((value) => ({ query: `service=${value}`, path: '/service' })),
  ...['', 'failed&status=success'].map((value) => ({ query: `status=${value}`, path: '/status' })),
  { query: 'status[]=failed', path: '/status[]' },
  { query: 'sort=id;drop', path: '/sort' },
  { query: '__proto__[x]=1', path: '/__proto__[x]' },
])('GET /logs?$query is refused at $path', async ({ query, path }) => {
  const problem = problemOf(await rawRequest(api, { path: `/logs?${query}` }))
  expect(problem.status).toBe(400)
  expect(problem.errors).toMatchObject([{ path }])
})

test('of what the page loads there are no source maps', async () => {
  const page = (await rawRequest(api, { path: '/' })).body
  const scripts = [...page.matchAll(/(?:src|href)="(\/assets\/[^"]+)"/g)].map(([, path = '']) => path)
  expect(scripts.length).toBeGreaterThan(1)
  for (const path of scripts) expect(await rawRequest(api, { path: `${path}.map` })).toMatchObject({ status: 404 })
})

test('a folder above the files of the reference page is not reached', async () => {
  const path = '/docs/static/%2e%2e/%2e%2e/package.json'
  expect([403, 404]).toContain(problemOf(await rawRequest(api, { path })).status)
})

const { host, port } = new URL(api)

test.each([
  ...[
    'evil.example',
    `evil.example:${port}`,
    '127.0.0.1.evil.com',
    '127.attacker.example',
    'localhost.evil.com',
    '0.0.0.0',
  ].map((host) => ({ what: `Host "${host}"`, headers: { host } })),
  ...[
    'http://evil.example',
    'null',
    '',
    `http://127.0.0.1:1`,
    `http://evil.example:${port}`,
    `http://${host}.evil.com`,
  ].map((origin) => ({
    what: `Origin "${origin.replace(port, 'PORT')}"`,
    headers: { origin },
  })),
  { what: 'a Host that only a proxy would name', headers: { host: 'evil.example', 'x-forwarded-host': host } },
  ...['cross-site', 'same-site'].map((site) => ({
    what: `what a page loads from a foreign one (${site})`,
    headers: { 'sec-fetch-site': site, 'sec-fetch-mode': 'no-cors' },
  })),
])('$what is refused with 403, whatever is asked', async ({ headers }) => {
  expect(problemOf(await post(plain, { ...json, ...headers })).status).toBe(403)
  expect(problemOf(await rawRequest(api, { path: '/logs', headers })).status).toBe(403)
  expect(problemOf(await rawRequest(api, { path: `/saga/${randomUUID()}/events`, headers })).status).toBe(403)
  expect(problemOf(await rawRequest(api, { path: '/nothing', headers })).status).toBe(403)
})

test('a link on a foreign page leads here, but its form does not', async () => {
  const headers = { 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'navigate' }
  expect(await rawRequest(api, { path: '/', headers })).toMatchObject({ status: 200 })
  expect(problemOf(await post(plain, { ...json, ...headers })).status).toBe(403)
})

test('the page itself, under each of its names, may ask', async () => {
  for (const name of ['127.0.0.1', 'localhost', 'LOCALHOST', '[::1]']) {
    const headers = { host: `${name}:${port}`, origin: `http://${name}:${port}` }
    expect(await rawRequest(api, { path: '/logs', headers })).toMatchObject({ status: 200 })
  }
})

test.each([
  { what: 'no HTTP at all', bytes: 'hello\r\n\r\n', status: 400 },
  { what: 'an empty Host', bytes: 'GET /logs HTTP/1.1\r\nHost: \r\nconnection: close\r\n\r\n', status: 403 },
  { what: 'a request line without a version', bytes: 'GET /saga\r\n\r\n', status: 400 },
  { what: 'no Host', bytes: 'GET /logs HTTP/1.1\r\nconnection: close\r\n\r\n', status: 400 },
  {
    what: 'a header with a blank in its name',
    bytes: 'GET /logs HTTP/1.1\r\nHost: localhost\r\nbad header: 1\r\n\r\n',
    status: 400,
  },
  {
    what: 'a length and chunks at once',
    bytes: 'POST /saga HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
    status: 400,
  },
  {
    what: 'a chunk of nonsense',
    bytes:
      'POST /saga HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n',
    status: 400,
  },
  {
    what: 'a length that is none',
    bytes: 'POST /saga HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n',
    status: 400,
  },
  {
    what: '20 KiB of headers',
    bytes: `GET /logs HTTP/1.1\r\nHost: localhost\r\nx: ${'x'.repeat(20 * 1024)}\r\n\r\n`,
    status: 431,
  },
  ...['a\nb', 'a\rb', 'a\0b', 'a\r\n b'].map((value) => ({
    what: `a header of ${JSON.stringify(value)}`,
    bytes: `GET /logs HTTP/1.1\r\nHost: localhost\r\nx: ${value}\r\n\r\n`,
    status: 400,
  })),
  {
    what: 'two lengths',
    bytes: 'POST /saga HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}\n',
    status: 400,
  },
  {
    what: 'an encoding of its transfer that is none',
    bytes:
      'POST /saga HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n',
    status: 400,
  },
  {
    what: 'two Hosts',
    bytes: 'GET /logs HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\nconnection: close\r\n\r\n',
    status: 400,
  },
  { what: 'the greeting of HTTP/2', bytes: 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', status: 400 },
  {
    what: 'the wish for a tunnel',
    bytes: 'CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example:443\r\n\r\n',
    status: 405,
  },
  {
    what: 'an Expect that is nonsense',
    bytes: 'POST /saga HTTP/1.1\r\nHost: localhost\r\nExpect: wonders\r\nContent-Length: 2\r\n\r\n{}',
    status: 417,
  },
  { what: 'a URL of 20 KiB', bytes: `GET /${'x'.repeat(20 * 1024)} HTTP/1.1\r\nHost: localhost\r\n\r\n`, status: 431 },
])('a request with $what is answered with $status', async ({ bytes, status }) => {
  expect(problemOf(await rawBytes(api, bytes)).status).toBe(status)
})

test('a request that is refused before its body is read has that one answer, though its body is broken', async () => {
  const bytes = 'POST /saga HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n'
  const { status, body } = await rawBytes(api, bytes)
  expect({ status, detail: JSON.parse(body).detail }).toEqual({ status: 415, detail: expect.any(String) })
})

test('nothing of all this has written a row', async () => {
  expect(await countRows()).toEqual(before)
})

test('a body of 64 KiB is read', async () => {
  const { status, body } = await post(bodyOf(64 * 1024))
  expect(status).toBe(202)
  sagas.started.push(JSON.parse(body).sagaId)
})

test('of a field that comes twice the last counts', async () => {
  const { status, body } = await post(`{"username":7,${String(plain).slice(1)}`, json, '/saga?wait=60')
  expect(status).toBe(200)
  const saga: Saga = JSON.parse(body)
  sagas.started.push(saga.sagaId)
  expect(saga.input.username).toBe(ada.username)
  expect(problemOf(await post(`${String(plain).slice(0, -1)},"username":7}`)).errors).toMatchObject([
    { path: '/username' },
  ])
})

test.each([
  ['a header named __proto__', { ['__proto__']: 'x', 'constructor.prototype': 'x' }],
  ['an Accept of something else', { accept: 'image/png' }],
  ['the wish for another protocol', { connection: 'Upgrade', upgrade: 'websocket' }],
  [
    'what only a proxy would say',
    { 'x-forwarded-for': '6.6.6.6', 'x-forwarded-proto': 'https', forwarded: 'for=6.6.6.6' },
  ],
])('%s changes nothing', async (_what, headers) => {
  const { status, body, headers: answered } = await rawRequest(api, { path: '/failures', headers })
  expect({ status, type: answered['content-type'] }).toEqual({ status: 200, type: 'application/json; charset=utf-8' })
  expect(JSON.parse(body)).toHaveProperty('A')
})

test('a polluted body pollutes nothing', async () => {
  await post('{"constructor":{"prototype":{"polluted":1}}}')
  await rawRequest(api, { path: '/logs?__proto__[polluted]=1' })
  const saga = await sagas.run()
  expect(saga).not.toHaveProperty('polluted')
  expect(saga.status).toBe('COMPLETED')
})

test.each([
  { what: 'right-to-left override', text: 'ada \u202egnp.exe' },
  { what: 'an emoji of several', text: '👩‍👩‍👧‍👦 family' },
  { what: 'four-byte letters', text: '𝒜𝒹𝒶 𠮷' },
  { what: 'a letter and its accent apart', text: 'e\u0301te\u0301' },
  { what: 'markup', text: '<script>alert(1)</script><img src=x onerror=alert(1)>' },
  { what: 'SQL', text: "'; DROP TABLE table_a; --" },
  { what: 'templates', text: '${jndi:ldap://x} {{7*7}} %s $1' },
  { what: 'a backslash and quotes', text: '\\ " \' \\u0000' },
  { what: 'the name of a prototype', text: '__proto__' },
  { what: '100 emoji', text: '🙃'.repeat(100) },
])('$what in a text is taken as it is', async ({ text }) => {
  const { status, body } = await post(
    { username: text, address: text, payment: text, failures: {} },
    json,
    '/saga?wait=60',
  )
  expect(status).toBe(200)
  const saga: Saga = JSON.parse(body)
  sagas.started.push(saga.sagaId)
  expect(saga).toMatchObject({ status: 'COMPLETED', input: { username: text, address: text } })
  expect(await sagas.rows(saga.sagaId)).toEqual(everywhere)
  const kept = await query(
    sagas.where.database,
    `SELECT username, address, payment_method FROM table_a a JOIN table_b b ON b.user_id = a.id JOIN table_c c ON c.user_id = a.id
     WHERE a.saga_id = $1`,
    [saga.sagaId],
  )
  expect(kept).toEqual([{ username: text, address: text, payment_method: text }])
})

test('blanks around a text do not count, and are not kept', async () => {
  const username = `\u00a0\t${'x'.repeat(100)}\r\n `
  const { status, body } = await post({ ...ada, username, failures: {} }, json, '/saga?wait=60')
  expect(status).toBe(200)
  const saga: Saga = JSON.parse(body)
  sagas.started.push(saga.sagaId)
  expect(saga.input.username).toBe('x'.repeat(100))
})

test.each(unfinished)('a request $what is given up with 408, within 30 s', async ({ answer }) => {
  const { afterMs, ...given } = await answer
  expect(problemOf(given).status).toBe(408)
  expect(afterMs).toBeLessThan(35_000)
})

testReplay(() => sagas)

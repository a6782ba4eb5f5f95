import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { pino } from 'pino'
import { makePool, type Client, type Pool } from '../../src/saga/node/db.js'
import { outcomeUnknown, rejected } from '../../src/saga/errors.js'
import { startParticipantServer, type RunningParticipant } from '../../src/saga/node/participant-server.js'
import type { Json, Participant } from '../../src/saga/types.js'
import { userInput } from '../../src/services/user.js'
import { rawBytes, rawRequest } from '../helpers/raw.js'
import { makeServiceDatabase, startService, type ServiceProcess } from '../helpers/services.js'
import { startProgram } from '../helpers/system.js'
import { query, readShared } from '../helpers/shared.js'
import { until } from '../helpers/until.js'

// One server on a participant that does as its input says, in the test's process; and service A as a program.
const logger = pino({ level: 'silent' })
let database: string
let pool: Pool
let server: RunningParticipant

type Input = { username: string }

/** Refuses, breaks or is away where the user's name says so. */
const service: Participant<Input, { userId: string }, Client> = {
  name: 'user',
  async invoke(tx, { sagaId, input: { username } }) {
    const { rows } = await tx.query('INSERT INTO table_a (username, saga_id) VALUES ($1, $2) RETURNING id', [
      username,
      sagaId,
    ])
    if (username === 'refused') throw rejected('no user of that name')
    if (username === 'unknown') throw outcomeUnknown('the other side did not say')
    if (username === 'broken') throw new Error('SELECT secret FROM vault failed at line 7')
    if (username === 'twice') await tx.query('INSERT INTO table_a (username, saga_id) VALUES ($1, $2)', ['x', sagaId])
    if (username === 'large') return { userId: 'x'.repeat(1_000_000) as unknown as number }
    return { userId: rows[0].id }
  },
  async compensate(tx, { sagaId, input: { username } }) {
    await tx.query('DELETE FROM table_a WHERE saga_id = $1 AND username = $2', [sagaId, username])
  },
  async probe(tx, { sagaId }) {
    const { rows } = await tx.query('SELECT id FROM table_a WHERE saga_id = $1', [sagaId])
    return rows[0] ? { applied: true, result: { userId: rows[0].id } } : { applied: false }
  },
}

const start = (over: Partial<Parameters<typeof startParticipantServer>[0]> = {}) =>
  startParticipantServer({
    participant: service,
    input: userInput,
    databaseUrl: database,
    host: '127.0.0.1',
    port: 0,
    failureInjection: true,
    logger,
    ...over,
  })

beforeAll(async () => {
  database = await makeServiceDatabase('protocol', 'A')
  pool = makePool(database, { max: 2, name: 'protocol-test' })
  server = await start()
})
afterAll(async () => {
  await server.stop()
  await pool.end()
})

interface Answer {
  status: number
  type: string | null
  body: Record<string, Json>
}

async function call(
  operation: string,
  { sagaId = randomUUID(), body = {}, url = server.url }: { sagaId?: string; body?: Json; url?: string } = {},
): Promise<Answer> {
  const response = await fetch(`${url}/${operation}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'saga-id': encodeURIComponent(sagaId), 'saga-step': 'A' },
    body: JSON.stringify(body),
  })
  const answer = (await response.json()) as Record<string, Json>
  return { status: response.status, type: response.headers.get('content-type'), body: answer }
}

const ada = { input: { username: 'ada' } }
const problem = (status: number, type: string, detail: unknown) => ({
  status,
  type: expect.stringMatching(/^application\/problem\+json/),
  body: expect.objectContaining({ type: `urn:saga-participant:${type}`, status, title: expect.any(String), detail }),
})
const answered = (body: Json) => ({ status: 200, type: expect.stringMatching(/^application\/json/), body })

async function users(sagaId: string): Promise<number> {
  return (await pool.query('SELECT FROM table_a WHERE saga_id = $1', [sagaId])).rows.length
}

test('an invoke, its duplicate, its compensation and a late invoke are answered with verdicts and a typed problem', async () => {
  const sagaId = randomUUID()
  const first = await call('invoke', { sagaId, body: ada })
  expect(first).toEqual(answered({ verdict: 'applied', result: { userId: expect.any(String) as never } }))
  expect(await call('invoke', { sagaId, body: ada })).toEqual(
    answered({ verdict: 'duplicate', result: first.body['result'] ?? null }),
  )
  expect(await call('compensate', { sagaId })).toEqual(answered({ verdict: 'done' }))
  expect(await call('compensate', { sagaId })).toEqual(answered({ verdict: 'done' }))
  expect(await call('invoke', { sagaId, body: ada })).toEqual(
    problem(409, 'late-invoke', expect.stringContaining(sagaId)),
  )
  expect(await users(sagaId)).toBe(0)
})

test('a compensation of what never was is empty, and so is a second', async () => {
  const sagaId = randomUUID()
  expect(await call('compensate', { sagaId })).toEqual(answered({ verdict: 'empty' }))
  expect(await call('compensate', { sagaId })).toEqual(answered({ verdict: 'empty' }))
})

test('a compensation takes the corrected input in the place of the kept one', async () => {
  const sagaId = randomUUID()
  await call('invoke', { sagaId, body: ada })
  await pool.query(`UPDATE table_a SET username = 'grace' WHERE saga_id = $1`, [sagaId])
  expect(await call('compensate', { sagaId, body: { input: { username: 'grace' } } })).toEqual(
    answered({ verdict: 'done' }),
  )
  expect(await users(sagaId)).toBe(0)
})

test('a refusal is a 422 that is kept, until a new decision asks again', async () => {
  const sagaId = randomUUID()
  const refusal = problem(422, 'rejected', 'no user of that name')
  expect(await call('invoke', { sagaId, body: { input: { username: 'refused' } } })).toEqual(refusal)
  expect(await call('invoke', { sagaId, body: ada })).toEqual(refusal)
  expect(await users(sagaId)).toBe(0)
  expect((await call('invoke', { sagaId, body: { ...ada, decisions: 1 } })).body).toMatchObject({ verdict: 'applied' })
})

test('settle says applied with the result, or sees to it that it never will be', async () => {
  const [applied, never] = [randomUUID(), randomUUID()]
  const { body } = await call('invoke', { sagaId: applied, body: ada })
  expect(await call('settle', { sagaId: applied })).toEqual(
    answered({ verdict: 'applied', result: body['result'] ?? null }),
  )
  expect(await call('settle', { sagaId: never })).toEqual(answered({ verdict: 'empty' }))
  expect((await call('invoke', { sagaId: never, body: ada })).status).toBe(409)
})

test('behind forbid a compensation runs nothing, and an invoke is late', async () => {
  const [applied, never] = [randomUUID(), randomUUID()]
  await call('invoke', { sagaId: applied, body: ada })
  expect(await call('forbid', { sagaId: applied })).toEqual(answered({}))
  expect(await call('compensate', { sagaId: applied })).toEqual(answered({ verdict: 'forbidden' }))
  expect(await users(applied)).toBe(1)
  expect(await call('forbid', { sagaId: never })).toEqual(answered({}))
  expect((await call('invoke', { sagaId: never, body: ada })).status).toBe(409)
})

test('a result that is too large to be told is a 422 of its own, and the work is rolled back', async () => {
  const sagaId = randomUUID()
  expect(await call('invoke', { sagaId, body: { input: { username: 'large' } } })).toEqual(
    problem(422, 'invalid-result', 'the result of user has 1000013 bytes as JSON; 1000000 is the most'),
  )
  expect(await users(sagaId)).toBe(0)
  expect(await call('compensate', { sagaId })).toEqual(answered({ verdict: 'empty' }))
})

test.each(['53100', '53200'])('a database that says %s is a 503 with Retry-After', async (code) => {
  const sagaId = randomUUID()
  await pool.query(
    `CREATE OR REPLACE FUNCTION no_room() RETURNS trigger LANGUAGE plpgsql
       AS $$ BEGIN RAISE EXCEPTION 'no room' USING ERRCODE = right(NEW.username, 5); END $$`,
  )
  await pool.query(
    `CREATE OR REPLACE TRIGGER no_room BEFORE INSERT ON table_a FOR EACH ROW
       WHEN (NEW.username LIKE 'SQLSTATE _____') EXECUTE FUNCTION no_room()`,
  )
  expect(await call('invoke', { sagaId, body: { input: { username: `SQLSTATE ${code}` } } })).toEqual(
    problem(503, 'unavailable', 'The database is away.'),
  )
})

test('probe answers what it finds; verify, which this participant lacks, is a 501', async () => {
  const sagaId = randomUUID()
  expect(await call('probe', { sagaId, body: ada })).toEqual(answered({ applied: false }))
  const { body } = await call('invoke', { sagaId, body: ada })
  expect(await call('probe', { sagaId, body: ada })).toEqual(
    answered({ applied: true, result: body['result'] ?? null }),
  )
  expect(await call('verify')).toEqual(problem(501, 'not-offered', 'This participant has no verify.'))
})

test.each([
  { username: 'unknown', detail: 'the other side did not say' },
  { username: 'broken', detail: 'Something went wrong in the participant; its log has it.' },
  { username: 'twice', detail: 'the database refused the statement (SQLSTATE 23505 on table_a)' },
])('an invoke that breaks ($username) is a 500 without insides, and leaves nothing', async ({ username, detail }) => {
  const sagaId = randomUUID()
  expect(await call('invoke', { sagaId, body: { input: { username } } })).toEqual(
    problem(500, 'outcome-unknown', detail),
  )
  expect(await users(sagaId)).toBe(0)
  expect(await call('compensate', { sagaId })).toEqual(answered({ verdict: 'empty' }))
})

test('20 invokes and compensations of the same saga at once end as one after the other', async () => {
  const sagaId = randomUUID()
  const answers = await Promise.all(
    Array.from({ length: 20 }, (_, i) =>
      i % 2 === 0 ? call('invoke', { sagaId, body: ada }) : call('compensate', { sagaId }),
    ),
  )
  const verdicts = new Set(answers.map(({ status, body }) => (status === 409 ? 'late' : body['verdict'])))
  const applied = answers.filter(({ body }) => body['verdict'] === 'applied').length
  expect({ applied, isDone: verdicts.has('done'), isEmpty: verdicts.has('empty') }).toEqual({
    applied: verdicts.has('done') ? 1 : 0,
    isDone: applied === 1,
    isEmpty: applied === 0,
  })
  expect(await users(sagaId)).toBe(0)
})

test.each(['Zoë 漢字 😀/?&%2F "x"', '漢'.repeat(255), ' '])('a saga id may be %j', async (sagaId) => {
  expect((await call('invoke', { sagaId, body: ada })).body).toMatchObject({ verdict: 'applied' })
  expect(await users(sagaId)).toBe(1)
})

const right = JSON.stringify(ada)
const bad: {
  what: string
  body?: string | Buffer
  headers?: Record<string, string | string[] | undefined>
  status?: number
  detail: unknown
}[] = [
  { what: 'no JSON', body: '{', detail: 'The body is not valid JSON.' },
  { what: 'nothing', body: '', detail: 'The body is empty; send a JSON object.' },
  { what: 'an array', body: '[]', detail: 'The body is not right: it must be object.' },
  { what: 'no input', body: '{}', detail: 'The body is not right: input is missing.' },
  {
    what: 'an input without username',
    body: '{"input":{}}',
    detail: 'The body is not right: input/username is missing.',
  },
  {
    what: 'a number for a name',
    body: '{"input":{"username":7}}',
    detail: 'The body is not right: input/username must be string.',
  },
  {
    what: 'an unknown field',
    body: '{"input":{"username":"ada"},"undo":1}',
    detail: 'The body is not right: undo is not a field of this.',
  },
  {
    what: 'an unknown field of the input',
    body: '{"input":{"username":"ada","a/b":1}}',
    detail: 'The body is not right: input/a~1b is not a field of this.',
  },
  {
    what: 'decisions below 0',
    body: '{"input":{"username":"ada"},"decisions":-1}',
    detail: 'The body is not right: decisions must be >= 0.',
  },
  { what: 'a NUL', body: '{"input":{"username":"a\\u0000"}}', detail: expect.stringContaining('NUL') },
  {
    what: 'half a character',
    body: '{"input":{"username":"\\ud800"}}',
    detail: expect.stringContaining('half a character'),
  },
  {
    what: 'an integer beyond 2^53 - 1',
    body: '{"input":{"username":"ada","id":[9007199254740993]}}',
    detail: 'The body is not right: /input/id/0 is a number that loses digits here; give it as a string.',
  },
  { what: '1e400', body: '{"input":1e400}', detail: 'The body is not right: /input is not a finite number.' },
  {
    what: '10,000 levels',
    body: `{"input":${'['.repeat(10_000)}${']'.repeat(10_000)}}`,
    detail: 'The body is not right: /input/0/0 is nested more than 100 levels deep.',
  },
  {
    what: 'bytes that are not UTF-8',
    body: Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d]),
    detail: 'The body is not valid UTF-8.',
  },
  { what: '__proto__', body: '{"input":{"username":"ada"},"__proto__":{}}', detail: 'The body is not valid JSON.' },
  {
    what: 'too much',
    body: JSON.stringify({ input: { username: 'x'.repeat(2 * 1024 * 1024) } }),
    status: 413,
    detail: 'The body has more than 2097152 bytes.',
  },
  {
    what: 'text/plain',
    headers: { 'content-type': 'text/plain' },
    status: 415,
    detail: 'Send the body as application/json.',
  },
  { what: 'no Saga-Id', headers: { 'saga-id': undefined }, detail: expect.stringContaining('Saga-Id') },
  { what: 'two Saga-Ids', headers: { 'saga-id': ['a', 'b'] }, detail: expect.stringContaining('Saga-Id') },
  {
    what: 'a Saga-Id of 256 characters',
    headers: { 'saga-id': 'x'.repeat(256) },
    detail: expect.stringContaining('Saga-Id'),
  },
  { what: 'a Saga-Id with a line break', headers: { 'saga-id': 'a%0Ab' }, detail: expect.stringContaining('Saga-Id') },
  {
    what: 'a Saga-Id that is encoded wrongly',
    headers: { 'saga-id': '%E0%A4%A' },
    detail: expect.stringContaining('Saga-Id'),
  },
  { what: 'no Saga-Step', headers: { 'saga-step': undefined }, detail: expect.stringContaining('Saga-Step') },
  {
    what: 'Saga-Attempt 0',
    headers: { 'saga-attempt': '0' },
    detail: 'The header Saga-Attempt must be a number from 1.',
  },
  {
    what: 'an Origin',
    headers: { origin: 'http://127.0.0.1' },
    status: 403,
    detail: 'Calls from web pages are refused.',
  },
]

test.each(bad)(
  '$what is a problem, and nothing is done',
  async ({ body = right, headers = {}, status = 400, detail }) => {
    const sagaId = randomUUID()
    const all = { 'content-type': 'application/json', 'saga-id': sagaId, 'saga-step': 'A', ...headers }
    const sent = Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined)) as Record<
      string,
      string
    >
    const { body: text, ...answer } = await rawRequest(server.url, {
      method: 'POST',
      path: '/invoke',
      headers: sent,
      body,
    })
    expect({ status: answer.status, type: answer.headers['content-type'], body: JSON.parse(text) }).toEqual(
      problem(status, 'invalid-call', detail),
    )
    expect(await users(sagaId)).toBe(0)
  },
)

test.each([
  { method: 'GET', path: '/invoke', status: 405, allow: 'POST' },
  { method: 'POST', path: '/health', status: 405, allow: 'GET' },
  { method: 'POST', path: '/nothing', status: 404, allow: undefined },
  { method: 'GET', path: '/%zz', status: 400, allow: undefined },
])('$method $path is a $status', async ({ method, path, status, allow }) => {
  const { body, ...answer } = await rawRequest(server.url, { method, path })
  expect(answer).toMatchObject({
    status,
    headers: { 'content-type': 'application/problem+json; charset=utf-8', ...(allow && { allow }) },
  })
  expect(JSON.parse(body)).toMatchObject({ status, type: 'urn:saga-participant:invalid-call' })
})

test('what is no HTTP is a problem too', async () => {
  expect(await rawBytes(server.url, 'HELLO\r\n\r\n')).toMatchObject({
    status: 400,
    headers: { 'content-type': 'application/problem+json' },
  })
})

test('injected failures are counted in the own database of the service, and a refusal is kept', async () => {
  const sagaId = randomUUID()
  const injection = (failures: Json[]) => ({ injection: { scope: `saga ${sagaId}`, failures, timeoutMs: 100 } })
  const before = injection([{ mode: 'first', n: 1 }])
  const invoke = (body: Json) => call('invoke', { sagaId, body })
  expect(await invoke({ ...ada, ...before })).toEqual(
    problem(500, 'outcome-unknown', 'injected (first): invoke of A fails before its transaction'),
  )
  expect(await users(sagaId)).toBe(0)
  expect((await invoke({ ...ada, ...before })).body).toMatchObject({ verdict: 'applied' })
  const counted = await pool.query(`SELECT op, calls::int FROM failure_call WHERE scope = $1`, [`saga ${sagaId}`])
  expect(counted.rows).toEqual([{ op: 'invoke', calls: 2 }])
  const undo = injection([{ mode: 'first', n: 1, on: 'compensate', when: 'after' }])
  expect((await call('compensate', { sagaId, body: undo })).status).toBe(500)
  expect(await users(sagaId)).toBe(0)
  expect((await call('compensate', { sagaId, body: undo })).body).toEqual({ verdict: 'done' })

  const refused = randomUUID()
  const always = injection([{ mode: 'always', kind: 'reject' }])
  const refusal = problem(422, 'rejected', 'injected: user refuses')
  expect(await call('invoke', { sagaId: refused, body: { ...ada, ...always } })).toEqual(refusal)
  expect(await call('invoke', { sagaId: refused, body: ada })).toEqual(refusal)
})

test('where injection is off a call that brings failures is refused, and nothing is done', async () => {
  const strict = await start({ failureInjection: false })
  const sagaId = randomUUID()
  const injection = { scope: 'all 1', failures: [{ mode: 'always', kind: 'crash' }], timeoutMs: 100 }
  const refusal = problem(403, 'injection-refused', 'Failures are not injected here; nothing was done.')
  expect(await call('invoke', { sagaId, body: { ...ada, injection }, url: strict.url })).toEqual(refusal)
  expect(await call('compensate', { sagaId, body: { injection }, url: strict.url })).toEqual(refusal)
  expect(await users(sagaId)).toBe(0)
  await strict.stop()
})

test('without its database a service answers 503, and says no word of it', async () => {
  const away = await start({ databaseUrl: 'postgres://ada:secret@127.0.0.1:1/none' })
  const [invoked, health] = await Promise.all([
    call('invoke', { body: ada, url: away.url }),
    rawRequest(away.url, { path: '/health' }),
  ])
  expect(invoked).toEqual(problem(503, 'unavailable', 'The database is away.'))
  expect({ status: health.status, retryAfter: health.headers['retry-after'] }).toEqual({ status: 503, retryAfter: '1' })
  await away.stop()
})

test('what goes wrong is logged with its saga, and without what the error quotes of the input', async () => {
  const lines: Record<string, unknown>[] = []
  const kept = pino({ base: null }, { write: (line) => void lines.push(JSON.parse(line)) })
  const quoting = { ...service, invoke: () => Promise.reject(new Error('no room for 4111-2222-3333-9876')) }
  const one = await start({ participant: quoting, logger: kept })
  const sagaId = 'Bestellung 7/ä'
  const input = { username: '4111-2222-3333-9876' }
  expect((await call('invoke', { sagaId, body: { input }, url: one.url })).status).toBe(500)
  expect((await call('invoke', { sagaId, body: { input: 5 }, url: one.url })).status).toBe(400)
  await one.stop()
  const about = { sagaId, step: 'A', operation: '/invoke' }
  expect(lines).toEqual(
    expect.arrayContaining([
      expect.objectContaining({ ...about, err: expect.objectContaining({ message: 'no room for ****' }) }),
      expect.objectContaining({ ...about, msg: 'A call was refused' }),
    ]),
  )
  expect(JSON.stringify(lines)).not.toContain('9876')
})

test('a service on a database without its tables does not start, and says what to do', async () => {
  const { postgres } = readShared()
  await query(postgres, 'CREATE DATABASE "service-empty"')
  const empty = Object.assign(new URL(postgres), { pathname: '/service-empty' }).href
  const program = startProgram('service.js', 'service-empty', { DATABASE_URL: empty, PORT: '0' }, ['A'])
  expect(await program.exited).toEqual({ code: 1 })
  expect(program.output()).toContain('Run `npm run migrate -- A` with this DATABASE_URL')
})

test('a service that is asked to stop ends the call under way, and takes no more', async () => {
  const a: ServiceProcess = await startService('service-stops', 'A', database)
  const sagaId = randomUUID()
  const scope = `saga ${sagaId}`
  const injection = { scope, failures: [{ mode: 'always', kind: 'hang' }], timeoutMs: 1 }
  const underWay = call('invoke', { sagaId, body: { ...ada, injection }, url: a.url })
  await until('the call is under way', async () => {
    return (await pool.query('SELECT FROM failure_call WHERE scope = $1', [scope])).rows.length > 0
  })
  const stopped = a.stop()
  expect((await underWay).body).toMatchObject({ verdict: 'applied' })
  expect(await stopped).toEqual({ code: 0 })
  expect(await users(sagaId)).toBe(1)
})

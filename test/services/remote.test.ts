import { createServer, type RequestListener, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, expect, test } from '@jest/globals'
import { remoteParticipant } from '../../src/saga/node/remote.js'
import type { Json } from '../../src/saga/types.js'

// The worker's end, against servers that answer as none should.
const servers: Server[] = []
afterEach(() => {
  for (const server of servers.splice(0)) {
    server.closeAllConnections()
    server.close()
  }
})

async function serve(listener: RequestListener): Promise<string> {
  const server = createServer(listener)
  servers.push(server)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

const call = { sagaId: 'saga-1', step: 'A', input: { username: 'ada' } }
const urn = (type: string) => `urn:saga-participant:${type}`

/** Answers every call so. */
const always =
  (status: number, body: Json | Buffer, type = status === 200 ? 'application/json' : 'application/problem+json') =>
  (_: unknown, response: Parameters<RequestListener>[1]) => {
    response.writeHead(status, { 'content-type': type })
    response.end(Buffer.isBuffer(body) ? body : JSON.stringify(body))
  }

const unknown = { type: 'OutcomeUnknown', nonRetryable: false }
const answers: { what: string; listener: RequestListener; invoke: object; compensate: object }[] = [
  {
    what: 'a refusal',
    listener: always(422, { type: urn('rejected'), detail: 'no\u0000 more users' }),
    invoke: { type: 'Rejected', nonRetryable: true, message: 'no  more users' },
    compensate: unknown,
  },
  {
    what: 'a result that was refused before its commit',
    listener: always(422, { type: urn('invalid-result'), detail: 'the result of user has 1000001 bytes' }),
    invoke: { type: 'InvalidResult', nonRetryable: true, message: 'the result of user has 1000001 bytes' },
    compensate: unknown,
  },
  {
    what: 'a result that is too large to be told',
    listener: always(200, { verdict: 'applied', result: 'x'.repeat(1_000_000) }),
    invoke: {
      type: 'InvalidResult',
      nonRetryable: true,
      message: 'the result of user has 1000002 bytes as JSON; 1000000 is the most',
    },
    compensate: unknown,
  },
  {
    what: 'a late call',
    listener: always(409, { type: urn('late-invoke'), detail: 'too late' }),
    invoke: { type: 'LateInvoke', nonRetryable: true },
    compensate: unknown,
  },
  { what: 'a 422 of somebody else', listener: always(422, { detail: 'no' }), invoke: unknown, compensate: unknown },
  {
    what: 'a refusal that is called JSON',
    listener: always(422, { type: urn('rejected') }, 'application/json'),
    invoke: unknown,
    compensate: unknown,
  },
  {
    what: 'a refusal with 500',
    listener: always(500, { type: urn('rejected') }),
    invoke: unknown,
    compensate: unknown,
  },
  {
    what: 'a call that is not right',
    listener: always(400, { type: urn('invalid-call'), detail: 'input is missing' }),
    invoke: { type: 'OutcomeUnknown', nonRetryable: true, message: 'user answered 400: input is missing' },
    compensate: { type: 'OutcomeUnknown', nonRetryable: true },
  },
  {
    what: 'injection refused',
    listener: always(403, { type: urn('injection-refused'), detail: 'off' }),
    invoke: { type: 'OutcomeUnknown', nonRetryable: true },
    compensate: { type: 'OutcomeUnknown', nonRetryable: true },
  },
  {
    what: 'a database that is away',
    listener: always(503, { type: urn('unavailable'), detail: 'The database is away.' }),
    invoke: { type: 'Unavailable', nonRetryable: false },
    compensate: { type: 'Unavailable', nonRetryable: false },
  },
  { what: 'a 502 of a proxy', listener: always(502, 'x', 'text/html'), invoke: unknown, compensate: unknown },
  { what: 'a 404', listener: always(404, {}), invoke: unknown, compensate: unknown },
  { what: 'a redirect', listener: always(302, {}), invoke: unknown, compensate: unknown },
  { what: 'another verdict', listener: always(200, { verdict: 'fine' }), invoke: unknown, compensate: unknown },
  { what: 'no result', listener: always(200, { verdict: 'applied' }), invoke: unknown, compensate: unknown },
  { what: 'no object', listener: always(200, ['applied']), invoke: unknown, compensate: unknown },
  { what: 'no JSON', listener: always(200, Buffer.from('{"verdict":')), invoke: unknown, compensate: unknown },
  {
    what: 'a result that PostgreSQL cannot keep',
    listener: always(200, { verdict: 'applied', result: '\u0000' }),
    invoke: unknown,
    compensate: unknown,
  },
  ...['9007199254740993', '12345678901234567890', '1e400', '1.00000000000000001'].map((id) => ({
    what: `a result with the number ${id}`,
    listener: always(200, Buffer.from(`{"verdict":"applied","result":{"userId":${id}}}`)),
    invoke: {
      ...unknown,
      message: expect.stringMatching(/^user gave an answer that is not by the protocol: \/result\/userId is /),
    },
    compensate: unknown,
  })),
  {
    what: 'a result of 10,000 levels',
    listener: always(200, Buffer.from(`{"verdict":"applied","result":${'['.repeat(10_000)}${']'.repeat(10_000)}}`)),
    invoke: { ...unknown, message: expect.stringContaining('nested more than 100 levels deep') },
    compensate: unknown,
  },
  {
    what: 'too much',
    listener: always(200, { verdict: 'applied', result: 'x'.repeat(3 * 1024 * 1024) }),
    invoke: { ...unknown, message: 'user answered with more than 2097152 bytes' },
    compensate: unknown,
  },
  {
    what: 'a connection that breaks',
    listener: (request) => request.socket.destroy(),
    invoke: { ...unknown, message: 'the connection to user broke (ECONNRESET)' },
    compensate: unknown,
  },
  {
    what: 'an answer that breaks off',
    listener: (request, response) => {
      response.writeHead(200, { 'content-length': 100 })
      response.write('{"verdict":"applied","result":1', () => request.socket.destroy())
    },
    invoke: unknown,
    compensate: unknown,
  },
]

test.each(answers)('$what is taken for what it is', async ({ listener, invoke, compensate }) => {
  const remote = remoteParticipant('user', await serve(listener)).as(undefined)
  await expect(remote.invoke(call)).rejects.toMatchObject(invoke)
  await expect(remote.compensate(call)).rejects.toMatchObject(compensate)
})

test('a call carries its saga, step, attempt, decisions and failures', async () => {
  const seen: Json[] = []
  const url = await serve((request, response) => {
    let body = ''
    request.on('data', (chunk: Buffer) => (body += chunk.toString()))
    request.on('end', () => {
      const { 'saga-id': id = '', 'saga-step': step = '', 'saga-attempt': attempt = '' } = request.headers
      seen.push({ path: request.url ?? '', id, step, attempt, body: JSON.parse(body) })
      always(200, { verdict: request.url === '/p/invoke' ? 'applied' : 'done', result: null })(request, response)
    })
  })
  const failures = [
    { mode: 'always', when: 'after', kind: 'error', on: 'invoke' },
    { mode: 'none', when: 'before', kind: 'error', on: 'compensate' },
  ] as const
  const remote = remoteParticipant('user', `${url}/p`).as({
    scope: 'saga é',
    failures: [...failures],
    timeoutMs: 5_000,
  })
  await remote.invoke({ ...call, sagaId: 'é 1', attempt: 3, decisions: 2 })
  await remote.compensate({ ...call, attempt: 1, input: 'corrected' })
  expect(seen).toEqual([
    {
      path: '/p/invoke',
      id: '%C3%A9%201',
      step: 'A',
      attempt: '3',
      body: {
        input: call.input,
        decisions: 2,
        injection: { scope: 'saga é', failures: [failures[0]], timeoutMs: 5_000 },
      },
    },
    { path: '/p/compensate', id: 'saga-1', step: 'A', attempt: '1', body: { input: 'corrected' } },
  ])
})

/** A service that has these operations alone, and what it was asked for. */
async function serveOnly(operations: Record<string, Json>) {
  const asked: string[] = []
  const url = await serve((request, response) => {
    const path = request.url ?? ''
    asked.push(path)
    const answer = operations[path]
    if (answer === undefined) always(404, { type: urn('invalid-call'), detail: 'no such operation' })(request, response)
    else always(200, answer)(request, response)
  })
  return { asked, remote: remoteParticipant('user', url).as(undefined) }
}

test('a compensation that an operator has forbidden is told as that', async () => {
  const { asked, remote } = await serveOnly({ '/forbid': {}, '/compensate': { verdict: 'forbidden' } })
  await remote.forbid(call)
  expect(await remote.compensate(call)).toBe('forbidden')
  expect(asked).toEqual(['/forbid', '/compensate'])
})

test('a service that was made before there was forbid is asked to settle, so that an invoke at least is late', async () => {
  const { asked, remote } = await serveOnly({ '/settle': { verdict: 'empty' } })
  await remote.forbid(call)
  expect(asked).toEqual(['/forbid', '/settle'])
})

test('connections are kept and used again', async () => {
  const sockets = new Set<unknown>()
  const url = await serve((request, response) => {
    sockets.add(request.socket)
    always(200, { verdict: 'done' })(request, response)
  })
  const remote = remoteParticipant('user', url).as(undefined)
  for (let i = 0; i < 5; i += 1) await remote.compensate(call)
  expect(sockets.size).toBe(1)
})

test('calls of a service share 64 connections at most', async () => {
  const sockets = new Set<unknown>()
  const url = await serve((request, response) => {
    sockets.add(request.socket)
    always(200, { verdict: 'done' })(request, response)
  })
  const remote = remoteParticipant('user', url).as(undefined)
  await Promise.all(Array.from({ length: 200 }, () => remote.compensate(call)))
  expect(sockets.size).toBe(64)
})

test('a call that nobody waits for any more lets its connection go', async () => {
  const givenUp = new AbortController()
  let onClosed: () => void = () => {}
  const gone = new Promise<void>((resolve) => (onClosed = resolve))
  const url = await serve((request) => {
    request.socket.on('close', onClosed)
    givenUp.abort()
  })
  const remote = remoteParticipant('user', url).as(undefined)
  await expect(remote.invoke({ ...call, signal: givenUp.signal })).rejects.toMatchObject(unknown)
  await gone
})

test('a service that is away is waited for, and a call reaches it once it is there', async () => {
  const url = await serve(() => {})
  const [server] = servers.splice(0)
  await new Promise((resolve) => server?.close(resolve))
  const remote = remoteParticipant('user', url).as(undefined)
  const waiting = remote.compensate(call)
  const again = createServer(always(200, { verdict: 'done' }))
  servers.push(again)
  await new Promise<void>((resolve) => again.listen(Number(new URL(url).port), '127.0.0.1', resolve))
  expect(await waiting).toBe('done')
})

test('a service that stays away is Unavailable: no call was made', async () => {
  const remote = remoteParticipant('user', 'http://127.0.0.1:1').as(undefined)
  await expect(remote.invoke(call)).rejects.toMatchObject({
    type: 'Unavailable',
    nonRetryable: false,
    message: 'user is away (ECONNREFUSED)',
  })
})

test('a look whose connection breaks is made again', async () => {
  let calls = 0
  const url = await serve((request, response) => {
    calls += 1
    if (calls < 3) request.socket.destroy()
    else always(200, { left: ['table_a 7'] })(request, response)
  })
  expect(await remoteParticipant('user', url).as(undefined).verify(call)).toEqual(['table_a 7'])
})

test.each([404, 501])('a participant that answers probe and verify with %i has none', async (status) => {
  const remote = remoteParticipant('user', await serve(always(status, {}))).as(undefined)
  expect(await remote.probe(call)).toBeUndefined()
  expect(await remote.verify(call)).toBeUndefined()
})

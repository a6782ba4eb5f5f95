import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import { readEvents, type SentEvent } from '../helpers/events.js'
import { rawInTwo, rawRequest } from '../helpers/raw.js'
import { startRelay } from '../helpers/relay.js'
import { Sagas, testReplay } from '../helpers/sagas.js'
import { query, readShared } from '../helpers/shared.js'
import { listeningAt, makeProgramEnv, startProgram, startSystem, type System } from '../helpers/system.js'
import { until } from '../helpers/until.js'

const sagas = new Sagas(readShared().system)
// Waits for nobody's word, but long enough to be watched: five seconds in C, which hangs, and then an undo.
const slow = { A: { mode: 'first', n: 2 }, C: { mode: 'first', n: 1, kind: 'hang' } } as const

async function events(sagaId: string, lastEventId?: string, on = sagas): Promise<AsyncGenerator<SentEvent>> {
  const response = await on.request(`/saga/${sagaId}/events`, {
    headers: { accept: 'text/event-stream', ...(lastEventId !== undefined && { 'last-event-id': lastEventId }) },
  })
  if (response.status !== 200) throw new Error(`No stream of ${sagaId}: ${response.status} ${await response.text()}`)
  return readEvents(response)
}

async function all(stream: AsyncGenerator<SentEvent>): Promise<SentEvent[]> {
  const sent: SentEvent[] = []
  for await (const one of stream) sent.push(one)
  return sent
}

const rowsOf = (sent: SentEvent[]) => sent.filter(({ event }) => event === 'log').map(({ data }) => data)

test.concurrent('a reader that leaves after every row, and comes back, is given every row once', async () => {
  const sagaId = await sagas.start(slow)
  const rows: unknown[] = []
  let lastId: string | undefined
  let last: SentEvent | undefined
  do {
    for await (last of await events(sagaId, lastId)) {
      if (last.event !== 'log') continue
      rows.push(last.data)
      lastId = last.id
      break
    }
  } while (last?.event === 'log')
  expect(rows).toEqual(await sagas.logRows(sagaId))
  expect(last).toEqual({ event: 'status', id: undefined, data: await sagas.get(sagaId) })
})

test.concurrent('a hundred readers at once are each given every row, and the end', async () => {
  const sagaId = await sagas.start(slow)
  const readers = await Promise.all(Array.from({ length: 100 }, async () => all(await events(sagaId))))
  const rows: unknown[] = await sagas.logRows(sagaId)
  const saga = await sagas.get(sagaId)
  expect(saga.status).toBe('COMPLETED')
  for (const sent of readers) {
    expect(rowsOf(sent)).toEqual(rows)
    expect(sent.at(-1)).toEqual({ event: 'status', id: undefined, data: saga })
  }
})

test.concurrent('while nothing happens the stream says that it is alive, and goes on until the end', async () => {
  // Stuck once A's undo has been tried eight times.
  const failures = { C: { mode: 'always', kind: 'reject' }, A: { mode: 'always', on: 'compensate' } } as const
  const sagaId = await sagas.start(failures)
  const response = await sagas.request(`/saga/${sagaId}/events`)
  let text = ''
  let isDecided = false
  for await (const chunk of response.body?.pipeThrough(new TextDecoderStream()) ?? []) {
    text += chunk
    const [, ...sinceStuck] = text.split('"status":"NEEDS_ATTENTION"')
    if (isDecided || !sinceStuck.join('').includes('\n: heartbeat\n')) continue
    isDecided = true
    const decision = { step: 'A', action: 'resolve', reason: 'removed by hand', actor: 'grace' }
    expect((await sagas.post(`/saga/${sagaId}/decision`, decision)).status).toBe(200)
  }
  expect(isDecided).toBe(true)
  const last = text
    .trim()
    .split('\n\n')
    .findLast((block) => block.startsWith('event: status'))
  expect(JSON.parse(last?.split('\ndata: ')[1] ?? '')).toEqual(await sagas.get(sagaId))
  expect((await sagas.get(sagaId)).endedAt).toBeDefined()
})

test('a reader who comes while PostgreSQL is away has a stream once it is back', async () => {
  const env = await makeProgramEnv('events-outage')
  const database = env['DATABASE_URL'] ?? ''
  const wired = new URL(database)
  const relay = await startRelay(wired.host)
  wired.host = relay.address
  const api = startProgram('api.js', 'events-outage-api', { ...env, DATABASE_URL: wired.href, PORT: '0' })
  try {
    const on = new Sagas({ api: await listeningAt(api), database, namespace: env['TEMPORAL_NAMESPACE'] ?? '' })
    await watched(database)
    const isAway = async () => (await on.request('/saga/watched')).status === 503
    relay.cut()
    await until('PostgreSQL is away', isAway)
    const opening = on.request('/saga/watched/events')
    const ofBulk = on.request(`/saga/bulk/${randomUUID()}/events`)
    // Behind it, so that it has met the outage as well.
    expect(await isAway()).toBe(true)
    relay.mend()
    const { status, body } = await opening
    expect(status).toBe(200)
    await body?.cancel()
    // There is no such bulk, which was found out.
    expect((await ofBulk).status).toBe(404)
  } finally {
    await api.kill('SIGTERM')
    await relay.stop()
  }
})

/** Nobody has it in hand, so it does not end while it is watched. */
const watched = (database: string) =>
  query(
    database,
    `INSERT INTO saga (saga_id, type, label, view, input_hash, steps, fate, status, started_at)
     VALUES ('watched', 'createUserSaga', 'ada', '{}', '', '[]', 'open', 'NEEDS_ATTENTION', now())`,
  )

describe('readers who do not read', () => {
  const ROWS = 4_000
  const READERS = 40
  // Too little memory for what they could be sent, which is 1.6 GB.
  let system: System
  beforeAll(async () => {
    system = await startSystem('slow-readers', { NODE_OPTIONS: '--max-old-space-size=512' })
  })
  afterAll(() => system?.stop())

  test('are 500 at most; the next is told to come again, and has a place once another has left', async () => {
    const on = new Sagas(system.where)
    await watched(on.where.database)
    const path = '/saga/watched/events'
    const watch = () => on.request(path)
    const watching = await Promise.all(Array.from({ length: 500 }, watch))
    expect(new Set(watching.map(({ status }) => status))).toEqual(new Set([200]))
    const refused = await watch()
    expect(refused.status).toBe(503)
    expect(refused.headers.get('retry-after')).toBe('5')
    expect(refused.headers.get('content-type')).toContain('application/problem+json')
    expect(await rawRequest(on.where.api, { method: 'HEAD', path })).toMatchObject({ status: 200 })
    expect((await on.run()).status).toBe('COMPLETED')
    await watching.pop()?.body?.cancel()
    const next = await until('a place is free', async () => {
      const response = await watch()
      return response.ok && response
    })
    await Promise.all([...watching, next].map(async ({ body }) => body?.cancel()))
    await until('the server has seen that they left', async () =>
      /^saga_event_readers(\{.*\})? 0$/m.test(await (await on.request('/metrics')).text()),
    )
  })

  test('who send what is not HTTP behind their request have no second answer in the middle of their stream', async () => {
    const first = 'GET /saga/watched/events HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n'
    const answer = await rawInTwo(system.where.api, first, 'this is not HTTP\r\n\r\n')
    expect(answer.match(/HTTP\/1\.1 \d+/g)).toEqual(['HTTP/1.1 200'])
  })

  test('cost the server nothing, and find every row when they go on', async () => {
    const on = new Sagas(system.where)
    const { sagaId } = await on.run()
    await query(
      on.where.database,
      `INSERT INTO saga_log (saga_id, service, status, message) SELECT $1, 'C', 'failed', repeat('x', 10000) FROM generate_series(1, $2)`,
      [sagaId, ROWS],
    )
    // What comes stays in their sockets until these are full.
    const [reader, ...others] = await Promise.all(Array.from({ length: READERS }, () => events(sagaId, undefined, on)))
    // One that reads is served meanwhile, and with all of it, which is time enough to send the others as much.
    const whole = await all(await events(sagaId, undefined, on))
    expect(rowsOf(whole)).toHaveLength(5 + ROWS)
    expect(reader && (await all(reader))).toEqual(whole)
    await Promise.all(others.map((other) => other.return(undefined)))
    expect((await on.run()).status).toBe('COMPLETED')
  })
})

testReplay(() => sagas)

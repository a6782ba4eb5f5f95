import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { Client } from 'pg'
import type { Problem } from '../../src/http/schemas/common.js'
import type { LogRow } from '../../src/http/schemas/log.js'
import type { Sagas as Page, Stuck } from '../../src/http/schemas/saga-list.js'
import type { Saga } from '../../src/http/schemas/saga.js'
import { ada, Sagas, testReplay } from '../helpers/sagas.js'
import { query } from '../helpers/shared.js'
import { startSystem, type System } from '../helpers/system.js'

// A system of its own: what the whole list holds is up to this file.
let system: System
let sagas: Sagas
beforeAll(async () => {
  system = await startSystem('lists')
  sagas = new Sagas(system.where)
})
afterAll(() => system?.stop())

const refusedC = { C: { mode: 'always', kind: 'reject' } } as const
const stuckB = { ...refusedC, B: { mode: 'always', on: 'compensate' } } as const

type Query = Record<string, string | number | bigint>
const search = (of: Query) => new URLSearchParams(Object.entries(of).map(([name, value]) => [name, String(value)]))

async function page(of: Query | string = {}): Promise<Page> {
  const response = await sagas.request(`/saga?${typeof of === 'string' ? of : search(of)}`)
  expect(response.status).toBe(200)
  return (await response.json()) as Page
}

/** The list page by page, to its end; `between` is done behind each page. */
async function walk(of: Query, between: (page: number) => Promise<unknown> = async () => {}): Promise<Saga[]> {
  const all: Saga[] = []
  let cursor: string | null = ''
  for (let n = 1; cursor !== null; n++) {
    const { sagas, nextCursor }: Page = await page({ ...of, ...(cursor && { cursor }) })
    all.push(...sagas)
    cursor = nextCursor
    await between(n)
  }
  return all
}

const ids = (of: Saga[]) => of.map(({ sagaId }) => sagaId)
/** For sagas that began at once, whose order nobody knows. */
const sorted = (some: (string | undefined)[]) => some.map(String).toSorted()
const found = async (of: Query | string) => ids((await page(of)).sagas)

async function start(username: string, failures = {}, prefer = 'wait=0'): Promise<string> {
  const response = await sagas.post('/saga', { ...ada, username, failures }, { prefer })
  expect([200, 202]).toContain(response.status)
  const { sagaId } = (await response.json()) as Saga
  sagas.started.push(sagaId)
  return sagaId
}

interface Row {
  sagaId: string
  username?: string
  /** Microseconds since a moment long ago. */
  at?: number
}

/** Rows of sagas that have completed, as no saga of the API can be made to lie: in the same microsecond, long ago. */
const insertSagas = (rows: Row[]): [string, unknown[]] => [
  `INSERT INTO saga (saga_id, type, label, view, input_hash, steps, fate, status, started_at, ended_at)
   SELECT "sagaId", 'createUserSaga', username, jsonb_build_object('username', username), '', '[]', 'completed', 'COMPLETED',
          '2020-01-01Z'::timestamptz + coalesce(at, 0) * interval '1 microsecond', now()
   FROM jsonb_to_recordset($1) AS row ("sagaId" text, username text, at integer)`,
  [JSON.stringify(rows)],
]
const insert = (rows: Row[]) => query(sagas.where.database, ...insertSagas(rows))

test('sagas are listed newest first, each as it is read alone', async () => {
  const username = `list ${randomUUID()}`
  const started: string[] = []
  for (const failures of [{}, refusedC]) started.push(await start(username, failures, 'wait=60'))
  expect(await page({ q: username })).toEqual({
    sagas: await Promise.all(started.toReversed().map((sagaId) => sagas.get(sagaId))),
    nextCursor: null,
  })
  const { sagas: all } = await page()
  const newest = all.toSorted((a, b) => b.startedAt.localeCompare(a.startedAt))
  expect(all.map(({ startedAt }) => startedAt)).toEqual(newest.map(({ startedAt }) => startedAt))
  expect(JSON.stringify(all)).not.toContain(ada.payment)
})

test('pages give every saga once, also those of the same microsecond', async () => {
  const prefix = `dense-${randomUUID()}`
  const rows = Array.from({ length: 31 }, (_, n) => ({ sagaId: `${prefix} ${n}`, at: Math.floor(n / 4) }))
  await insert(rows)
  const newestFirst = rows.toSorted((a, b) => b.at - a.at || (a.sagaId < b.sagaId ? 1 : -1))
  for (const limit of [1, 3, 4, 30, 31, 500]) {
    expect(ids(await walk({ q: prefix, limit }))).toEqual(newestFirst.map(({ sagaId }) => sagaId))
    const status = 'COMPLETED,COMPENSATED'
    expect(ids(await walk({ q: prefix, limit, status }))).toEqual(newestFirst.map(({ sagaId }) => sagaId))
  }
})

test('a page has 50 sagas unless told otherwise', async () => {
  const prefix = `many-${randomUUID()}`
  await insert(Array.from({ length: 51 }, (_, n) => ({ sagaId: `${prefix} ${n}` })))
  expect(await page({ q: prefix })).toMatchObject({ sagas: { length: 50 }, nextCursor: expect.any(String) })
  expect(await page({ q: prefix, limit: 51 })).toMatchObject({ sagas: { length: 51 }, nextCursor: null })
})

test('whatever begins meanwhile, the sagas that were there are given once, in their order', async () => {
  const username = `arrivals ${randomUUID()}`
  const before: string[] = []
  for (let n = 0; n < 8; n++) before.push(await start(username))
  const late = new Client({ connectionString: sagas.where.database })
  await late.connect()
  await late.query('BEGIN')
  // Older than all of them, and committed when half of them have been read.
  await late.query(...insertSagas([{ sagaId: `late ${username}`, username }]))
  const all = await walk({ q: username, limit: 2 }, async (n) => {
    await start(username)
    if (n === 2) await late.query('COMMIT')
  })
  await late.end()
  expect(ids(all)).toEqual([...before.toReversed(), `late ${username}`])
})

test('sagas are found by one status, and by any of several', async () => {
  const q = `status ${randomUUID()}`
  const [completed, compensated, stuck] = await Promise.all(
    [{}, refusedC, stuckB].map((failures) => start(q, failures, 'wait=60')),
  )
  expect(await found({ q, status: 'COMPLETED' })).toEqual([completed])
  expect(await found({ q, status: 'NEEDS_ATTENTION' })).toEqual([stuck])
  expect(await found({ q, status: 'RUNNING' })).toEqual([])
  const both = sorted([completed, stuck])
  for (const status of [
    'status=COMPLETED,NEEDS_ATTENTION',
    'status=NEEDS_ATTENTION&status=COMPLETED',
    'status=COMPLETED,COMPLETED&status=NEEDS_ATTENTION',
  ]) {
    expect(sorted(await found(`${search({ q })}&${status}`))).toEqual(both)
  }
  const everything = 'RUNNING,COMPLETED,COMPENSATING,COMPENSATED,PARTIALLY_COMPENSATED,NEEDS_ATTENTION'
  expect(sorted(await found({ q, status: everything }))).toEqual(sorted([completed, compensated, stuck]))
  expect(ids(await walk({ status: 'NEEDS_ATTENTION', limit: 1 }))).toContain(stuck)
})

test('sagas are found by the step that failed, or that is stuck, or whose undo is', async () => {
  const q = `step ${randomUUID()}`
  const refused = { mode: 'always', kind: 'reject' } as const
  const [completed, atA, atC, stuckOnB] = await Promise.all(
    [{}, { A: refused }, refusedC, stuckB].map((failures) => start(q, failures, 'wait=60')),
  )
  // Stuck on B on its way forward: what failed is not said yet.
  const open = { step: 'B', service: 'address', status: 'stuck', attempts: 3, error: { type: 'Odd', message: 'odd' } }
  const forward = `forward ${q}`
  await insert([{ sagaId: forward, username: q }])
  await query(
    sagas.where.database,
    `UPDATE saga SET status = 'NEEDS_ATTENTION', fate = 'open', steps = $2, ended_at = NULL WHERE saga_id = $1`,
    [forward, JSON.stringify([open])],
  )
  expect(await found({ q, step: 'A' })).toEqual([atA])
  expect(sorted(await found({ q, step: 'B' }))).toEqual(sorted([stuckOnB, forward]))
  expect(sorted(await found({ q, step: 'C' }))).toEqual(sorted([atC, stuckOnB]))
  expect(await found({ q, step: 'C', status: 'NEEDS_ATTENTION' })).toEqual([stuckOnB])
  expect(await found({ q, step: 'C', status: 'COMPENSATED,COMPLETED' })).toEqual([atC])
  expect(await found({ q, step: 'B', status: 'COMPENSATED' })).toEqual([])
  for (const step of ['b', 'B ', '%', "B' OR true --"]) expect(await found({ q, step })).toEqual([])
  expect(sorted(ids(await walk({ q, step: 'C', limit: 1 })))).toEqual(sorted([atC, stuckOnB]))
  expect(sorted(ids(await walk({ q, step: 'B', limit: 1 })))).toEqual(sorted([stuckOnB, forward]))

  const { stuck } = (await (await sagas.request('/stuck')).json()) as Stuck
  expect(stuck).toContainEqual({ step: 'B', errorType: 'Odd', sagas: 1 })
  const waiting = await walk({ status: 'NEEDS_ATTENTION' })
  expect(stuck.reduce((sum, one) => sum + one.sagas, 0)).toBe(waiting.length)
  // No run is behind it, and the sweep would start one.
  await query(sagas.where.database, `DELETE FROM saga WHERE saga_id = $1`, [forward])
  expect(sorted(await found({ q }))).toEqual(sorted([completed, atA, atC, stuckOnB]))
})

test('q is what an id or a username begins with', async () => {
  const mark = randomUUID().slice(0, 13)
  const rows = [
    { sagaId: `${mark}-Id`, username: 'nobody' },
    { sagaId: `one ${mark}`, username: `${mark} Zoë Ångström` },
    { sagaId: `two ${mark}`, username: `${mark}%_\\` },
    { sagaId: `three ${mark}`, username: `x ${mark}` },
  ]
  await insert(rows)
  const [id, zoe, odd] = ids(rows as unknown as Saga[])
  expect(sorted(await found({ q: mark }))).toEqual(sorted([id, zoe, odd]))
  expect(await found({ q: `${mark}-I` })).toEqual([id])
  expect(await found({ q: `${mark}-i` })).toEqual([]) // ids are what they are
  expect(await found({ q: `${mark} zoë å` })).toEqual([zoe])
  expect(await found({ q: `${mark.toUpperCase()} ZOË ÅNGSTRÖM` })).toEqual([zoe])
  expect(await found({ q: `${mark}%` })).toEqual([odd])
  expect(await found({ q: `${mark}%_\\` })).toEqual([odd])
  for (const q of [
    '%',
    '_',
    '\\',
    `${mark.slice(0, -1)}_`,
    `%${mark}`,
    `${mark}%\\`,
    `${mark}.*`,
    `' OR true --`,
    '🙃',
  ]) {
    expect({ q, found: await found({ q }) }).toEqual({ q, found: [] })
  }
})

test.each(
  [
    ...['0', '-1', '501', '1.5', '1e9', 'abc', '', '1&limit=2'].map((value) => ({
      query: `limit=${value}`,
      path: '/limit',
    })),
    ...['DONE', 'completed', '', '%00'].map((value) => ({ query: `status=${value}`, path: '/status/0' })),
    { query: 'status=COMPLETED,', path: '/status/1' },
    { query: `status=${'COMPLETED,'.repeat(1_000)}`, path: '/status' },
    ...['', 'a'.repeat(256), '%00', 'a%0A', 'a&q=b'].map((value) => ({ query: `q=${value}`, path: '/q' })),
    ...['', 'a'.repeat(256), '%00', 'B&step=A'].map((value) => ({ query: `step=${value}`, path: '/step' })),
    { query: 'sort=id', path: '/sort' },
    { query: 'status[]=COMPLETED', path: '/status[]' },
  ].map((bad) => ({ ...bad, title: bad.query.length > 60 ? `${bad.query.slice(0, 60)}…` : bad.query })),
)('?$title is refused, and told why', async ({ query, path }) => {
  const response = await sagas.request(`/saga?${query}`)
  expect(response.status).toBe(400)
  expect(response.headers.get('content-type')).toContain('application/problem+json')
  const { errors } = (await response.json()) as Problem
  expect(errors?.map((one) => one.path)).toContain(path)
})

const encoded = (of: unknown) => Buffer.from(typeof of === 'string' ? of : JSON.stringify(of)).toString('base64url')

test('a cursor goes on with its own list, whatever the limit, and with no other', async () => {
  const prefix = `cursor-${randomUUID()}`
  await insert(Array.from({ length: 3 }, (_, n) => ({ sagaId: `${prefix} ${n}` })))
  const list = { q: prefix, status: 'COMPLETED,COMPENSATED' }
  const { nextCursor } = await page({ ...list, limit: 1 })
  const cursor = nextCursor ?? ''
  expect(cursor).toMatch(/^[\w-]+$/)
  expect(await found({ ...list, cursor })).toHaveLength(2)
  expect(await found({ ...list, status: 'COMPENSATED,COMPLETED', cursor })).toHaveLength(2)
  const { digest } = JSON.parse(Buffer.from(cursor, 'base64url').toString())
  for (const wrong of [
    { q: prefix, cursor },
    { ...list, q: `${prefix} `, cursor },
    { ...list, status: 'COMPLETED', cursor },
    { ...list, step: 'B', cursor },
    { cursor },
    { ...list, cursor: cursor.slice(0, -1) },
    { ...list, cursor: `${cursor}=` },
    { ...list, cursor: ` ${cursor}` },
    { ...list, cursor: cursor.toLowerCase() },
    { ...list, cursor: encoded({ startedAtMicros: 1, sagaId: `${prefix} 1`, digest }) },
    { ...list, cursor: encoded({ startedAtMicros: 1e300, sagaId: 'a\0', digest }) },
    { ...list, cursor: encoded({ startedAtMicros: 'now', sagaId: {}, digest }) },
    ...['x', '%00', 'null', '[]', '{}', '🙃', `'; DROP TABLE saga; --`].flatMap((text) => [
      { ...list, cursor: text },
      { ...list, cursor: encoded(text) },
    ]),
  ]) {
    const response = await sagas.request(`/saga?${search(wrong)}`)
    expect({ wrong, status: response.status }).toEqual({ wrong, status: 400 })
    expect((await response.json()) as Problem).toMatchObject({ errors: [{ path: '/cursor' }] })
  }
})

test('pages of the log give every row once that was there, whatever is written meanwhile', async () => {
  await Promise.all(Array.from({ length: 4 }, () => sagas.run(refusedC)))
  const logs = async (of: Query): Promise<LogRow[]> => {
    const response = await sagas.request(`/logs?${search(of)}`)
    return ((await response.json()) as { logs: LogRow[] }).logs
  }
  const whole = await logs({ limit: 500 })
  const late = new Client({ connectionString: sagas.where.database })
  await late.connect()
  await late.query('BEGIN')
  const log = `INSERT INTO saga_log (saga_id, service, status, message) VALUES ('late', 'SAGA', 'started', '') RETURNING id`
  const { rows } = await late.query<{ id: string }>(log)
  const paged: LogRow[] = []
  for (let rest: LogRow[] | undefined; rest?.length !== 0;) {
    // Begins with rows that are newer than the one that is not there yet.
    if (!rest) await sagas.run()
    const last = paged.at(-1)
    rest = await logs({ limit: 3, ...(last && { before: last.id }) })
    paged.push(...rest)
    if (paged.length === 3) await Promise.all([late.query('COMMIT'), sagas.start()])
  }
  await late.end()
  expect(paged.map(({ id }) => id)).toEqual([...new Set(paged.map(({ id }) => id))].toSorted((a, b) => Number(b - a)))
  expect(paged.filter(({ id }) => id <= (whole[0]?.id ?? 0n))).toEqual(whole)
  expect(paged.filter(({ sagaId }) => sagaId === 'late').map(({ id }) => String(id))).toEqual([rows[0]?.id])
})

testReplay(() => sagas)

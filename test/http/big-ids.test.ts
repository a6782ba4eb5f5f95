import { afterAll, expect, test } from '@jest/globals'
import type { Saga } from '../../src/http/schemas/saga.js'
import { runAudit } from '../helpers/audit.js'
import { ada, everywhere, Sagas } from '../helpers/sagas.js'
import { startServiceSystem } from '../helpers/services.js'
import { query } from '../helpers/shared.js'
import { startSystem } from '../helpers/system.js'
import { until } from '../helpers/until.js'

// Every id here is beyond 2^53, of which JavaScript has no number but for the even ones.
const FIRST = 9007199254740993n
const from = (table: string) => `ALTER TABLE ${table} ALTER COLUMN id RESTART WITH ${FIRST}`

const system = await startSystem('big-ids')
const sagas = new Sagas(system.where)
for (const table of ['table_a', 'table_b', 'table_c', 'saga_log']) await query(system.where.database, from(table))

const elsewhere = await startServiceSystem('big-ids-elsewhere')
await query(elsewhere.services.A.database, from('table_a'))
await query(elsewhere.services.B.database, from('table_b'))
await query(elsewhere.services.C.database, from('table_c'))

afterAll(() => Promise.all([system.stop(), elsewhere.stop()]))

const idsOf = (text: string) => [...text.matchAll(/"id":(\d+)/g)].map(([, id]) => BigInt(id ?? ''))

/** Its user as its own row says. */
async function userId(sagaId: string): Promise<string | undefined> {
  const rows = await query<{ id: string }>(system.where.database, 'SELECT id::text FROM table_a WHERE saga_id = $1', [
    sagaId,
  ])
  return rows[0]?.id
}

test('each address and payment belongs to its own user, and the answer names that one', async () => {
  const ended = [await sagas.run(), await sagas.run(), ...(await Promise.all([sagas.run(), sagas.run(), sagas.run()]))]
  for (const saga of ended) {
    expect(saga.status).toBe('COMPLETED')
    expect(await sagas.rows(saga.sagaId)).toEqual(everywhere)
    expect(saga.userId).toBe(await userId(saga.sagaId))
    expect(BigInt(saga.userId ?? '')).toBeGreaterThanOrEqual(FIRST)
  }
  expect(new Set(ended.map((saga) => saga.userId)).size).toBe(ended.length)
})

test('the same of sagas that share a run', async () => {
  const started = await sagas.post('/saga/bulk', { sagas: Array.from({ length: 4 }, () => ({ ...ada, failures: {} })) })
  const { bulkId } = (await started.json()) as { bulkId: string }
  const members = await until('the bulk has completed', async () => {
    const { sagas: all } = (await (await sagas.request(`/saga?bulk=${bulkId}`)).json()) as { sagas: Saga[] }
    return all.length === 4 && all.every(({ status }) => status === 'COMPLETED') && all
  })
  for (const saga of members) {
    expect(await sagas.rows(saga.sagaId)).toEqual(everywhere)
    expect(saga.userId).toBe(await userId(saga.sagaId))
  }
})

test('the same of participants that run elsewhere', async () => {
  const ended = await Promise.all([elsewhere.sagas.run(), elsewhere.sagas.run(), elsewhere.sagas.run()])
  for (const saga of ended) {
    expect(saga).toMatchObject({ status: 'COMPLETED', userId: expect.stringMatching(/^900719925474099\d$/) })
    expect(await elsewhere.sagas.rows(saga.sagaId)).toEqual(everywhere)
  }
})

test('what is compensated is its own', async () => {
  const kept = await sagas.run()
  const undone = await sagas.run({ C: { mode: 'always', kind: 'reject' } })
  expect(undone.status).toBe('COMPENSATED')
  expect(await sagas.rows(undone.sagaId)).toEqual({ a: 0, b: 0, c: 0 })
  expect(await sagas.rows(kept.sagaId)).toEqual(everywhere)
})

test('a page of the log goes on where the last one ended, to the digit', async () => {
  const { sagaId } = await sagas.run()
  const read = async (search: string) => idsOf(await (await sagas.request(`/logs?saga=${sagaId}${search}`)).text())
  const whole = await read('')
  expect(whole).toHaveLength(5)
  const paged: bigint[] = []
  for (let page = await read('&limit=1'); page.length > 0; page = await read(`&limit=1&before=${paged.at(-1)}`)) {
    paged.push(...page)
  }
  expect(paged).toEqual(whole)
  const rows = await query<{ id: string }>(
    system.where.database,
    'SELECT id::text FROM saga_log WHERE saga_id = $1 ORDER BY saga_log.id DESC',
    [sagaId],
  )
  expect(whole).toEqual(rows.map(({ id }) => BigInt(id)))
})

test('a stream of events goes on behind its Last-Event-ID, to the digit', async () => {
  const { sagaId } = await sagas.run()
  const stream = async (headers: Record<string, string>) =>
    (await sagas.request(`/saga/${sagaId}/events`, { headers: { accept: 'text/event-stream', ...headers } })).text()
  const whole = await stream({})
  const ids = [...whole.matchAll(/^id: (\d+)$/gm)].map(([, id]) => BigInt(id ?? ''))
  expect(ids).toHaveLength(5)
  expect(idsOf(whole)).toEqual(ids)
  for (const [i, id] of ids.entries()) {
    expect(idsOf(await stream({ 'last-event-id': String(id) }))).toEqual(ids.slice(i + 1))
  }
})

test('the audit agrees', async () => {
  expect(await runAudit(system.where)).toMatchObject({ code: 0 })
})

import { afterAll, beforeAll, expect, test } from '@jest/globals'
import type { FailuresInput } from '../../src/saga/failure.js'
import type { Bulk, BulkAccepted } from '../../src/http/schemas/bulk.js'
import type { Problem } from '../../src/http/schemas/common.js'
import { runAudit } from '../helpers/audit.js'
import { ada, everywhere, nowhere, Sagas } from '../helpers/sagas.js'
import { query } from '../helpers/shared.js'
import { startSystem, type System } from '../helpers/system.js'
import { until } from '../helpers/until.js'

const who = { reason: 'the wrong file', actor: 'grace' }
const refused = { C: { mode: 'always', kind: 'reject' } } as const
/** C gives no answer to its first call, for 5 s. */
const slow = { C: { mode: 'first', n: 1, kind: 'hang' } } as const

let system: System
let sagas: Sagas

beforeAll(async () => {
  system = await startSystem('bulk-end')
  sagas = new Sagas(system.where)
})
afterAll(() => system?.stop())

/** Starts a bulk with a saga for each of these failures; its id and theirs. */
async function start(all: FailuresInput[]): Promise<{ bulkId: string; sagaIds: string[] }> {
  const response = await sagas.post('/saga/bulk', { sagas: all.map((failures) => ({ ...ada, failures })) })
  expect(response.status).toBe(202)
  const { bulkId } = (await response.json()) as BulkAccepted
  const rows = await query<{ saga_id: string }>(
    system.where.database,
    'SELECT saga_id FROM saga WHERE bulk_id = $1 ORDER BY bulk_position',
    [bulkId],
  )
  return { bulkId, sagaIds: rows.map(({ saga_id: sagaId }) => sagaId) }
}

const times = (n: number, failures: FailuresInput = {}) => Array.from({ length: n }, () => failures)

const get = async (bulkId: string) => (await (await sagas.request(`/saga/bulk/${bulkId}`)).json()) as Bulk

const ended = (bulkId: string): Promise<Bulk> =>
  until(`bulk ${bulkId} has ended`, async () => {
    const bulk = await get(bulkId).catch(() => undefined)
    return bulk?.status === 'ENDED' && bulk
  })

async function end(bulkId: string, how: 'cancel' | 'compensate', expected: unknown, more: object = who) {
  const response = await sagas.post(`/saga/bulk/${bulkId}/${how}`, { ...more, expected })
  return {
    status: response.status,
    body: (await response.json()) as Omit<Bulk, 'status'> &
      Omit<Problem, 'status'> & { status: Bulk['status'] | number },
  }
}

/** The ways in which the sagas of a bulk have ended, with their rows in the three tables, and how many did. */
const tally = (bulkId: string) =>
  query<{ status: string; rows: string; n: number }>(
    system.where.database,
    `SELECT status, rows, count(*)::int AS n FROM (
       SELECT status, concat_ws(' ', (SELECT count(*) FROM table_a WHERE saga_id = s.saga_id),
         (SELECT count(*) FROM table_b WHERE saga_id = s.saga_id), (SELECT count(*) FROM table_c WHERE saga_id = s.saga_id)) AS rows
       FROM saga s WHERE bulk_id = $1
     ) AS one GROUP BY 1, 2 ORDER BY 1, 2`,
    [bulkId],
  )

test('a bulk is cancelled only with the number of sagas that it touches, and each of them is undone', async () => {
  const { bulkId, sagaIds } = await start([...times(2), ...times(8, slow)])
  await Promise.all(sagaIds.map((sagaId) => sagas.logged(sagaId, 'B success 1')))
  await until('two have completed', async () => (await get(bulkId)).completed === 2)
  expect(await get(bulkId)).toMatchObject({ running: 8, compensating: 0, cancellable: 8 })
  const { status, body } = await end(bulkId, 'cancel', 10)
  expect({ status, matching: body.matching, detail: body.detail }).toEqual({
    status: 409,
    matching: 8,
    detail: `Bulk ${bulkId} was expected to have 10 of its sagas to cancel, and it would be 8. Nothing was changed.`,
  })
  const cancelled = await end(bulkId, 'cancel', 8)
  expect(cancelled).toMatchObject({ status: 202, body: { bulkId, completed: 2, running: 8, cancellable: 0 } })
  expect(await end(bulkId, 'cancel', 8)).toMatchObject({ status: 409, body: { matching: 0 } })
  expect(await ended(bulkId)).toMatchObject({
    completed: 2,
    compensated: 8,
    failures: [{ type: 'Cancelled', message: 'cancelled by grace: the wrong file', count: 8 }],
  })
  expect(await tally(bulkId)).toEqual([
    { status: 'COMPENSATED', rows: '0 0 0', n: 8 },
    { status: 'COMPLETED', rows: '1 1 1', n: 2 },
  ])
  const log = await sagas.logRows(sagaIds[5] ?? '')
  expect(log.filter(({ service }) => service === 'ROLLBACK').map(({ message }) => message)).toEqual([
    'cancelled by grace: the wrong file',
  ])
})

test('of a bulk that is cancelled in full flight exactly what was counted is undone, and much never begins', async () => {
  const { bulkId } = await start(times(1_500))
  const cancelled = await until('it has been cancelled', async () => {
    for (let expected = 1_500; expected > 0;) {
      const { status, body } = await end(bulkId, 'cancel', expected)
      if (status === 202) return expected
      expected = body.matching ?? 0
    }
    return false
  })
  const bulk = await ended(bulkId)
  expect(bulk).toMatchObject({ total: 1_500, completed: 1_500 - cancelled, compensated: cancelled, needsAttention: 0 })
  expect(await tally(bulkId)).toEqual([
    { status: 'COMPENSATED', rows: '0 0 0', n: cancelled },
    ...(cancelled < 1_500 ? [{ status: 'COMPLETED', rows: '1 1 1', n: 1_500 - cancelled }] : []),
  ])
  const begun = await query<{ n: number }>(
    system.where.database,
    `SELECT count(DISTINCT saga_id)::int AS n FROM saga_log JOIN saga USING (saga_id) WHERE bulk_id = $1 AND service = 'A'`,
    [bulkId],
  )
  expect(begun[0]?.n).toBeLessThan(1_500)
})

test('what a bulk has completed is compensated after all, and what was refused stays as it is', async () => {
  const { bulkId, sagaIds } = await start([...times(12), ...times(6, refused)])
  expect(await ended(bulkId)).toMatchObject({ completed: 12, compensated: 6 })
  expect(await end(bulkId, 'compensate', 18)).toMatchObject({ status: 409, body: { matching: 12 } })
  expect((await get(bulkId)).completed).toBe(12)
  const { status, body } = await end(bulkId, 'compensate', 12)
  expect({ status, bulk: body.status }).toEqual({ status: 202, bulk: 'RUNNING' })
  expect(body.endedAt).toBeUndefined()
  expect(body).toMatchObject({ compensating: body.running, cancellable: 0 })
  const bulk = await ended(bulkId)
  expect(bulk).toMatchObject({ total: 18, completed: 0, compensated: 18, running: 0 })
  expect(bulk.failures[0]).toEqual({
    type: 'CompensationRequested',
    message: 'compensated by grace: the wrong file',
    count: 12,
  })
  expect(await tally(bulkId)).toEqual([{ status: 'COMPENSATED', rows: '0 0 0', n: 18 }])
  const [undone = '', , , , , , , , , , , , rejected = ''] = sagaIds
  const saga = await sagas.get(undone)
  expect(saga).toMatchObject({
    status: 'COMPENSATED',
    error: { type: 'CompensationRequested' },
    compensations: ['C', 'B', 'A'].map((step) => ({ step, status: 'done', attempts: 1 })),
  })
  expect(saga.userId).toBeUndefined()
  expect((await sagas.log(undone)).filter((row) => !row.endsWith('verified'))).toEqual([
    ...['SAGA started', 'A success 1', 'B success 1', 'C success 1', 'SAGA completed', 'ROLLBACK triggered'],
    ...['COMPENSATE_C success 1', 'COMPENSATE_B success 1', 'COMPENSATE_A success 1', 'SAGA compensated'],
  ])
  expect((await sagas.get(rejected)).error?.type).toBe('Rejected')
  expect(await end(bulkId, 'compensate', 12)).toMatchObject({ status: 409, body: { matching: 0 } })
})

test('one whose compensation is stuck leaves the bulk, and a person decides', async () => {
  const jammed = { A: { mode: 'first', n: 8, on: 'compensate' } } as const
  const { bulkId, sagaIds } = await start([{}, jammed, {}])
  const [, stuck = ''] = sagaIds
  await ended(bulkId)
  expect((await end(bulkId, 'compensate', 3)).status).toBe(202)
  await sagas.logged(stuck, 'COMPENSATE_A stuck')
  expect(await ended(bulkId)).toMatchObject({ compensated: 2, needsAttention: 1 })
  await until('it has a run of its own', async () => (await sagas.get(stuck)).links.temporal.endsWith(stuck))
  const decision = { step: 'A', action: 'retry', reason: 'it is mended', actor: 'grace' }
  expect((await sagas.post(`/saga/${stuck}/decision`, decision)).status).toBe(200)
  expect((await sagas.ended(stuck)).status).toBe('COMPENSATED')
  expect(await sagas.rows(stuck)).toEqual(nowhere)
  expect(await sagas.log(stuck)).not.toContain('SAGA recovered')
  expect(await sagas.closing(stuck)).toMatchObject({ status: 'FAILED', failure: { type: 'SagaCompensated' } })
  expect(await get(bulkId)).toMatchObject({ status: 'ENDED', compensated: 3, needsAttention: 0 })
})

test('what is to be compensated is, though the process is killed -9 meanwhile', async () => {
  const { bulkId } = await start(times(300))
  await ended(bulkId)
  expect((await end(bulkId, 'compensate', 300)).status).toBe(202)
  await system.kill()
  await system.restart()
  expect(await ended(bulkId)).toMatchObject({ completed: 0, compensated: 300 })
  expect(await tally(bulkId)).toEqual([{ status: 'COMPENSATED', rows: '0 0 0', n: 300 }])
})

test('a call that is not right changes nothing', async () => {
  const { bulkId, sagaIds } = await start([{}])
  await ended(bulkId)
  const paths = async (expected: unknown, more: object) => {
    const { status, body } = await end(bulkId, 'compensate', expected, more)
    return [status, ...(body.errors ?? []).map(({ path }) => path)]
  }
  expect(await paths(undefined, who)).toEqual([400, '/expected'])
  expect(await paths('1', who)).toEqual([400, '/expected'])
  expect(await paths(-1, who)).toEqual([400, '/expected'])
  expect(await paths(1, { actor: 'grace' })).toEqual([400, '/reason'])
  expect(await paths(1, { ...who, force: true })).toEqual([400, '/force'])
  expect((await end('b4d1a9a0-0000-4000-8000-000000000000', 'cancel', 0)).status).toBe(404)
  expect((await end('no-bulk', 'compensate', 0)).status).toBe(404)
  expect(await sagas.rows(sagaIds[0] ?? '')).toEqual(everywhere)
})

test('the audit agrees with all of this', async () => {
  const { code, stdout } = await runAudit(system.where)
  expect(stdout).toMatch(/^\d+ sagas agree with their log, barriers, rows and history\.\n$/)
  expect(code).toBe(0)
})

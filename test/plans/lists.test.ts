import { createHash } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { Client } from 'pg'
import { countStuck, listSagas, type SagaFilter } from '../../src/saga/node/saga-list.js'
import { followLog, listLog, type LogFilter } from '../../src/saga/node/saga-log.js'
import type { Status } from '../../src/saga/types.js'
import { explain } from '../helpers/plans.js'
import { makeDatabase } from '../helpers/system.js'

// 100,000 sagas and 1,000,000 log rows: whatever is asked for is read by an index, and little more than is answered.

const SAGAS = 100_000
const LOG_ROWS = 1_000_000
/** Sagas that need attention. */
const WAITING = 5

const md5 = (text: string) => createHash('md5').update(text).digest('hex')

let database: Client
beforeAll(async () => {
  database = new Client({ connectionString: await makeDatabase('plans') })
  await database.connect()
  await fillSagas()
  await fillLog()
  await database.query('ANALYZE')
}, 600_000)
afterAll(() => database?.end())

/**
 * One a second. Ids and names are hexadecimal, so that each further character of a prefix leaves a sixteenth. Some statuses
 * are rare, and COMPENSATED has been so of late. Those that have failed did so at C, one in a hundred at A; none at B, on
 * which a few are stuck.
 */
async function fillSagas(): Promise<void> {
  const step = { kind: 'compensatable', status: 'succeeded', outcome: 'applied', attempts: 1 }
  const steps = ['A', 'B', 'C'].map((name) => ({ step: name, service: name, ...step }))
  await database.query(
    `INSERT INTO saga (saga_id, type, label, view, input_hash, steps, compensations, failed_step, started_at, status, fate)
     SELECT md5(n::text), 'createUserSaga', label, jsonb_build_object('username', label), '', $2,
            CASE status WHEN 'NEEDS_ATTENTION' THEN $3::jsonb ELSE '[]' END,
            CASE WHEN status IN ('COMPENSATED', 'NEEDS_ATTENTION') THEN CASE WHEN n % 100 = 50 THEN 'A' ELSE 'C' END END,
            '2026-01-01Z'::timestamptz + n * interval '1 second', status,
            CASE status WHEN 'COMPLETED' THEN 'completed' WHEN 'COMPENSATED' THEN 'rolledBack' WHEN 'NEEDS_ATTENTION' THEN 'rollback' ELSE 'open' END
     FROM generate_series(1, $1) AS n,
          LATERAL (SELECT CASE WHEN n % 10000 = 0 THEN 'Zoë ' ELSE '' END || md5('name' || n) AS label,
                          CASE WHEN n % 20000 = 7 THEN 'NEEDS_ATTENTION' WHEN n % 1000 = 1 THEN 'RUNNING'
                               WHEN n <= 20000 THEN 'COMPENSATED' ELSE 'COMPLETED' END AS status) AS made`,
    [SAGAS, JSON.stringify(steps), JSON.stringify([{ step: 'B', status: 'stuck', attempts: 8 }])],
  )
}

/** Ten rows a saga. A and B have failed, but not of late, and C never has; only C is ever stuck, and seldom. */
async function fillLog(): Promise<void> {
  const services = ['SAGA', 'A', 'A', 'A', 'B', 'B', 'B', 'C', 'C', 'C']
  await database.query(
    `INSERT INTO saga_log (saga_id, service, status, message, attempt, entry_id)
     SELECT md5((1 + n / 10)::text), service,
            CASE WHEN n % 100000 = 7 THEN 'stuck' WHEN service = 'ROLLBACK' THEN 'triggered' WHEN service = 'SAGA' THEN 'started'
                 WHEN service <> 'C' AND n < 200000 AND n % 3 = 0 THEN 'failed' ELSE 'success' END,
            'applied', 1, gen_random_uuid()
     FROM generate_series(0, $1 - 1) AS n,
          LATERAL (SELECT CASE WHEN n % 200 = 16 THEN 'ROLLBACK' ELSE ($2::text[])[1 + n % 10] END AS service) AS made`,
    [LOG_ROWS, services],
  )
}

/** Every way to choose one of each. */
const product = <T extends object, U extends object>(some: T[], others: U[]): (T & U)[] =>
  some.flatMap((one) => others.map((other) => ({ ...one, ...other })))
const asText = (_key: string, value: unknown) => (typeof value === 'bigint' ? String(value) : value)
const titled = <T extends object>(cases: T[]) => cases.map((of) => ({ of, title: JSON.stringify(of, asText) }))

const middle = { startedAtMicros: Date.parse('2026-01-01T14:00:00Z') * 1_000, sagaId: 'x' }
const positions: SagaFilter[] = [{}, { after: middle }]
const statuses: SagaFilter[] = [
  ...['COMPLETED', 'RUNNING', 'NEEDS_ATTENTION', 'COMPENSATED', 'COMPENSATING'].map((one) => [one]),
  ['COMPLETED', 'RUNNING'],
  ['COMPENSATED', 'NEEDS_ATTENTION', 'PARTIALLY_COMPENSATED'],
].map((some) => ({ statuses: some as Status[] }))
const prefixes: SagaFilter[] = ['a', 'AB', 'abc', 'abcde', 'zoë', 'nobody', '%', md5('1')].map((q) => ({ q }))

test.each(titled(product([{}, ...statuses], positions)))('sagas by $title: a page of each status', async ({ of }) => {
  const { rows } = await explain(database, (db) => listSagas(db, of))
  expect(rows).toBeLessThanOrEqual(51 * (of.statuses?.length ?? 1))
})

// Looked up by the prefix where few fit (all but `a`, one in 16), walked from the newest where many do.
test.each(titled(product(product([{}, ...statuses], prefixes), positions)))(
  'sagas by $title: those that the prefix fits, or little more',
  async ({ of }) => {
    const { rows } = await explain(database, (db) => listSagas(db, of))
    expect(rows).toBeLessThanOrEqual(of.q === 'a' ? SAGAS / 5 : 4_000)
  },
)

const steps: SagaFilter[] = ['A', 'B', 'C', 'D'].map((step) => ({ step }))

test.each(titled(product(product([{}, ...statuses], steps), positions)))(
  'sagas by $title: a page of each status, and those that wait for a person',
  async ({ of }) => {
    const { rows } = await explain(database, (db) => listSagas(db, of))
    expect(rows).toBeLessThanOrEqual(51 * (of.statuses?.length ?? 6) + WAITING)
  },
)

test.each(titled(product(product([{}, ...statuses], steps), product(prefixes, positions))))(
  'sagas by $title: those that failed at the step at most',
  async ({ of }) => {
    const { rows } = await explain(database, (db) => listSagas(db, of))
    expect(rows).toBeLessThanOrEqual(SAGAS / 5 + WAITING)
  },
)

test('what is stuck is counted from what waits for a person', async () => {
  const { rows } = await explain(database, countStuck)
  expect(rows).toBe(WAITING)
})

const before: LogFilter[] = [{}, { before: BigInt(LOG_ROWS / 2) }]
const services: LogFilter[] = [{}, ...['SAGA', 'A', 'C', 'ROLLBACK', 'D'].map((service) => ({ service }))]
const outcomes: LogFilter[] = [{}, ...['success', 'failed', 'stuck', 'triggered', 'none'].map((status) => ({ status }))]

test.each(titled(product(product(services, outcomes), before)))(
  'log rows by $title: a page, or little more',
  async ({ of }) => {
    const { rows } = await explain(database, (db) => listLog(db, of))
    expect(rows).toBeLessThanOrEqual(500)
  },
)

test.each(titled(product(product(product([{ saga: md5('1') }], services), outcomes), before)))(
  "log rows by $title: the saga's ten",
  async ({ of }) => {
    const { rows } = await explain(database, (db) => listLog(db, of))
    expect(rows).toBeLessThanOrEqual(10)
  },
)

test("following a saga's log reads what is behind the last row that was seen", async () => {
  const { rows } = await explain(database, (db) => followLog(db, { sagaId: md5('1'), afterId: 4n, limit: 100 }))
  expect(rows).toBe(6)
})

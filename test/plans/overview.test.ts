import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { Client } from 'pg'
import { readEnds, readWaits, spanOf } from '../../src/saga/node/saga-overview.js'
import { explain } from '../helpers/plans.js'
import { makeDatabase } from '../helpers/system.js'

// 100,000 sagas and 1,000,000 log rows over four weeks, which is some 150 sagas an hour: the overview reads those of its window.

const SAGAS = 100_000
const EVERY_S = 24
const now = new Date('2026-02-01Z')

let database: Client
beforeAll(async () => {
  database = new Client({ connectionString: await makeDatabase('plans-overview') })
  await database.connect()
  await fill()
  await database.query('VACUUM ANALYZE')
}, 600_000)
afterAll(() => database?.end())

/** The newest ends now. One in ten is rolled back, one in a hundred waited for a person, one in 2,000 does so still. */
async function fill(): Promise<void> {
  await database.query(
    `INSERT INTO saga (saga_id, type, view, input_hash, steps, status, fate, started_at, ended_at)
     SELECT n::text, 'createUserSaga', '{}', '', '[]', status, fate, started_at,
            CASE WHEN fate IN ('completed', 'rolledBack') THEN started_at + interval '2 s' END
     FROM generate_series(1, $1) AS n,
          LATERAL (SELECT CASE WHEN n % 2000 = 7 THEN 'NEEDS_ATTENTION' WHEN n % 10 = 0 THEN 'COMPENSATED' ELSE 'COMPLETED' END
                            AS status,
                          CASE WHEN n % 2000 = 7 THEN 'rollback' WHEN n % 10 = 0 THEN 'rolledBack' ELSE 'completed' END AS fate,
                          $2::timestamptz - ($1 - n) * $3 * interval '1 s' AS started_at) AS made`,
    [SAGAS, now, EVERY_S],
  )
  await database.query(
    `INSERT INTO saga_log (saga_id, service, status, message, created_at)
     SELECT n::text, 'COMPENSATE_A',
            CASE WHEN i = 5 AND n % 100 = 7 THEN 'stuck' WHEN i = 6 AND n % 100 = 7 AND n % 2000 <> 7 THEN 'decision' ELSE 'success' END,
            '', $2::timestamptz - ($1 - n) * $3 * interval '1 s' + i * interval '0.2 s'
     FROM generate_series(1, $1) AS n, generate_series(0, 9) AS i`,
    [SAGAS, now, EVERY_S],
  )
}

const windows = [5, 60, 360, 1_440].map((minutes) => ({ minutes, sagas: Math.ceil((minutes * 60) / EVERY_S) }))

test.each(windows)(
  'what started and ended in $minutes minutes: the $sagas sagas of then',
  async ({ minutes, sagas }) => {
    const { rows } = await explain(database, (db) => readEnds(db, spanOf(minutes, now)))
    // And all that have not ended.
    expect(rows).toBeLessThanOrEqual(sagas + SAGAS / 2_000 + 1)
  },
)

test.each(windows)(
  'who waited in $minutes minutes: the log of the few of $sagas that did',
  async ({ minutes, sagas }) => {
    const { rows } = await explain(database, (db) => readWaits(db, spanOf(minutes, now)))
    const touched = Math.ceil(sagas / 100) + 1
    // The rows that say so, and the ten of each saga.
    expect(rows).toBeLessThanOrEqual(touched * 12)
  },
)

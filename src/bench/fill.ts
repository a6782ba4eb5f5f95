import type { Client as Postgres } from 'pg'

/** Completed sagas with five log rows each; the id of one of them. */
export async function fill(database: Postgres, logRows: number): Promise<string> {
  const step = (name: string, service: string) => ({
    ...{ step: name, service, kind: 'compensatable', status: 'succeeded', outcome: 'applied', attempts: 1 },
    ...{ startedAt: '2026-01-01T00:00:00.000Z', endedAt: '2026-01-01T00:00:00.010Z' },
  })
  const steps = JSON.stringify([step('A', 'user'), step('B', 'address'), step('C', 'payment')])
  const view = JSON.stringify({ username: 'Jane Doe', address: '1 Long Street, Springfield', payment: '****1111' })
  await database.query(
    `INSERT INTO saga (saga_id, type, label, fate, status, view, input_hash, first_run_id, steps, ended_at)
     SELECT 'bench-' || n, 'createUserSaga', 'Jane Doe', 'completed', 'COMPLETED', $1, '', 'none', $2, now()
     FROM generate_series(1, $3 / 5) AS n`,
    [view, steps, logRows],
  )
  await database.query(
    `INSERT INTO saga_log (saga_id, service, status, message, attempt)
     SELECT 'bench-' || (1 + n / 5), (ARRAY['SAGA', 'A', 'B', 'C', 'SAGA'])[1 + n % 5],
            (ARRAY['started', 'success', 'success', 'success', 'completed'])[1 + n % 5], 'applied', NULL
     FROM generate_series(0, $1 - 1) AS n`,
    [logRows],
  )
  await database.query('ANALYZE')
  return 'bench-1'
}

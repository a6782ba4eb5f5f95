import { expect, test } from '@jest/globals'
import { runMatrix, told } from '../../src/saga/testing/index.js'
import { alone } from '../../test/helpers/alone.js'
import { failuresOnly } from '../../test/helpers/failures-only.js'
import { readShared, query } from '../../test/helpers/shared.js'
import { makeNamespace } from '../../test/helpers/system.js'
import { makeTripDatabase } from './system.js'

// Everything that can go wrong with a trip. Runs when the file is read, so that each case is a test of its own.
const namespace = 'trip-matrix'
await makeNamespace(namespace)
const databaseUrl = await makeTripDatabase(namespace)
await query(databaseUrl, `INSERT INTO flight_seats SELECT 'flight ' || n, 10 FROM generate_series(0, 2000) n`)
await query(databaseUrl, `INSERT INTO hotel_rooms SELECT 'hotel ' || n, 10 FROM generate_series(0, 2000) n`)
const reports = await alone(() =>
  runMatrix(
    new URL('../dist/examples/trip/matrix.js', import.meta.url),
    { databaseUrl, temporalAddress: readShared().temporal, namespace },
    { only: new RegExp(process.env['MATRIX'] ?? ''), tell: failuresOnly },
  ),
)

test.each(reports.map((report) => [report.name, report] as const))('%s', (_name, report) => {
  if (report.problems.length > 0) throw new Error(told(report))
  expect(report.problems).toEqual([])
})

test('what was undone can be booked again', async () => {
  const rows = await query(
    databaseUrl,
    `SELECT f.flight, f.free + coalesce(sum(b.seats), 0) AS seats FROM flight_seats f LEFT JOIN flight_booking b USING (flight)
     WHERE f.flight LIKE 'flight %' GROUP BY f.flight, f.free HAVING f.free + coalesce(sum(b.seats), 0) <> 10`,
  )
  expect(rows).toEqual([])
})

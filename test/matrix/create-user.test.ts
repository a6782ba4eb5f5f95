import { expect, test } from '@jest/globals'
import { runMatrix, told } from '../../src/saga/testing/index.js'
import { alone } from '../helpers/alone.js'
import { failuresOnly } from '../helpers/failures-only.js'
import { readShared } from '../helpers/shared.js'
import { makeDatabase, makeNamespace } from '../helpers/system.js'

// Runs when the file is read, so that each case is a test of its own. MATRIX="…" runs those whose name it matches.
const namespace = 'matrix-create-user'
await makeNamespace(namespace)
const databaseUrl = await makeDatabase(namespace)
const reports = await alone(() =>
  runMatrix(
    new URL('./create-user.js', import.meta.url),
    { databaseUrl, temporalAddress: readShared().temporal, namespace },
    { only: new RegExp(process.env['MATRIX'] ?? ''), tell: failuresOnly },
  ),
)

test.each(reports.map((report) => [report.name, report] as const))('%s', (_name, report) => {
  if (report.problems.length > 0) throw new Error(told(report))
  expect(report.problems).toEqual([])
})

import { expect, test } from '@jest/globals'
import { runMatrix, told } from '../../src/saga/testing/index.js'
import { alone } from '../helpers/alone.js'
import { failuresOnly } from '../helpers/failures-only.js'
import { query, readShared } from '../helpers/shared.js'
import { makeDatabase, makeNamespace } from '../helpers/system.js'

// The kit itself, on a saga with every kind of step: what createUserSaga's matrix does not have, and of the rest a few.
const namespace = 'matrix-order'
await makeNamespace(namespace)
const databaseUrl = await makeDatabase(namespace)
await query(databaseUrl, 'CREATE TABLE effect (id bigint GENERATED ALWAYS AS IDENTITY, saga_id text, service text)')
const reports = await alone(() =>
  runMatrix(
    new URL('./order.js', import.meta.url),
    { databaseUrl, temporalAddress: readShared().temporal, namespace },
    {
      only: process.env['MATRIX']
        ? new RegExp(process.env['MATRIX'])
        : /^(charge|parcel|wrapping)|no fault|terminate|^(stock|credit): .*commit; undo works; cancel at wrapping/,
      tell: failuresOnly,
    },
  ),
)

test.each(reports.map((report) => [report.name, report] as const))('%s', (_name, report) => {
  if (report.problems.length > 0) throw new Error(told(report))
  expect(report.problems).toEqual([])
})

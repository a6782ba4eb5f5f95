import { readFileSync } from 'node:fs'
import { expect, test } from '@jest/globals'
import { query } from './helpers/shared.js'
import { makeDatabase } from './helpers/system.js'

const SET = 'SELECT failures, generation::integer FROM failure_injection'

const once = (when: 'before' | 'after') => ({ mode: 'alternate', when, kind: 'error', on: 'invoke' })

test("a new installation has the demo's failures: A before its transaction, B after its commit", async () => {
  const database = await makeDatabase('demo-failures-new')

  const [set] = await query<{ failures: Record<string, unknown> }>(database, SET)
  expect(set?.failures).toMatchObject({ A: [once('before')], B: [once('after')] })
})

// As 0020 finds it in an installation that has been used.
test.each([
  ['that nothing fails', {}, 2],
  ['that C fails', { C: [once('before')] }, 5],
  ['what an earlier version came with', { A: [once('before')] }, 1],
])('an installation that has %s keeps it', async (_what, failures, generation) => {
  const database = await makeDatabase(`demo-failures-${generation}`)
  await query(database, 'UPDATE failure_injection SET failures = $1, generation = $2', [failures, generation])

  await query(database, readFileSync('sql/0019_demo_failures.sql', 'utf8'))

  expect(await query(database, SET)).toEqual([{ failures, generation }])
})

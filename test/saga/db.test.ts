import { afterEach, expect, test } from '@jest/globals'
import { isDatabaseAway, makePool, participantBounds, type Pool } from '../../src/saga/node/db.js'
import { readShared } from '../helpers/shared.js'

const pools: Pool[] = []
afterEach(async () => {
  delete process.env['PGOPTIONS']
  await Promise.all(pools.splice(0).map((pool) => pool.end()))
})

/** What holds on a connection of a participant's pool to that URL. */
async function settingsOf(parameters: string, names: string[]): Promise<Record<string, string>> {
  const url = new URL(readShared().postgres)
  url.search = parameters
  const pool = makePool(url.href, { max: 1, name: 'db-test', bounds: participantBounds, queryTimeoutMs: 12_000 })
  pools.push(pool)
  const { rows } = await pool.query<{ name: string; value: string }>(
    'SELECT name, current_setting(name) AS value FROM unnest($1::text[]) AS name',
    [names],
  )
  return Object.fromEntries(rows.map(({ name, value }) => [name, value]))
}

const bounds = ['lock_timeout', 'statement_timeout', 'idle_in_transaction_session_timeout', 'transaction_timeout']
const bounded = {
  lock_timeout: '3s',
  statement_timeout: '4s',
  idle_in_transaction_session_timeout: '8s',
  transaction_timeout: '10s',
}

test.each([
  { what: 'options of its own', parameters: 'options=-c%20enable_seqscan%3Doff', seqscan: 'off' },
  {
    what: 'options that lift the bounds',
    parameters: 'options=-c%20enable_seqscan%3Doff%20-c%20transaction_timeout%3D0%20-c%20lock_timeout%3D0',
    seqscan: 'off',
  },
  { what: 'parameters that lift the bounds', parameters: 'statement_timeout=0&lock_timeout=0', seqscan: 'on' },
  { what: 'none of these', parameters: '', seqscan: 'on' },
])('the bounds of participants hold where the URL has $what', async ({ parameters, seqscan }) => {
  expect(await settingsOf(parameters, [...bounds, 'enable_seqscan'])).toEqual({ ...bounded, enable_seqscan: seqscan })
})

test('PGOPTIONS hold beside the bounds of participants', async () => {
  process.env['PGOPTIONS'] = '-c enable_seqscan=off -c lock_timeout=0'
  expect(await settingsOf('', [...bounds, 'enable_seqscan'])).toEqual({ ...bounded, enable_seqscan: 'off' })
})

test.each([
  { what: 'its disk is full', code: '53100', isAway: true },
  { what: 'it is out of memory', code: '53200', isAway: true },
  { what: 'it has no connection left', code: '53300', isAway: true },
  { what: 'an idle session was ended', code: '57P05', isAway: true },
  { what: 'its disk is broken', code: '58030', isAway: true },
  { what: 'a statement needs more than it may have', code: '53400', isAway: false },
  { what: 'a statement took too long', code: '57014', isAway: false },
  { what: 'a row is there already', code: '23505', isAway: false },
])('of PostgreSQL that says $code ($what) it is said that it can not serve now: $isAway', ({ code, isAway }) => {
  expect(isDatabaseAway(Object.assign(new Error('x'), { code, severity: 'ERROR' }))).toBe(isAway)
})

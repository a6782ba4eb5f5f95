import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import type { BulkSummary } from '../src/http/schemas/bulk.js'
import { ada, Sagas } from './helpers/sagas.js'
import { readShared } from './helpers/shared.js'
import { startProgram, startSystem, type System } from './helpers/system.js'

const token = 'token-of-olga-0123456789'
let system: System
let sagas: Sagas
beforeAll(async () => {
  system = await startSystem('bulk-command', { API_TOKENS: `olga:operator:${token}` })
  sagas = new Sagas(system.where, { authorization: `Bearer ${token}` })
})
afterAll(() => system?.stop())

function fileOf(name: string, lines: unknown[]): string {
  const file = join(readShared().folder, `${name}.ndjson`)
  writeFileSync(file, lines.map((line) => (typeof line === 'string' ? line : JSON.stringify(line))).join('\n'))
  return file
}

/** `npm run bulk -- …`, its output piped; how it ended, and what it said. */
async function bulk(name: string, args: string[], env: Record<string, string> = { API_TOKEN: token }) {
  const program = startProgram('bulk.js', name, env, args)
  const { code } = await program.exited
  return { code, lines: program.output().trim().split('\n') }
}

const at = () => ['--url', system.where.api]
const users = (name: string, n: number) =>
  Array.from({ length: n }, (_, i) => ({ ...ada, username: `${name} ${i}`, failures: {} }))

async function bulks(): Promise<BulkSummary[]> {
  return ((await (await sagas.request('/saga/bulk')).json()) as { bulks: BulkSummary[] }).bulks
}

test('a file whose sagas are all completed ends with 0, and sent again it starts none', async () => {
  const file = fileOf('good', users('good', 60))
  const first = await bulk('good', [file, ...at()])
  const [{ bulkId } = { bulkId: '' }] = await bulks()
  expect(first.code).toBe(0)
  expect(first.lines[0]).toBe(`Bulk ${bulkId}: 60 sagas accepted.`)
  expect(first.lines.at(-2)).toBe('60 of 60 completed.')
  expect(first.lines.at(-1)).toBe(`See ${system.where.api}/#/bulk/${bulkId}`)
  // Plain lines: nothing that moves a cursor.
  expect(first.lines.join('')).not.toContain('\u001b')
  const again = await bulk('good', [file, ...at()])
  expect({ code: again.code, first: again.lines[0] }).toEqual({
    code: 0,
    first: `Bulk ${bulkId} has been started by this file before.`,
  })
  expect(await bulks()).toHaveLength(1)
})

test('one whose sagas are not all completed ends with 1, and says what they failed with', async () => {
  const refused = { ...ada, username: 'refused', failures: { C: { mode: 'always', kind: 'reject' } } }
  const { code, lines } = await bulk('refused', [fileOf('refused', [...users('beside', 3), refused]), ...at()])
  expect(code).toBe(1)
  expect(lines.slice(-3)).toEqual([
    '3 of 4 completed, 1 compensated.',
    expect.stringMatching(/^ {2}1 times at C: Rejected: /),
    expect.stringMatching(/^See http/),
  ])
})

test('lines that are not right are named, and with --skip-invalid left out', async () => {
  const file = fileOf('bad', [...users('bad', 2), '{', { ...ada, username: '' }])
  const before = await bulks()
  expect(await bulk('bad', [file, ...at()])).toEqual({
    code: 1,
    lines: [
      'The body is not right: 2 of its 4 sagas are not. Nothing was started; see errors.',
      '  line 3: is not valid JSON',
      '  line 4: username must not be empty',
    ],
  })
  expect(await bulks()).toEqual(before)
  const { code, lines } = await bulk('skipped', [file, ...at(), '--skip-invalid'])
  expect(code).toBe(0)
  expect(lines.slice(1, 4)).toEqual([
    '2 lines are not right, and were left out:',
    '  line 3: is not valid JSON',
    '  line 4: username must not be empty',
  ])
})

test.each([
  { what: 'no file', args: [], says: /^Name a file: npm run bulk -- users\.ndjson/ },
  { what: 'a file that is not there', args: ['nowhere.ndjson'], says: /^There is no file nowhere\.ndjson\.$/ },
  { what: 'an address that is none', args: ['x', '--url', 'x'], says: /^--url x is not an address/ },
])('$what is named', async ({ args, says }) => {
  const { code, lines } = await bulk('wrong', args)
  expect({ code, said: lines.length }).toEqual({ code: 1, said: 1 })
  expect(lines[0]).toMatch(says)
})

test('without its token nothing is started', async () => {
  const { code, lines } = await bulk('nobody', [fileOf('nobody', users('nobody', 1)), ...at()], {})
  expect({ code, lines }).toEqual({ code: 1, lines: [expect.stringContaining('A valid token is needed')] })
})

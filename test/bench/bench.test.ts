import { execFile } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, expect, test } from '@jest/globals'

const folder = mkdtempSync(join(tmpdir(), 'bench-test-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

/** On servers of its own, as `npm run bench` does; it ends with 1 where a saga's answer or rows are wrong. */
test('the bench runs all its cases, and finds the rows of every saga right', async () => {
  const json = join(folder, 'report.json')
  await promisify(execFile)(process.execPath, [resolve('dist/bench/run.js'), '--quick', '--bare', '--json', json])
  const { results } = JSON.parse(readFileSync(json, 'utf8')) as {
    results: Record<string, Record<string, { throughput: number; events: number }[]>>
  }
  const measured = Object.entries(results).map(([name, contenders]) => [name, Object.keys(contenders).toSorted()])
  const all = ['bare', 'grouped', 'limit', 'sample', 'single']
  expect(Object.fromEntries(measured)).toEqual({
    'happy, one at a time': all,
    'happy, 4 in flight': all,
    'C refuses, one at a time': all,
    'C refuses, 4 in flight': all,
    "the demo's failures, one at a time": ['grouped', 'single'],
    "the demo's failures, 4 in flight": ['grouped', 'single'],
    'happy, bulk of 6': ['bulk'],
    'happy, bulk of 30': ['bulk', 'limit', 'plain'],
    'C refuses every third, bulk of 30': ['bulk', 'limit'],
    "the demo's failures, bulk of 30": ['bulk'],
    'happy, one at a time, beside nothing': ['single'],
    'happy, one at a time, beside a bulk of 30': ['single'],
    'happy, bulk of 30, behind 0 log rows': ['bulk'],
    'happy, bulk of 30, behind 100 log rows': ['bulk'],
  })
  const rounds = Object.values(results).flatMap((contenders) => Object.values(contenders))
  expect(rounds.every(([one, ...others]) => one !== undefined && one.throughput > 0 && others.length === 0)).toBe(true)
  const events = (who: string) => results['happy, one at a time']?.[who]?.[0]?.events ?? NaN
  expect(events('single')).toBe(events('bare'))
  // Local activities and no further workflow task: a history that is less than half as long.
  expect(events('single') * 2).toBeLessThan(events('sample'))
}, 400_000)

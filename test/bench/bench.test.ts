import { execFile } from 'node:child_process'
import { resolve } from 'node:path'
import { promisify } from 'node:util'
import { expect, test } from '@jest/globals'

/** On servers of its own, as `npm run bench` does; it ends with 1 where a saga's answer or rows are wrong. */
test('the bench runs all its cases, and finds the rows of every saga right', async () => {
  const args = [resolve('dist/bench/run.js'), '--rounds', '1', '--sagas', '4', '--json']
  const { stdout } = await promisify(execFile)(process.execPath, args)
  const { results } = JSON.parse(stdout)
  expect(Object.keys(results)).toEqual([
    'happy, 64 in flight',
    'happy, one at a time',
    'C refuses, 64 in flight',
    'C refuses, one at a time',
  ])
  for (const { ours, sample, bare } of Object.values<Record<string, { events: number }[]>>(results)) {
    expect(ours).toHaveLength(1)
    expect(sample).toHaveLength(1)
    expect(ours?.[0]?.events).toBe(bare?.[0]?.events)
    // Local activities and no further workflow task: a history that is less than half as long.
    expect(Number(ours?.[0]?.events) * 2).toBeLessThan(Number(sample?.[0]?.events))
  }
})

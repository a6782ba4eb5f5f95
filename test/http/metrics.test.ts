import { afterAll, beforeAll, expect, test } from '@jest/globals'
import type { Sagas as List } from '../../src/http/schemas/saga-list.js'
import { ada, Sagas } from '../helpers/sagas.js'
import { query } from '../helpers/shared.js'
import { startSystem, type System } from '../helpers/system.js'
import { until } from '../helpers/until.js'

let system: System
let sagas: Sagas
beforeAll(async () => {
  system = await startSystem('metrics')
  sagas = new Sagas(system.where)
})
afterAll(() => system?.stop())

/** The figures of that name, each as "tags value". */
async function figures(name: string): Promise<string[]> {
  const response = await sagas.request('/metrics')
  expect(response.status).toBe(200)
  expect(response.headers.get('content-type')).toBe('text/plain; version=0.0.4; charset=utf-8')
  const lines = (await response.text()).split('\n')
  return lines
    .filter((line) => line.startsWith(`${name}{`) || line.startsWith(`${name} `))
    .map((line) => line.slice(name.length).replaceAll(/(?:,)?service_name="[^"]*"(?:,)?/g, ''))
    .toSorted()
}

test('sagas and attempts are counted as the log tells them, and what waits for a person is shown', async () => {
  const refusedC = { C: { mode: 'always', kind: 'reject' } } as const
  await sagas.run()
  await sagas.run({ B: { mode: 'first', n: 1 } })
  await sagas.run(refusedC)
  const stuck = await sagas.start({ ...refusedC, A: { mode: 'always', on: 'compensate' } })
  await sagas.logged(stuck, 'COMPENSATE_A stuck')
  const type = 'type="createUserSaga"'
  expect(await figures('saga_started_total')).toEqual([`{${type}} 4`])
  expect(await figures('saga_ended_total')).toEqual([
    `{status="COMPENSATED",${type}} 1`,
    `{status="COMPLETED",${type}} 2`,
  ])
  const logged = await query<{ line: string }>(
    system.where.database,
    `SELECT format('{service="%s",status="%s",${type}} %s', service, status, count(*)) AS line
     FROM saga_log WHERE attempt IS NOT NULL GROUP BY service, status`,
  )
  expect(await figures('saga_attempts_total')).toEqual(logged.map(({ line }) => line).toSorted())
  expect(logged).not.toEqual([])
  expect(await figures('saga_stuck_total')).toEqual([`{service="COMPENSATE_A",${type}} 1`])
  expect(await figures('saga_duration_seconds_count')).toEqual([
    `{status="COMPENSATED",${type}} 1`,
    `{status="COMPLETED",${type}} 2`,
  ])
  expect(await figures('saga_unfinished')).toEqual([
    '{status="COMPENSATING"} 0',
    '{status="NEEDS_ATTENTION"} 1',
    '{status="RUNNING"} 0',
  ])
  expect(await figures('saga_without_progress')).toEqual([' 0'])
})

test('who reads events is counted while they do', async () => {
  const sagaId = await sagas.start({ A: { mode: 'always', kind: 'hang' } })
  expect(await figures('saga_event_readers')).toEqual([' 0'])
  const leave = new AbortController()
  const streams = [1, 2].map(() => sagas.request(`/saga/${sagaId}/events`, { signal: leave.signal }))
  expect((await Promise.all(streams)).map(({ status }) => status)).toEqual([200, 200])
  expect(await figures('saga_event_readers')).toEqual([' 2'])
  leave.abort()
  await until('they are gone', async () => (await figures('saga_event_readers'))[0] === ' 0')
})

test('a caller who has gone is waited for no longer, and the saga goes on', async () => {
  const gone = new AbortController()
  const body = JSON.stringify({ ...ada, username: 'goes away', failures: { C: { mode: 'first', n: 1, kind: 'hang' } } })
  const headers = { 'content-type': 'application/json' }
  const call = sagas.request('/saga?wait=60', { method: 'POST', headers, body, signal: gone.signal })
  call.catch(() => {})
  const watchers = async (count: number) => (await figures('saga_watchers')).join() === ` ${count}`
  await until('somebody waits', () => watchers(1))
  gone.abort()
  await until('nobody does', () => watchers(0))
  const response = await sagas.request('/saga?q=goes')
  const [saga] = ((await response.json()) as List).sagas
  // Still under way: it was not the end of the saga that ended the wait.
  expect(saga?.status).toBe('RUNNING')
  expect(await sagas.ended(saga?.sagaId ?? '')).toMatchObject({ status: 'COMPLETED' })
})

test('no figure names a saga or a person', async () => {
  const { sagaId } = await sagas.run()
  const text = await (await sagas.request('/metrics')).text()
  for (const word of [sagaId, ...Object.values(ada)]) expect(text).not.toMatch(new RegExp(`"[^"]*\\b${word}\\b`))
})

test("the process tells of itself, and the SDK's own figures stand beside ours", async () => {
  expect((await figures('saga_pool_connections')).join()).toMatch(/pool="worker",state="busy"/)
  expect(await figures('saga_event_loop_delay_seconds')).toHaveLength(1)
  expect((await figures('temporal_workflow_completed_total')).join()).toMatch(/workflow_type="createUserSaga"/)
})

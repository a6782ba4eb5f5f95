import { afterAll, expect, test } from '@jest/globals'
import type { FailuresInput } from '../../src/saga/failure.js'
import { everywhere, nowhere, testReplay } from '../helpers/sagas.js'
import { keepRunning, startServiceSystem } from '../helpers/services.js'
import { query } from '../helpers/shared.js'
import { until } from '../helpers/until.js'

const { sagas, services, stop } = await startServiceSystem('services-crashes')
afterAll(stop)

test('24 sagas end right, in all four databases, while each service is killed -9 twice', async () => {
  const plans: { failures: FailuresInput; status: string[] }[] = [
    // A service may be away for longer than its calls are tried.
    { failures: {}, status: ['COMPLETED', 'COMPENSATED'] },
    { failures: { B: { mode: 'first', n: 1, when: 'after' } }, status: ['COMPLETED', 'COMPENSATED'] },
    { failures: { C: { mode: 'always', kind: 'reject' } }, status: ['COMPENSATED'] },
    { failures: { B: { mode: 'first', n: 1, kind: 'crash', when: 'after' } }, status: ['COMPLETED', 'COMPENSATED'] },
  ]
  const all = Object.values(services)
  const leave = all.map(keepRunning)
  const started = await Promise.all(
    Array.from({ length: 24 }, async (_, i) => {
      const plan = plans[i % plans.length] ?? { failures: {}, status: [] }
      return { ...plan, sagaId: await sagas.start(plan.failures) }
    }),
  )
  const attempts = async () => {
    const statement = 'SELECT count(*)::int AS n FROM saga_log WHERE attempt IS NOT NULL'
    return (await query<{ n: number }>(sagas.where.database, statement))[0]?.n ?? 0
  }
  const areEnded = async () =>
    (await query(sagas.where.database, 'SELECT FROM saga WHERE ended_at IS NULL')).length === 0
  for (const service of [...all, ...all]) {
    const before = await attempts()
    // Some way on, wherever each of them is then.
    await until('they have moved', async () => (await attempts()) >= before + 8 || (await areEnded()))
    process.kill(service.pid(), 'SIGKILL')
  }
  for (const { sagaId, status } of started) {
    const saga = await sagas.ended(sagaId, { timeoutMs: 110_000 })
    expect(status).toContain(saga.status)
    expect(await sagas.rows(sagaId)).toEqual(saga.status === 'COMPLETED' ? everywhere : nowhere)
  }
  await Promise.all(leave.map((one) => one()))
  const compensated = `SELECT count(DISTINCT saga_id)::int AS n FROM saga_barrier WHERE op = 'compensate'`
  const [{ n }] = (await query<{ n: number }>(
    sagas.where.database,
    `SELECT count(*)::int AS n FROM saga WHERE status = 'COMPENSATED'`,
  )) as [{ n: number }]
  // Each of them holds its tombstones for itself; the saga's own database has none.
  for (const { database } of all) expect(await query(database, compensated)).toEqual([{ n }])
  expect(await query(sagas.where.database, compensated)).toEqual([{ n: 0 }])
}, 240_000)

testReplay(() => sagas)

import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals'
import { Client, Connection } from '@temporalio/client'
import type { Disagreement } from '../../src/saga/node/audit.js'
import { runAudit } from '../helpers/audit.js'
import { Sagas } from '../helpers/sagas.js'
import { query, readShared } from '../helpers/shared.js'
import { startSystem, type System } from '../helpers/system.js'

const refusedC = { C: { mode: 'always', kind: 'reject' } } as const

let system: System
let sagas: Sagas
let connection: Connection
let temporal: Client

beforeAll(async () => {
  system = await startSystem('audit')
  sagas = new Sagas(system.where)
  connection = await Connection.connect({ address: readShared().temporal })
  temporal = new Client({ connection, namespace: system.where.namespace })
})
afterAll(async () => {
  await connection?.close()
  await system?.stop()
})

/** What an audit says of one saga, and how it ended. */
async function said(sagaId: string): Promise<{ code: number; found: Omit<Disagreement, 'sagaId'>[] }> {
  const { code, stdout } = await runAudit(system.where, '--json')
  const { disagreements } = JSON.parse(stdout) as { disagreements: Disagreement[] }
  const found = disagreements.filter((one) => one.sagaId === sagaId).map(({ sagaId: _, ...rest }) => rest)
  return { code, found }
}

const change = (text: string, sagaId: string) => query(system.where.database, text, [sagaId])

test('sagas of every kind agree: completed, retried, undone, reset, cancelled, terminated, refused at the door', async () => {
  const { where } = system
  const ended = await Promise.all([
    sagas.run(),
    sagas.run({ A: { mode: 'first', n: 1 }, B: { mode: 'first', n: 2, when: 'after' } }),
    sagas.run(refusedC),
    sagas.run({ ...refusedC, A: { mode: 'first', n: 1, on: 'compensate' } }),
    sagas.run({ B: { mode: 'always' } }),
  ])
  const reset = ended[2]?.sagaId ?? ''
  await sagas.closing(reset)
  await sagas.temporal('workflow', 'reset', '-w', reset, '--event-id', '4', '--reason', 'to see')
  await sagas.closing(reset)
  const slow = { C: { mode: 'first', n: 1, kind: 'hang' } } as const
  const [cancelled, terminated] = await Promise.all([sagas.start(slow), sagas.start(slow)])
  await Promise.all([cancelled, terminated].map((sagaId) => sagas.logged(sagaId, 'B success 1')))
  await sagas.post(`/saga/${cancelled}/cancel`, { reason: 'changed my mind' })
  await temporal.workflow.getHandle(terminated).terminate('by mistake')
  const refused = await temporal.workflow.start('createUserSaga', {
    workflowId: 'audit-refused',
    taskQueue: 'saga',
    args: [{ username: '' }],
  })
  await refused.result().catch(() => {})
  await sagas.ended(cancelled)
  await sagas.ended(terminated, { timeoutMs: 100_000 })
  const { code, stdout } = await runAudit(system.where)
  expect({ code, stdout }).toEqual({
    code: 0,
    stdout: `${ended.length + 3} sagas agree with their log, barriers, rows and history.\n`,
  })
  expect(where.namespace).toBe('audit')
})

describe('it finds, and says of which saga,', () => {
  let sagaId: string
  const run = async (failures: Parameters<Sagas['run']>[0] = {}) => ({ sagaId } = await sagas.run(failures))
  const withoutTrigger = async (text: string) => {
    await query(system.where.database, 'ALTER TABLE saga_log DISABLE TRIGGER append_only')
    await change(text, sagaId)
    await query(system.where.database, 'ALTER TABLE saga_log ENABLE TRIGGER append_only')
  }
  beforeEach(() => run())

  test('an attempt that the log has lost', async () => {
    await withoutTrigger(`DELETE FROM saga_log WHERE saga_id = $1 AND service = 'B'`)
    expect(await said(sagaId)).toEqual({
      code: 1,
      found: [
        { with: 'log', message: 'its row counts 1 attempts of B, its log has none' },
        { with: 'history', message: "Temporal's history knows of 1 attempts of B; the log lacks 1" },
      ],
    })
  })

  test('an end that the log tells twice', async () => {
    const text = `INSERT INTO saga_log (saga_id, service, status, message) VALUES ($1, 'SAGA', 'completed', 'again')`
    await change(text, sagaId)
    expect(await said(sagaId)).toEqual({
      code: 1,
      found: [{ with: 'log', message: 'it is COMPLETED, and its log has 2 rows "SAGA completed", not 1' }],
    })
  })

  test('a row of a completed saga that is gone', async () => {
    await change('DELETE FROM table_c WHERE saga_id = $1', sagaId)
    expect(await said(sagaId)).toEqual({
      code: 1,
      found: [{ with: 'effects', message: 'it is COMPLETED, and payment finds nothing of step C' }],
    })
  })

  test('a row of an undone saga that is still there', async () => {
    await run(refusedC)
    await change(`INSERT INTO table_a (saga_id, username) VALUES ($1, 'ada')`, sagaId)
    expect(await said(sagaId)).toMatchObject({
      code: 1,
      found: [
        {
          with: 'effects',
          message: expect.stringMatching(/^it is COMPENSATED, and user still finds table_a \d+ of step A$/),
        },
      ],
    })
  })

  test('a barrier that knows nothing of what was done, or of what was undone', async () => {
    await change(`DELETE FROM saga_barrier WHERE saga_id = $1 AND step = 'A'`, sagaId)
    const completed = await said(sagaId)
    await run(refusedC)
    await change(`DELETE FROM saga_barrier WHERE saga_id = $1 AND step = 'B' AND op = 'compensate'`, sagaId)
    const undone = await said(sagaId)
    expect([completed, undone].map(({ found }) => found.map(({ message }) => message))).toEqual([
      ['it is COMPLETED, and the barrier of A says nothing, not applied'],
      [
        'it is COMPENSATED, and the barrier of B says applied, with no compensation',
        'its row says that B was undone, the barrier of B says nothing',
      ],
    ])
  })

  test('a run that closed otherwise than its row says', async () => {
    await change(
      `UPDATE saga SET fate = 'rolledBack', status = 'COMPENSATED', ended_at = now() - interval '2 minutes',
                       progress_at = now() - interval '2 minutes' WHERE saga_id = $1`,
      sagaId,
    )
    const { code, found } = await said(sagaId)
    expect(code).toBe(1)
    expect(found).toContainEqual({
      with: 'history',
      message: 'it is COMPENSATED, and its run in Temporal is COMPLETED',
    })
  })

  test('a saga under way whose row is gone, as after a restore of an older backup', async () => {
    sagaId = await sagas.start({ C: { mode: 'always', kind: 'hang' } })
    await sagas.logged(sagaId, 'C failed 1')
    await change('DELETE FROM saga WHERE saga_id = $1', sagaId)
    expect(await said(sagaId)).toEqual({
      code: 1,
      found: [
        {
          with: 'history',
          message: 'its run in Temporal is RUNNING, and its row, which a worker has written, is gone',
        },
      ],
    })
    await temporal.workflow.getHandle(sagaId).terminate('its row is gone')
    expect((await said(sagaId)).found).toEqual([])
  })

  test('and tells a person how to look', async () => {
    await change('DELETE FROM table_c WHERE saga_id = $1', sagaId)
    const { stdout } = await runAudit(system.where)
    expect(stdout).toContain(
      `${sagaId}: it is COMPLETED, and payment finds nothing of step C\n  look: GET /saga/${sagaId}; `,
    )
    expect(stdout).toMatch(/\d+ of \d+ sagas do not agree\.\n$/)
  })
})

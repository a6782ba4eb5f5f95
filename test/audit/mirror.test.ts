import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { runAudit } from '../helpers/audit.js'
import { Sagas } from '../helpers/sagas.js'
import { query } from '../helpers/shared.js'
import { startSystem, type System } from '../helpers/system.js'
import { until } from '../helpers/until.js'

// What a killed process could not write is added to the log from Temporal's history, some time after the saga has ended.

let system: System
let sagas: Sagas

const hang = { mode: 'first', n: 1, kind: 'hang' } as const
const added = expect.stringMatching(
  /^WorkerLost: its process was gone before it ended; Temporal gave it up at \S+Z \(added from Temporal's history; changes nothing\)$/,
)

const undo = { ...hang, on: 'compensate' } as const
const refused = { mode: 'always', kind: 'reject' } as const

/** Sagas that are under way when their process is killed. */
let killed: Record<'local' | 'localUndo' | 'turned' | 'regular' | 'regularUndo' | 'unfilled' | 'crashing', string>

beforeAll(async () => {
  system = await startSystem('mirror')
  sagas = new Sagas(system.where)
  const begun = {
    // Local attempts, of which a lost workflow task leaves nothing in history.
    local: await sagas.start({ C: hang }),
    unfilled: await sagas.start({ C: hang }),
    localUndo: await sagas.start({ C: refused, B: undo }),
    turned: await sagas.start({ B: hang }),
    // After the first call that failed they are regular ones.
    regular: await sagas.start({ A: { mode: 'first', n: 1 }, C: hang }),
    regularUndo: await sagas.start({ A: { mode: 'first', n: 1 }, C: refused, B: undo }),
  }
  await Promise.all([
    sagas.logged(begun.local, 'B success 1'),
    sagas.logged(begun.unfilled, 'B success 1'),
    sagas.logged(begun.localUndo, 'COMPENSATE_C skipped 1'),
    sagas.logged(begun.turned, 'A success 1'),
    sagas.logged(begun.regular, 'B success 1').then(() => underWay(begun.regular, 'invoke')),
    underWay(begun.regularUndo, 'compensate'),
  ])
  killed = { ...begun, crashing: await sagas.start({ B: { mode: 'first', n: 1, kind: 'crash' } }) }
  await system.ended()
  await sagas.temporal('workflow', 'cancel', '-w', begun.turned)
  await system.restart()
}, 120_000)
afterAll(() => system?.stop())

/** Waits until Temporal has a regular attempt of that step under way. */
async function underWay(sagaId: string, type: string): Promise<void> {
  await until(`${type} of ${sagaId} is under way`, async () => {
    const text = await sagas.temporal('workflow', 'describe', '-w', sagaId, '--output', 'json')
    const { pendingActivities = [] } = JSON.parse(text) as {
      pendingActivities?: { state: string; activityType: { name: string } }[]
    }
    return pendingActivities.some(({ state, activityType }) => /STARTED/.test(state) && activityType.name === type)
  })
}

/** Waits until the mirror has looked at the saga. */
async function mirrored(sagaId: string): Promise<void> {
  await until(
    `the mirror has looked at ${sagaId}`,
    async () => {
      const [row] = await query<{ done: boolean }>(
        system.where.database,
        'SELECT mirrored_at > ended_at AS done FROM saga WHERE saga_id = $1',
        [sagaId],
      )
      return row?.done === true
    },
    { timeoutMs: 120_000 },
  )
}

const unnumbered = async (sagaId: string) =>
  (await sagas.logRows(sagaId))
    .filter(({ service, attempt }) => !/^(SAGA|ROLLBACK)$/.test(service) && attempt === null)
    .map(({ service, status, message }) => ({ service, status, message }))

test('the audit finds a gap that nobody has filled', async () => {
  const { unfilled } = killed
  await sagas.ended(unfilled)
  // As though it had ended long ago, and the mirror had passed it by.
  const ago = `now() - interval '10 minutes'`
  await query(
    system.where.database,
    `UPDATE saga SET ended_at = ${ago}, progress_at = ${ago}, started_at = started_at - interval '10 minutes', mirrored_at = now()
     WHERE saga_id = $1`,
    [unfilled],
  )
  const { code, stdout } = await runAudit(system.where)
  expect(code).toBe(1)
  expect(stdout).toContain(
    `${unfilled}: Temporal's history knows of 1 attempts of C that were lost with their worker; the log has 0 rows of them`,
  )
  await query(system.where.database, 'UPDATE saga SET mirrored_at = NULL WHERE saga_id = $1', [unfilled])
})

test('what was under way in a killed process has a row in the end, and is counted', async () => {
  await Promise.all(Object.values(killed).map(mirrored))
  const { local, unfilled, localUndo, turned, regular, regularUndo, crashing } = killed
  for (const [sagaId, status, service] of [
    [local, 'COMPLETED', 'C'],
    [unfilled, 'COMPLETED', 'C'],
    [regular, 'COMPLETED', 'C'],
    [turned, 'COMPENSATED', 'B'],
    [localUndo, 'COMPENSATED', 'COMPENSATE_B'],
    [regularUndo, 'COMPENSATED', 'COMPENSATE_B'],
  ] as const) {
    expect(await sagas.get(sagaId)).toMatchObject({ status })
    expect((await unnumbered(sagaId)).filter((row) => row.status !== 'verified')).toEqual([
      { service, status: 'failed', message: added },
    ])
    expect((await sagas.log(sagaId)).at(-1)).toBe(`${service} failed`)
  }
  // It wrote its row before it died.
  expect(await sagas.get(crashing)).toMatchObject({ status: 'COMPLETED' })
  expect((await sagas.log(crashing)).filter((row) => row.startsWith('B'))).toEqual(['B failed 1', 'B success 2'])
  const metrics = await (await sagas.request('/metrics')).text()
  const gaps = metrics.matchAll(/^saga_log_gaps_total\{.*service="([^"]+)".*\} (\d+)$/gm)
  expect([...gaps].map(([, service, count]) => `${service} ${count}`).toSorted()).toEqual([
    'B 1',
    'C 3',
    'COMPENSATE_B 2',
  ])
  expect(await runAudit(system.where)).toEqual({
    code: 0,
    stdout: '7 sagas agree with their log, barriers, rows and history.\n',
  })
})

test('a worker that was only slow owes nothing', async () => {
  const sagaId = await sagas.start({ C: hang })
  await sagas.logged(sagaId, 'B success 1')
  process.kill(system.pid(), 'SIGSTOP')
  try {
    await until('Temporal has given the workflow task up', async () => {
      const history = await sagas.temporal('workflow', 'show', '-w', sagaId, '--output', 'json')
      return history.includes('WORKFLOW_TASK_TIMED_OUT')
    })
  } finally {
    process.kill(system.pid(), 'SIGCONT')
  }
  expect(await sagas.ended(sagaId)).toMatchObject({ status: 'COMPLETED' })
  await mirrored(sagaId)
  expect(await unnumbered(sagaId)).toEqual([])
})

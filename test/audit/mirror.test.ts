import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { resolve } from 'node:path'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { Sagas } from '../helpers/sagas.js'
import { query, readShared } from '../helpers/shared.js'
import { startSystem, type System } from '../helpers/system.js'
import { until } from '../helpers/until.js'

// What a killed process could not write is added to the log from Temporal's history, some time after the saga has ended.

let system: System
let sagas: Sagas

const hang = { mode: 'first', n: 1, kind: 'hang' } as const
const added = expect.stringMatching(
  /^WorkerLost: its process was gone before it ended; Temporal gave it up at \S+Z \(added from Temporal's history; changes nothing\)$/,
)

beforeAll(async () => {
  system = await startSystem('mirror')
  sagas = new Sagas(system.where)
})
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

async function audit(): Promise<{ code: number; stdout: string }> {
  const child = spawn(process.execPath, [resolve('dist/audit.js')], {
    env: {
      ...process.env,
      DATABASE_URL: system.where.database,
      TEMPORAL_ADDRESS: readShared().temporal,
      TEMPORAL_NAMESPACE: system.where.namespace,
    },
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  let stdout = ''
  child.stdout.on('data', (chunk: Buffer) => (stdout += chunk.toString()))
  const [code] = (await once(child, 'close')) as [number]
  return { code, stdout }
}

test('what was under way in a killed process has a row in the end, and is counted', async () => {
  const undo = { ...hang, on: 'compensate' } as const
  const sagasOf = {
    // Local attempts, of which a lost workflow task leaves nothing in history.
    local: await sagas.start({ C: hang }),
    localUndo: await sagas.start({ C: { mode: 'always', kind: 'reject' }, B: undo }),
    turned: await sagas.start({ B: hang }),
    // After the first call that failed they are regular ones.
    regular: await sagas.start({ A: { mode: 'first', n: 1 }, C: hang }),
    regularUndo: await sagas.start({ A: { mode: 'first', n: 1 }, C: { mode: 'always', kind: 'reject' }, B: undo }),
  }
  const { local, localUndo, turned, regular, regularUndo } = sagasOf
  await sagas.logged(local, 'B success 1')
  await sagas.logged(localUndo, 'COMPENSATE_C skipped 1')
  await sagas.logged(turned, 'A success 1')
  await sagas.logged(regular, 'B success 1')
  await underWay(regular, 'invoke')
  await underWay(regularUndo, 'compensate')
  await system.kill()
  await sagas.temporal('workflow', 'cancel', '-w', turned)
  await system.restart()
  await Promise.all(Object.values(sagasOf).map(mirrored))
  const { sagaId: whole } = await sagas.run()

  for (const sagaId of [local, regular]) {
    expect(await sagas.get(sagaId)).toMatchObject({ status: 'COMPLETED' })
    expect(await unnumbered(sagaId)).toEqual([{ service: 'C', status: 'failed', message: added }])
    expect((await sagas.log(sagaId)).at(-1)).toBe('C failed')
  }
  for (const [sagaId, service] of [
    [turned, 'B'],
    [localUndo, 'COMPENSATE_B'],
    [regularUndo, 'COMPENSATE_B'],
  ] as const) {
    expect(await sagas.get(sagaId)).toMatchObject({ status: 'COMPENSATED' })
    expect((await unnumbered(sagaId)).filter(({ status }) => status !== 'verified')).toEqual([
      { service, status: 'failed', message: added },
    ])
  }
  expect(await unnumbered(whole)).toEqual([])
  const metrics = await (await sagas.request('/metrics')).text()
  expect(
    [...metrics.matchAll(/^saga_log_gaps_total\{.*service="([^"]+)".*\} (\d+)$/gm)].map(([, ...of]) => of),
  ).toEqual(
    expect.arrayContaining([
      ['B', '1'],
      ['C', '2'],
      ['COMPENSATE_B', '2'],
    ]),
  )
  expect(await audit()).toEqual({
    code: 0,
    stdout: '6 sagas agree with their log, barriers, rows and history.\n',
  })
})

test('a process that wrote its row before it died owes nothing', async () => {
  const crashing = await sagas.start({ B: { mode: 'first', n: 1, kind: 'crash' } })
  await system.restart()
  expect(await sagas.ended(crashing)).toMatchObject({ status: 'COMPLETED' })
  await mirrored(crashing)
  expect(await unnumbered(crashing)).toEqual([])
  expect((await sagas.log(crashing)).filter((row) => row.startsWith('B'))).toEqual(['B failed 1', 'B success 2'])
})

test('nor does a worker that was only slow', async () => {
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

test('the audit finds a gap that nobody has filled', async () => {
  const sagaId = await sagas.start({ C: hang })
  await sagas.logged(sagaId, 'B success 1')
  await system.kill()
  await system.restart()
  await sagas.ended(sagaId)
  const { database } = system.where
  // As though it had ended long ago, and the mirror had passed it by.
  const ago = `now() - interval '10 minutes'`
  await query(
    database,
    `UPDATE saga SET ended_at = ${ago}, progress_at = ${ago}, started_at = started_at - interval '10 minutes', mirrored_at = now() WHERE saga_id = $1`,
    [sagaId],
  )
  const { code, stdout } = await audit()
  expect(code).toBe(1)
  expect(stdout).toContain(
    `${sagaId}: Temporal's history knows of 1 attempts of C that were lost with their worker; the log has 0 rows of them`,
  )
})

import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import type { FailuresInput } from '../../src/saga/failure.js'
import type { Saga, SagaAccepted } from '../../src/http/schemas/saga.js'
import { runAudit } from '../helpers/audit.js'
import { ada, everywhere, nowhere, Sagas } from '../helpers/sagas.js'
import { query, readShared } from '../helpers/shared.js'
import { startSystem, type System } from '../helpers/system.js'

// SAGA_GROUPING=auto: what comes at once shares runs, and is told, cancelled and decided as though it did not.

const COMPLETED = ['SAGA started', 'A success 1', 'B success 1', 'C success 1', 'SAGA completed']

let system: System
let sagas: Sagas

beforeAll(async () => {
  system = await startSystem('grouping', { SAGA_GROUPING: 'auto' })
  sagas = new Sagas(system.where)
})
afterAll(() => system?.stop())

/** Starts sagas at once, one for each of these failures. */
function startTogether(all: FailuresInput[]): Promise<SagaAccepted[]> {
  return Promise.all(
    all.map(async (failures) => {
      const response = await sagas.post('/saga', { ...ada, failures })
      expect(response.status).toBe(202)
      return (await response.json()) as SagaAccepted
    }),
  )
}

/** As many, of which at least one shares its run: its id, and all of them. */
async function startSharing(failures: FailuresInput): Promise<{ shared: string; all: string[] }> {
  const accepted = await startTogether(Array.from({ length: 24 }, () => failures))
  const shared = accepted.find((one) => runOf(one) !== one.sagaId)?.sagaId
  if (shared === undefined) throw new Error('Of 24 sagas that came at once none shares a run')
  return { shared, all: accepted.map(({ sagaId }) => sagaId) }
}

/** The id of the workflow that a saga's link leads to. */
function runOf({ links }: Pick<Saga, 'links'>): string {
  return decodeURIComponent(links.temporal.split('/workflows/')[1] ?? '')
}

const typeOf = async (workflowId: string): Promise<string> =>
  JSON.parse(await sagas.temporal('workflow', 'describe', '-w', workflowId, '--output', 'json')).workflowExecutionInfo
    .type.name

test('sagas that come at once share runs, and each is a saga of its own', async () => {
  const accepted = await startTogether(Array.from({ length: 48 }, () => ({})))
  const ended = await Promise.all(accepted.map(({ sagaId }) => sagas.ended(sagaId)))
  for (const [i, saga] of ended.entries()) {
    expect(saga).toMatchObject({ sagaId: accepted[i]?.sagaId, status: 'COMPLETED', userId: expect.anything() })
    expect(saga.links).toEqual(accepted[i]?.links)
    expect(await sagas.log(saga.sagaId)).toEqual(COMPLETED)
    expect(await sagas.rows(saga.sagaId)).toEqual(everywhere)
    const events = await (await sagas.request(saga.links.events)).text()
    expect(events.match(/^event: log$/gm)).toHaveLength(COMPLETED.length)
  }
  const runs = new Set(ended.map(runOf))
  expect(runs.size).toBeLessThan(accepted.length)
  for (const run of runs) {
    const isAlone = ended.some(({ sagaId }) => sagaId === run)
    expect(await typeOf(run)).toBe(isAlone ? 'createUserSaga' : 'sagaGroup')
  }
})

test('one that comes alone has a workflow of its own', async () => {
  const { sagaId, links } = await sagas.run()
  expect(runOf({ links })).toBe(sagaId)
  expect(await sagas.closing(sagaId)).toEqual({ status: 'COMPLETED' })
})

test('what is refused goes back, and the others that share its run go on', async () => {
  const refused = { C: { mode: 'always', kind: 'reject' } } as const
  const accepted = await startTogether(Array.from({ length: 24 }, (_, i) => (i % 3 === 0 ? refused : {})))
  for (const [i, { sagaId }] of accepted.entries()) {
    const isRefused = i % 3 === 0
    expect(await sagas.ended(sagaId)).toMatchObject({ status: isRefused ? 'COMPENSATED' : 'COMPLETED' })
    expect(await sagas.rows(sagaId)).toEqual(isRefused ? nowhere : everywhere)
  }
})

test('one key is one saga, however many bring it at once', async () => {
  const one = async (key: string) => {
    const response = await sagas.post('/saga', { ...ada, failures: {} }, { 'idempotency-key': key })
    return ((await response.json()) as SagaAccepted).sagaId
  }
  const ids = await Promise.all(Array.from({ length: 60 }, (_, i) => one(`key-${i % 3}`)))
  expect(new Set(ids).size).toBe(3)
  for (const sagaId of new Set(ids)) {
    expect(await sagas.ended(sagaId)).toMatchObject({ status: 'COMPLETED' })
    expect(await sagas.log(sagaId)).toEqual(COMPLETED)
    expect(await sagas.rows(sagaId)).toEqual(everywhere)
  }
})

test('Prefer: wait gives each its own outcome', async () => {
  const answers = await Promise.all(
    Array.from({ length: 16 }, async (_, i) => {
      const failures = i % 2 ? { B: { mode: 'always', kind: 'reject' } } : {}
      const response = await sagas.post('/saga', { ...ada, failures }, { prefer: 'wait=60' })
      return { status: response.status, saga: ((await response.json()) as Saga).status }
    }),
  )
  expect(answers).toEqual(answers.map((_, i) => ({ status: 200, saga: i % 2 ? 'COMPENSATED' : 'COMPLETED' })))
})

test('a cancel is of one alone', async () => {
  const { shared, all } = await startSharing({ C: { mode: 'first', n: 2 } })
  await sagas.logged(shared, 'B success 1')
  const response = await sagas.post(`/saga/${shared}/cancel`, { reason: 'changed my mind', actor: 'grace' })
  expect(response.status).toBe(202)
  for (const sagaId of all) {
    const saga = await sagas.ended(sagaId)
    expect(saga.status).toBe(sagaId === shared ? 'COMPENSATED' : 'COMPLETED')
    expect(await sagas.rows(sagaId)).toEqual(sagaId === shared ? nowhere : everywhere)
  }
  const { error, failedStep } = await sagas.get(shared)
  expect(error).toEqual({ type: 'Cancelled', message: 'cancelled by grace: changed my mind' })
  expect(failedStep).toBeUndefined()
})

test('one that is stuck leaves, its link with it, and a person decides', async () => {
  const reject = { mode: 'always', kind: 'reject' } as const
  const { shared } = await startSharing({ C: reject, A: { mode: 'first', n: 8, on: 'compensate' } })
  await sagas.logged(shared, 'COMPENSATE_A stuck')
  const decision = { step: 'A', action: 'retry', reason: 'it is mended', actor: 'grace' }
  expect((await sagas.post(`/saga/${shared}/decision`, decision)).status).toBe(200)
  const saga = await sagas.ended(shared)
  expect(saga.status).toBe('COMPENSATED')
  expect(runOf(saga)).toBe(shared)
  expect(await sagas.closing(shared)).toMatchObject({ status: 'FAILED', failure: { type: 'SagaCompensated' } })
  expect(await sagas.rows(shared)).toEqual(nowhere)
})

test('a saga that shares a run can be named to npm run replay', async () => {
  const { shared } = await startSharing({})
  await sagas.ended(shared)
  const run = runOf(await sagas.get(shared))
  const { stdout } = await promisify(execFile)(process.execPath, ['dist/replay.js', shared], {
    env: {
      ...process.env,
      DATABASE_URL: system.where.database,
      TEMPORAL_ADDRESS: readShared().temporal,
      TEMPORAL_NAMESPACE: system.where.namespace,
    },
  })
  expect(stdout).toMatch(new RegExp(`^${shared} \\(shares ${run}\\): \\d+ events replay\n$`))
})

test('sagas whose shared run is killed -9 all end right', async () => {
  const { all } = await startSharing({ C: { mode: 'first', n: 2 } })
  await sagas.logged(all.at(-1) ?? '', 'B success 1')
  await system.kill()
  await system.restart()
  for (const sagaId of all) {
    expect(await sagas.ended(sagaId)).toMatchObject({ status: 'COMPLETED' })
    expect(await sagas.rows(sagaId)).toEqual(everywhere)
  }
})

test('the audit holds them against the run that carries them', async () => {
  const [{ n: count } = { n: 0 }] = await query<{ n: number }>(
    system.where.database,
    'SELECT count(*)::int AS n FROM saga',
  )
  expect(await runAudit(system.where)).toEqual({
    code: 0,
    stdout: `${count} sagas agree with their log, barriers, rows and history.\n`,
  })
  const { shared } = await startSharing({})
  await sagas.ended(shared)
  const run = runOf(await sagas.get(shared))
  await sagas.closing(run)
  // Of a type that no worker here knows, or it would be taken up again.
  await query(
    system.where.database,
    `UPDATE saga SET type = 'elsewhere', fate = 'open', status = 'RUNNING', ended_at = NULL, progress_at = now() - interval '2 minutes'
     WHERE saga_id = $1`,
    [shared],
  )
  const { code, stdout } = await runAudit(system.where)
  expect(code).toBe(1)
  expect(stdout).toContain(`${shared}: it is RUNNING, and the run that carries it, ${run}, is COMPLETED in Temporal\n`)
})

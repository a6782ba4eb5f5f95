import { randomUUID } from 'node:crypto'
import { afterAll, expect, test } from '@jest/globals'
import type { FailuresInput } from '../../src/saga/failure.js'
import { testEnded } from '../helpers/check-ended.js'
import { ada, everywhere, nowhere, Sagas, testReplay } from '../helpers/sagas.js'
import { query } from '../helpers/shared.js'
import { listeningAt, makeProgramEnv, startProgram } from '../helpers/system.js'
import { until } from '../helpers/until.js'

// Three workers and the one sweep that they share, as shipped: a lost saga is found within 50 s.
const env = await makeProgramEnv('recovery')
const api = startProgram('api.js', 'recovery-api', { ...env, PORT: '0' })
const workers = [1, 2, 3].map((number) => startProgram('worker.js', `recovery-worker-${number}`, env))
const sagas = new Sagas({
  api: await listeningAt(api),
  database: env['DATABASE_URL'] ?? '',
  namespace: env['TEMPORAL_NAMESPACE'] ?? '',
})
afterAll(() => Promise.all([api, ...workers].map((program) => program.kill('SIGTERM'))))

/** C is under way and does not answer, for `tries` of 5 s each: before its transaction, or behind it. */
const hanging = (when: 'before' | 'after', tries = 1): FailuresInput => ({
  C: { mode: 'first', n: tries, kind: 'hang', when },
})

async function start(failures: FailuresInput, at = 'B success 1'): Promise<string> {
  const sagaId = await sagas.start(failures)
  await sagas.logged(sagaId, at)
  return sagaId
}

const terminate = (sagaId: string, reason = 'by mistake') =>
  sagas.temporal('workflow', 'terminate', '-w', sagaId, '--reason', reason)

/** What somebody types who starts a saga by hand. */
async function startByHand(sagaId: string, input: object, ...options: string[]): Promise<void> {
  const args = ['workflow', 'start', '--type', 'createUserSaga', '--task-queue', 'saga', '--workflow-id', sagaId]
  await sagas.temporal(...args, '--input', JSON.stringify(input), ...options)
}

/** Of the saga's latest run: its id, its type, and how it stands. */
async function latestRun(sagaId: string): Promise<{ runId: string; type: string; status: string }> {
  const answer = JSON.parse(await sagas.temporal('workflow', 'describe', '-w', sagaId, '--output', 'json'))
  const { execution, type, status } = answer.workflowExecutionInfo
  return { runId: execution.runId, type: type.name, status: status.replace('WORKFLOW_EXECUTION_STATUS_', '') }
}

const story = async (sagaId: string) => (await sagas.log(sagaId)).filter((row) => /^(SAGA|ROLLBACK)/.test(row))
const undone = ['SAGA started', 'SAGA recovered', 'ROLLBACK triggered', 'SAGA compensated']

test.concurrent.each<[title: string, failures: FailuresInput]>([
  ['in the middle', hanging('before')],
  ['with its last row written', hanging('after')],
])('a saga terminated %s is undone, and says who ended it and why', async (_, failures) => {
  const sagaId = await start(failures)
  await terminate(sagaId)
  expect(await sagas.ended(sagaId)).toMatchObject({
    status: 'COMPENSATED',
    error: { type: 'Terminated', message: 'its run was terminated: by mistake' },
  })
  expect(await sagas.rows(sagaId)).toEqual(nowhere)
  expect(await story(sagaId)).toEqual(undone)
  expect(await sagas.closing(sagaId)).toMatchObject({
    status: 'FAILED',
    failure: { type: 'SagaCompensated', details: { sagaId, error: { type: 'Terminated' } } },
  })
  expect(await latestRun(sagaId)).toMatchObject({ type: 'recoverSaga' })
})

test.concurrent('20 sagas terminated at once among three workers are taken up once each', async () => {
  const startAndTerminate = async () => {
    // Two tries: 20 calls of the CLI at once take a while, and C would answer meanwhile.
    const sagaId = await start(hanging('after', 2))
    await terminate(sagaId)
    return sagaId
  }
  const ids = await Promise.all(Array.from({ length: 20 }, startAndTerminate))
  for (const sagaId of ids) {
    expect(await sagas.ended(sagaId)).toMatchObject({ status: 'COMPENSATED', error: { type: 'Terminated' } })
    expect(await sagas.rows(sagaId)).toEqual(nowhere)
    expect(await story(sagaId)).toEqual(undone)
  }
})

test.concurrent('a saga terminated during a rollback keeps its cause, and undoes nothing twice', async () => {
  const failures: FailuresInput = {
    C: { mode: 'always', kind: 'reject' },
    A: { mode: 'first', n: 1, kind: 'hang', on: 'compensate' },
  }
  const sagaId = await start(failures, 'COMPENSATE_B success 1')
  await terminate(sagaId)
  expect(await sagas.ended(sagaId)).toMatchObject({
    status: 'COMPENSATED',
    failedStep: 'C',
    error: { type: 'Rejected' },
  })
  expect(await sagas.rows(sagaId)).toEqual(nowhere)
  expect(await story(sagaId)).toEqual(['SAGA started', 'ROLLBACK triggered', 'SAGA recovered', 'SAGA compensated'])
})

test.concurrent.each(['--execution-timeout', '--run-timeout'])(
  'a saga that somebody started with %s is undone when the server times it out',
  async (option) => {
    const sagaId = randomUUID()
    sagas.started.push(sagaId)
    await startByHand(sagaId, { ...ada, failures: hanging('after') }, option, '2s')
    expect(await sagas.ended(sagaId)).toMatchObject({
      status: 'COMPENSATED',
      error: { type: 'Terminated', message: 'its run was timed out by the server' },
    })
    expect(await sagas.rows(sagaId)).toEqual(nowhere)
    expect(await story(sagaId)).toEqual(undone)
  },
)

test.concurrent('a saga whose run was deleted is started again and completes, and says so', async () => {
  const sagaId = await start(hanging('before'))
  await sagas.temporal('workflow', 'delete', '-w', sagaId)
  expect(await sagas.ended(sagaId)).toMatchObject({ status: 'COMPLETED' })
  expect(await sagas.rows(sagaId)).toEqual(everywhere)
  expect(await story(sagaId)).toEqual(['SAGA started', 'SAGA recovered', 'SAGA completed'])
  expect(await latestRun(sagaId)).toMatchObject({ type: 'createUserSaga' })
})

test.concurrent('a run with other input under the id of a terminated saga is refused, and the saga is undone', async () => {
  const sagaId = await start(hanging('before'))
  await terminate(sagaId)
  await startByHand(sagaId, { ...ada, username: 'grace' })
  expect(await sagas.closing(sagaId)).toMatchObject({ status: 'FAILED', failure: { type: 'SagaIdTaken' } })
  expect(await sagas.ended(sagaId)).toMatchObject({
    status: 'COMPENSATED',
    input: { username: 'ada' },
    error: { type: 'Terminated' },
  })
  expect(await sagas.rows(sagaId)).toEqual(nowhere)
})

test.concurrent('a reset of a completed saga changes nothing', async () => {
  const { sagaId } = await sagas.run()
  await expectUnchangedByReset(sagaId, 'COMPLETED')
  expect(await sagas.rows(sagaId)).toEqual(everywhere)
})

test.concurrent('a reset of a recovered saga changes nothing, of its recovery and of its first run', async () => {
  const sagaId = await start(hanging('before'))
  const { runId } = await latestRun(sagaId)
  await terminate(sagaId)
  await sagas.ended(sagaId)
  await expectUnchangedByReset(sagaId, 'FAILED')
  await expectUnchangedByReset(sagaId, 'FAILED', '--run-id', runId)
  expect(await sagas.rows(sagaId)).toEqual(nowhere)
})

async function expectUnchangedByReset(sagaId: string, status: string, ...options: string[]): Promise<void> {
  await sagas.closing(sagaId)
  const { runId } = await latestRun(sagaId)
  const look = async () => ({ saga: await sagas.get(sagaId), log: await sagas.logRows(sagaId) })
  const before = await look()
  const args = ['workflow', 'reset', '-w', sagaId, '--type', 'FirstWorkflowTask', '--reason', 'test']
  await sagas.temporal(...args, ...options)
  const closed = await until('the new run has closed', async () => {
    const now = await latestRun(sagaId)
    return now.runId !== runId && now.status !== 'RUNNING' && now
  })
  expect(closed).toMatchObject({ status })
  expect(await look()).toEqual(before)
}

test('none is left that nobody has in hand', async () => {
  const open = await query(sagas.where.database, `SELECT saga_id FROM saga WHERE fate IN ('open', 'rollback')`)
  expect(open).toEqual([])
})

testEnded(
  () => sagas,
  async (sagaId) => Object.values(await sagas.rows(sagaId)),
)

testReplay(() => sagas)

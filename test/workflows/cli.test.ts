import { execFile } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { expect, test } from '@jest/globals'
import { ada, everywhere, nowhere, Sagas, testReplay } from '../helpers/sagas.js'
import { readShared } from '../helpers/shared.js'
import { until } from '../helpers/until.js'

const sagas = new Sagas(readShared().system)

/** What a user types behind `npm run temporal --`. */
async function start(sagaId: string, input?: string): Promise<void> {
  const args = ['workflow', 'start', '--type', 'createUserSaga', '--task-queue', 'saga', '--workflow-id', sagaId]
  const file = join(readShared().folder, `${sagaId}.json`)
  // As a file, for no argument may be as long as an input.
  if (input !== undefined) writeFileSync(file, input)
  await sagas.temporal(...args, ...(input === undefined ? [] : ['--input-file', file]))
  sagas.started.push(sagaId)
}

test('a saga started by the CLI leaves the same rows and the same log as one from the API', async () => {
  const sagaId = `cli ${process.pid}`
  await start(sagaId, JSON.stringify({ ...ada, failures: { A: { mode: 'first', n: 1 } } }))
  const saga = await sagas.ended(sagaId)
  const same = await sagas.run({ A: { mode: 'first', n: 1 } })
  expect(saga).toMatchObject({ status: 'COMPLETED', input: same.input })
  expect(await sagas.rows(sagaId)).toEqual(everywhere)
  expect(await sagas.log(sagaId)).toEqual(await sagas.log(same.sagaId))
})

test.each([
  ['no input', undefined, '/'],
  ['a missing field', JSON.stringify({ username: 'ada', address: 'here' }), '/payment is missing'],
  ['a field of the wrong type', JSON.stringify({ ...ada, address: 7 }), '/address must be string'],
  ['an unknown field', JSON.stringify({ ...ada, role: 'admin' }), '/role is not a field'],
  ['text for an object', '"ada"', 'must be object'],
  ['a NUL', '{"username":"a\\u0000","address":"b","payment":"c"}', '/username must hold visible'],
  ['half a character', '{"username":"a\\ud800","address":"b","payment":"c"}', '/username must hold visible'],
  [
    'a name of 1.9 MiB',
    JSON.stringify({ ...ada, username: 'x'.repeat(1.9 * 1024 * 1024) }),
    '/username must have at most',
  ],
])('input with %s closes the run as Failed, InvalidInput, and nothing runs', async (title, input, sentence) => {
  const sagaId = `cli ${title} ${process.pid}`
  await start(sagaId, input)
  const { status, failure } = await sagas.closing(sagaId)
  expect({ status, type: failure?.type }).toEqual({ status: 'FAILED', type: 'InvalidInput' })
  expect(failure?.message).toContain(sentence === '/' ? 'not right' : sentence)
  expect(await sagas.get(sagaId)).toMatchObject({ status: 'COMPENSATED', error: { type: 'InvalidInput' } })
  expect(await sagas.log(sagaId)).toEqual(['SAGA compensated'])
  expect(await sagas.rows(sagaId)).toEqual(nowhere)
})

test("an id that has been used fails at once as SagaIdTaken, and changes nothing of its saga's", async () => {
  const saga = await sagas.run()
  const before = await sagas.log(saga.sagaId)
  await start(saga.sagaId, JSON.stringify(ada))
  sagas.started.pop()
  expect(await sagas.closing(saga.sagaId)).toMatchObject({ status: 'FAILED', failure: { type: 'SagaIdTaken' } })
  expect(await sagas.get(saga.sagaId)).toEqual(saga)
  expect(await sagas.log(saga.sagaId)).toEqual(before)
})

test('input that cannot be decoded closes the run as Failed, InvalidInput', async () => {
  const sagaId = `cli undecodable ${process.pid}`
  const args = ['workflow', 'start', '--type', 'createUserSaga', '--task-queue', 'saga', '--workflow-id', sagaId]
  await sagas.temporal(...args, '--input', 'x', '--input-meta', 'encoding=foo')
  expect(await sagas.closing(sagaId)).toMatchObject({ status: 'FAILED', failure: { type: 'InvalidInput' } })
})

test('a type of workflow that there is not fails its task and nothing else', async () => {
  const id = `cli no such type ${process.pid}`
  const describe = async () => JSON.parse(await sagas.temporal('workflow', 'describe', '-w', id, '--output', 'json'))
  await sagas.temporal('workflow', 'start', '--type', 'noSuchSaga', '--task-queue', 'saga', '--workflow-id', id)
  await until('its task has failed', async () => (await describe()).pendingWorkflowTask?.attempt > 1)
  expect((await describe()).workflowExecutionInfo.status).toBe('WORKFLOW_EXECUTION_STATUS_RUNNING')
  expect((await sagas.request(`/saga/${encodeURIComponent(id)}`)).status).toBe(404)
  expect((await sagas.run()).status).toBe('COMPLETED')
  await sagas.temporal('workflow', 'terminate', '-w', id)
})

test('a signal that nobody knows changes nothing', async () => {
  const sagaId = await sagas.start({ C: { mode: 'first', n: 1, kind: 'hang' } })
  await sagas.logged(sagaId, 'B success 1')
  const signal = (...more: string[]) => sagas.temporal('workflow', 'signal', '-w', sagaId, ...more)
  await signal('--name', 'decide', '--input', '{"step":"A","action":"skip"}')
  await signal('--name', '__proto__', '--input', '"x"')
  expect(await sagas.ended(sagaId)).toMatchObject({ status: 'COMPLETED' })
  expect(await sagas.rows(sagaId)).toEqual(everywhere)
})

test('a reset of a saga under way calls nothing twice, and refuses no step that has succeeded', async () => {
  const sagaId = await sagas.start({ A: { mode: 'first', n: 2 }, C: { mode: 'first', n: 1, kind: 'hang' } })
  await sagas.logged(sagaId, 'B success 1')
  await sagas.temporal('workflow', 'reset', '-w', sagaId, '--type', 'FirstWorkflowTask', '--reason', 'test')
  expect(await sagas.ended(sagaId)).toMatchObject({ status: 'COMPLETED' })
  expect(await sagas.rows(sagaId)).toEqual(everywhere)
})

test('a reset of a saga that has ended closes as the saga has ended, and changes nothing', async () => {
  const saga = await sagas.run({ C: { mode: 'always', kind: 'reject' } })
  await sagas.closing(saga.sagaId)
  const log = await sagas.log(saga.sagaId)
  await sagas.temporal('workflow', 'reset', '-w', saga.sagaId, '--type', 'FirstWorkflowTask', '--reason', 'test')
  expect(await sagas.closing(saga.sagaId)).toMatchObject({ status: 'FAILED', failure: { type: 'SagaCompensated' } })
  expect(await sagas.get(saga.sagaId)).toEqual(saga)
  expect(await sagas.log(saga.sagaId)).toEqual(log)
})

test('a history replays from a file, and one that the code disagrees with is named', async () => {
  const { sagaId } = await sagas.run()
  await sagas.closing(sagaId)
  const history = JSON.parse(await sagas.temporal('workflow', 'show', '-w', sagaId, '--output', 'json'))
  const file = (name: string, content: unknown) => {
    const path = join(readShared().folder, `${name}-${process.pid}.json`)
    writeFileSync(path, JSON.stringify(content))
    return path
  }
  const replay = (path: string) => promisify(execFile)(process.execPath, ['dist/replay.js', path])
  expect((await replay(file('good', history))).stdout).toContain('events replay')

  // As if the saga had begun with a timer: no code of ours does that.
  const timer = { timerId: '1', startToFireTimeout: '5s', workflowTaskCompletedEventId: '4' }
  const firstMarker = history.events.findIndex((event: { eventType: string }) => event.eventType.includes('MARKER'))
  history.events[firstMarker] = {
    ...history.events[firstMarker],
    eventType: 'EVENT_TYPE_TIMER_STARTED',
    markerRecordedEventAttributes: undefined,
    timerStartedEventAttributes: timer,
  }
  const disagreement: { code?: number; stdout?: string } = await replay(file('bad', history)).catch((error) => error)
  expect(disagreement.code).toBe(1)
  expect(disagreement.stdout).toMatch(/nondeterminism|TMPRL1100/i)
})

testReplay(() => sagas)

import { afterAll, expect, test } from '@jest/globals'
import type { AnyService } from '../../src/saga/node/barrier.js'
import { effectService, startEngine } from '../helpers/engine.js'
import { until } from '../helpers/until.js'

// Which work of a run is a local activity, and which a regular one, that Temporal counts and any worker takes.

const large: AnyService = {
  ...effectService('large'),
  invoke: (_tx, { input }) => Promise.resolve({ text: 'x'.repeat((input as { size: number }).size) }),
}

const engine = await startEngine('local-calls', {
  workflows: new URL('./local-calls-sagas.ts', import.meta.url),
  services: [...['one', 'two', 'three'].map((name) => effectService(name)), large],
  types: ['nappingSaga', 'plainSaga', 'largeSaga'],
  stepTimeoutMs: 6_000,
})
const { sagas } = engine
afterAll(() => engine.stop())

/** The regular activities of a saga, as "type: summary", in the order in which they were scheduled. */
async function regularCalls(sagaId: string): Promise<string[]> {
  const { events } = await engine.client.workflow.getHandle(sagaId).fetchHistory()
  return (events ?? []).flatMap(({ activityTaskScheduledEventAttributes: scheduled, userMetadata }) => {
    if (!scheduled) return []
    const summary = userMetadata?.summary?.data
    return [
      [scheduled.activityType?.name, summary && JSON.parse(Buffer.from(summary).toString())].filter(Boolean).join(' '),
    ]
  })
}

test.concurrent('calls are local in the process that opened the run', async () => {
  // On a busy machine the task may take so long that it is ended, and another one goes on.
  await until('a saga has ended in the task that opened it', async () => {
    const sagaId = await engine.start('plainSaga', {})
    expect(await sagas.ended(sagaId)).toMatchObject({ status: 'COMPLETED' })
    return (await regularCalls(sagaId)).length === 0
  })
})

test.concurrent('calls of a run that another process has opened are regular, so that Temporal counts those that kill theirs', async () => {
  const sagaId = await engine.start('nappingSaga', {})
  await sagas.logged(sagaId, 'one success 1')
  await engine.replaceWorker(new URL('./local-calls-sagas.ts', import.meta.url))
  expect(await sagas.ended(sagaId)).toMatchObject({ status: 'COMPLETED' })
  expect(await regularCalls(sagaId)).toEqual(['invoke two: invoke two', 'invoke three: invoke three'])
})

test.concurrent('a saga whose results are large together completes', async () => {
  const sagaId = await engine.start('largeSaga', { size: 900_000, inputSize: 400_000, resultSize: 400_000 })
  expect(await sagas.ended(sagaId)).toMatchObject({ status: 'COMPLETED' })
})

test.concurrent('an input of a step, or a result of a saga, that Temporal would not take is refused with its size', async () => {
  const tooLargeInput = await engine.start('largeSaga', { size: 1, inputSize: 600_000 })
  expect(await sagas.ended(tooLargeInput)).toMatchObject({
    status: 'COMPENSATED',
    error: { message: expect.stringMatching(/input of step x has 12000\d\d bytes as JSON; 1000000 is the most/) },
  })
  const tooLargeResult = await engine.start('largeSaga', { size: 1, resultSize: 600_000 })
  expect(await sagas.ended(tooLargeResult)).toMatchObject({
    status: 'COMPENSATED',
    error: { message: expect.stringMatching(/result of the saga has 12000\d\d bytes as JSON/) },
  })
})

test('every run replays', async () => {
  expect(await engine.replay()).toBe(sagas.started.length)
})

import { randomUUID } from 'node:crypto'
import { afterAll, expect, test } from '@jest/globals'
import { MockActivityEnvironment } from '@temporalio/testing'
import { pino } from 'pino'
import { makeSagaActivities, makeSagaCalls } from '../../src/saga/node/activities.js'
import { makePool } from '../../src/saga/node/db.js'
import { makeParticipants } from '../../src/saga/node/participants.js'
import { SagaStore } from '../../src/saga/node/saga-store.js'
import type { StepDeclarations } from '../../src/saga/types.js'
import { compensatable, nested, retriable } from '../../src/saga/workflow/define-saga.js'
import { effectService, takenAsItComes } from '../helpers/engine.js'
import { makeDatabase } from '../helpers/system.js'
import { pairSaga } from './nested-sagas.js'

type Effect = ReturnType<typeof effectService>

const pool = makePool(await makeDatabase('incomplete-worker'), { max: 2, name: 'incomplete-worker' })
afterAll(() => pool.end())
const store = new SagaStore(pool, [takenAsItComes('tripSaga')])
const activities = makeSagaActivities(
  makeSagaCalls({
    store,
    participant: makeParticipants([effectService('flight')], pool, { failureInjection: false }),
    hasSagaStatus: () => Promise.resolve(false),
    stepTimeoutMs: 1_000,
    deadlineMs: 1_000,
    logger: pino({ level: 'silent' }),
  }),
)

const flight = compensatable<Effect>('flight')

test.each<[what: string, type: string, steps: StepDeclarations, message: string]>([
  ['a participant', 'tripSaga', { flight, letter: retriable<Effect>('letter') }, 'has no participant letter'],
  ['a nested saga', 'tripSaga', { flight, pair: nested(pairSaga) }, 'Step pair of tripSaga is a pairSaga'],
  ['the saga itself', 'otherSaga', { flight }, 'has no saga type otherSaga'],
])('a worker that lacks %s opens no saga that needs it, and says so', async (_, type, steps, message) => {
  const workflowId = randomUUID()
  const environment = new MockActivityEnvironment({ workflowExecution: { workflowId, runId: randomUUID() } })
  const order = { type, steps, input: {}, firstRunId: 'first' }
  const opening = environment.run(() => activities.openSaga(order))
  await expect(opening).rejects.toThrow(message)
  expect(await store.get(workflowId)).toBeUndefined()
})

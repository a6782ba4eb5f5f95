import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, describe, expect, test } from '@jest/globals'
import { Client } from '@temporalio/client'
import { ApplicationFailure } from '@temporalio/common'
import { NativeConnection } from '@temporalio/worker'
import type { FailuresInput } from '../../src/saga/failure.js'
import { throughBarrier } from '../../src/saga/node/barrier.js'
import { makePool } from '../../src/saga/node/db.js'
import { SagaStarter } from '../../src/saga/node/saga-starter.js'
import type { Plan } from '../../src/saga/types.js'
import { TASK_QUEUE } from '../../src/temporal.js'
import { testEnded } from '../helpers/check-ended.js'
import { effectService, startEngine, takenAsItComes } from '../helpers/engine.js'
import { startRelay } from '../helpers/relay.js'
import { query } from '../helpers/shared.js'
import { until } from '../helpers/until.js'

/** Calls that are refused for as long as they stand here, as "saga step op". */
const locked = new Set<string>()

/** Steps, as "saga step", whose first compensation hangs beyond its time-out, and comes to nothing. */
const hanging = new Set<string>()
/** Steps whose first compensation ends before anybody was called. */
const unmade = new Set<string>()
/** By saga: told when its rollback is to be claimed, which no run does that does so first. */
const unclaimed = new Map<string, { reach: () => void; runId?: string }>()
/** Sagas whose one can't be undone while their three stands. */
const tied = new Set<string>()

function lockable(name: string) {
  const refuse = (type: string, message: string) => {
    throw ApplicationFailure.create({ type, message, nonRetryable: true })
  }
  const look =
    (op: string) =>
    async ({ sagaId }: { sagaId: string }) => {
      if (locked.has(`${sagaId} ${name} ${op}`)) refuse('Locked', `${name} is locked`)
      if (op !== 'compensate') return
      if (hanging.delete(`${sagaId} ${name}`)) {
        await sleep(2_500)
        refuse('Lost', 'it was rolled back')
      }
      const isTied = name === 'one' && tied.has(sagaId) && (await engine.effects(sagaId)).includes('three')
      if (isTied) refuse('Tied', 'three stands on it')
    }
  return effectService(name, { invoke: look('invoke'), compensate: look('compensate') })
}

const trip = ['flight', 'hotel', 'charge', 'ticket', 'letter']
const order = ['one', 'two', 'three']
const engine = await startEngine('recovery-engine', {
  workflows: new URL('./recovery-sagas.ts', import.meta.url),
  services: [...trip, ...order].map(lockable),
  types: ['tripSaga', 'orderSaga', 'backwardsSaga', 'brokenSaga'],
  interceptors: {
    activity: [
      ({ info }) => ({
        inbound: {
          execute: async (input, next) => {
            const [order] = input.args as [{ step?: string }?]
            const call = `${info.workflowExecution?.workflowId} ${order?.step}`
            const { workflowId = '', runId = '' } = info.workflowExecution ?? {}
            const claim = info.activityType === 'claimRollback' ? unclaimed.get(workflowId) : undefined
            if (claim && (claim.runId ??= runId) === runId) {
              claim.reach()
              throw new Error('the process is gone')
            }
            if (info.activityType === 'compensate' && unmade.delete(call)) throw new Error('the process is gone')
            return next(input)
          },
        },
      }),
    ],
  },
})
const { sagas, client } = engine
const database = sagas.where.database
const pool = makePool(database, { max: 1, name: 'recovery-test' })
afterAll(async () => {
  await pool.end()
  await engine.stop()
})

const run = (sagaId: string) => client.workflow.getHandle(sagaId)
const terminate = (sagaId: string, reason = 'by mistake') => run(sagaId).terminate(reason)

/** Starts a saga and terminates it as soon as its log says so. */
async function terminated(type: string, at: string, failures: FailuresInput, sagaId = randomUUID()): Promise<string> {
  await engine.start(type, {}, { failures, sagaId })
  await sagas.logged(sagaId, at)
  await terminate(sagaId)
  return sagaId
}

/** As if the saga had not moved, and nobody had looked at it, for an hour. */
async function makeDue(sagaId: string): Promise<void> {
  const hour = `interval '1 hour'`
  await query(
    database,
    `UPDATE saga SET progress_at = now() - ${hour}, looked_at = now() - ${hour} WHERE saga_id = $1`,
    [sagaId],
  )
}

/** Sweeps until the log tells of that many recoveries. Calls of the lost run may still be under way, and write rows. */
async function recovered(sagaId: string, times = 1): Promise<void> {
  await until(`saga ${sagaId} is taken up again`, async () => {
    await makeDue(sagaId)
    await engine.sweep.sweep()
    return (await sagas.log(sagaId)).filter((row) => row === 'SAGA recovered').length >= times
  })
}

const story = async (sagaId: string) => (await sagas.log(sagaId)).filter((row) => /^(SAGA|ROLLBACK)/.test(row))
const undoing = async (sagaId: string) =>
  (await sagas.log(sagaId)).filter((row) => /^COMPENSATE_\w+ (success|skipped|failed|stuck|decision)/.test(row))
const messages = async (sagaId: string, service: string, status: string) =>
  (await sagas.logRows(sagaId))
    .filter((row) => row.service === service && row.status === status)
    .map(({ message }) => message)

async function needsAttention(sagaId: string, row: string): Promise<void> {
  await sagas.logged(sagaId, row)
  expect(await sagas.get(sagaId)).toMatchObject({ status: 'NEEDS_ATTENTION' })
}

async function decide(sagaId: string, step: string, action: string): Promise<void> {
  const decision = { step, action, reason: 'looked after', actor: 'grace' }
  const response = await sagas.post(`/saga/${sagaId}/decision`, decision)
  expect(response.status).toBe(200)
}

/** Of the saga's latest run: its type, and how it closed. */
async function latestRun(sagaId: string): Promise<{ type: string; status: string }> {
  return until(`the run of ${sagaId} has closed`, async () => {
    const { type, status } = await run(sagaId).describe()
    return status.name !== 'RUNNING' && { type, status: status.name }
  })
}

test.concurrent.each<[title: string, at: string, failures: FailuresInput]>([
  ['its first call', 'SAGA started', { one: { mode: 'first', n: 1, kind: 'hang' } }],
  [
    'its first call, which has committed',
    'SAGA started',
    { one: { mode: 'first', n: 1, kind: 'hang', when: 'after' } },
  ],
  ['its last call', 'two success 1', { three: { mode: 'first', n: 1, kind: 'hang' } }],
  [
    'its last call, which has committed',
    'two success 1',
    { three: { mode: 'first', n: 1, kind: 'hang', when: 'after' } },
  ],
  [
    'a step that has committed and failed',
    'two failed 1',
    {
      two: [
        { mode: 'first', n: 1, when: 'after' },
        { mode: 'first', n: 2, kind: 'hang', when: 'after' },
      ],
    },
  ],
])('a saga terminated during %s is undone, and says why', async (_, at, failures) => {
  const sagaId = await terminated('orderSaga', at, failures)
  await recovered(sagaId)
  expect(await sagas.ended(sagaId)).toMatchObject({
    status: 'COMPENSATED',
    error: { type: 'Terminated', message: 'its run was terminated: by mistake' },
  })
  expect(await engine.effects(sagaId)).toEqual([])
  expect(await story(sagaId)).toEqual(['SAGA started', 'SAGA recovered', 'ROLLBACK triggered', 'SAGA compensated'])
  expect(await messages(sagaId, 'SAGA', 'recovered')).toEqual(['taken up again: its run was terminated: by mistake'])
  expect(await messages(sagaId, 'ROLLBACK', 'triggered')).toEqual(['its run was terminated: by mistake'])
  expect(await latestRun(sagaId)).toEqual({ type: 'recoverSaga', status: 'FAILED' })
  expect(await sagas.closing(sagaId)).toMatchObject({
    failure: { type: 'SagaCompensated', details: { sagaId, error: { type: 'Terminated' } } },
  })
})

test.concurrent('after a crash steps are undone in the reverse order of their calls, not of their declaration', async () => {
  const sagaId = await terminated('backwardsSaga', 'one failed 1', { one: { mode: 'always', when: 'after' } })
  expect((await sagas.get(sagaId)).status).toBe('RUNNING')
  const { steps } = (await (await sagas.request(`/saga/${sagaId}/plan`)).json()) as Plan
  await recovered(sagaId)
  expect(await sagas.ended(sagaId)).toMatchObject({ status: 'COMPENSATED' })
  const order = ['one', 'two', 'three']
  expect(steps.map(({ step }) => step)).toEqual(order)
  expect(await undoing(sagaId)).toEqual(order.map((step) => `COMPENSATE_${step} success 1`))
})

test.concurrent('a step that the code has lost is undone by the participant that the row names', async () => {
  const sagaId = randomUUID()
  const declared = { kind: 'compensatable' } as const
  const steps = { one: { service: 'one', ...declared }, early: { service: 'three', ...declared } }
  const saga = { ...takenAsItComes('orderSaga'), parse: () => ({ problems: [] }) }
  await engine.store.writeIntent({ sagaId, saga, steps, input: {}, failures: {}, maxOpen: 500 })
  // As its code had called it, before it was deployed without it.
  const three = throughBarrier(pool, lockable('three'))
  await three.invoke({ sagaId, step: 'early', input: {} })
  locked.add(`${sagaId} two invoke`)
  const record = await engine.store.get(sagaId)
  if (!record) throw new Error('the intent is gone')
  await engine.starter.start(record, engine.store.requestOf(record))
  sagas.started.push(sagaId)
  expect(await sagas.ended(sagaId)).toMatchObject({ status: 'COMPENSATED', failedStep: 'two' })
  expect(await engine.effects(sagaId)).toEqual([])
})

test.concurrent('a saga terminated while it rolls back keeps its first cause, and undoes nothing twice', async () => {
  const failures: FailuresInput = {
    three: { mode: 'always', kind: 'reject' },
    one: { mode: 'first', n: 1, kind: 'hang', on: 'compensate' },
  }
  const sagaId = await terminated('orderSaga', 'COMPENSATE_two success 1', failures)
  await recovered(sagaId)
  expect(await sagas.ended(sagaId)).toMatchObject({
    status: 'COMPENSATED',
    failedStep: 'three',
    error: { type: 'Rejected' },
  })
  expect(await engine.effects(sagaId)).toEqual([])
  expect(await story(sagaId)).toEqual(['SAGA started', 'ROLLBACK triggered', 'SAGA recovered', 'SAGA compensated'])
  expect((await undoing(sagaId)).filter((row) => row.includes('two'))).toEqual(['COMPENSATE_two success 1'])
})

test.concurrent('a saga that was to be cancelled and is terminated says who cancelled it', async () => {
  const sagaId = await engine.start('orderSaga', {}, { failures: { three: { mode: 'first', n: 1, kind: 'hang' } } })
  await sagas.logged(sagaId, 'two success 1')
  await engine.store.requestCancel(sagaId, { reason: 'changed my mind', actor: 'grace' })
  await terminate(sagaId)
  await recovered(sagaId)
  expect(await sagas.ended(sagaId)).toMatchObject({
    status: 'COMPENSATED',
    error: { type: 'Cancelled', message: 'cancelled by grace: changed my mind' },
  })
  expect(await engine.effects(sagaId)).toEqual([])
  expect(await sagas.closing(sagaId)).toMatchObject({ status: 'FAILED', failure: { type: 'SagaCompensated' } })
})

test.concurrent('a saga is taken up as often as it is terminated, its recovery included', async () => {
  const failures: FailuresInput = {
    three: { mode: 'first', n: 1, kind: 'hang' },
    one: { mode: 'first', n: 2, kind: 'hang', on: 'compensate' },
  }
  const sagaId = await terminated('orderSaga', 'two success 1', failures)
  await recovered(sagaId)
  await sagas.logged(sagaId, 'COMPENSATE_two success 1')
  await terminate(sagaId, 'once more')
  await recovered(sagaId, 2)
  expect(await sagas.ended(sagaId)).toMatchObject({
    status: 'COMPENSATED',
    error: { type: 'Terminated', message: 'its run was terminated: by mistake' },
  })
  expect(await engine.effects(sagaId)).toEqual([])
  expect(await story(sagaId)).toEqual([
    ...['SAGA started', 'SAGA recovered', 'ROLLBACK triggered'],
    ...['SAGA recovered', 'SAGA compensated'],
  ])
  expect(await messages(sagaId, 'SAGA', 'recovered')).toEqual([
    'taken up again: its run was terminated: by mistake',
    'taken up again: its run was terminated: once more',
  ])
})

/** A saga that waits for a person: the undo of these steps is locked. */
async function parked(...steps: string[]): Promise<string> {
  const sagaId = randomUUID()
  for (const step of steps) locked.add(`${sagaId} ${step} compensate`)
  await engine.start('orderSaga', {}, { sagaId, failures: { three: { mode: 'always', kind: 'reject' } } })
  await needsAttention(sagaId, `COMPENSATE_${steps[0]} stuck`)
  return sagaId
}

test.concurrent('a saga terminated while it waits for a person is tried again', async () => {
  const sagaId = await parked('two')
  await terminate(sagaId)
  locked.delete(`${sagaId} two compensate`)
  await recovered(sagaId)
  expect(await sagas.ended(sagaId)).toMatchObject({ status: 'COMPENSATED', failedStep: 'three' })
  expect(await engine.effects(sagaId)).toEqual([])
  expect(await undoing(sagaId)).toEqual([
    ...['COMPENSATE_three skipped 1', 'COMPENSATE_two failed 1', 'COMPENSATE_two stuck'],
    ...['COMPENSATE_two success 2', 'COMPENSATE_one success 1'],
  ])
})

test.concurrent("a saga that its recovery can't undo either waits for a person again, and listens", async () => {
  const sagaId = await parked('two')
  await terminate(sagaId)
  await recovered(sagaId)
  await until('it waits again', async () => (await undoing(sagaId)).filter((row) => row.endsWith('stuck')).length === 2)
  expect(await sagas.get(sagaId)).toMatchObject({ status: 'NEEDS_ATTENTION' })
  expect(await run(sagaId).query('state')).toMatchObject({ sagaId, status: 'NEEDS_ATTENTION' })
  locked.delete(`${sagaId} two compensate`)
  const decision = { step: 'two', action: 'retry', reason: 'unlocked', actor: 'grace' }
  expect(await run(sagaId).executeUpdate('decide', { args: [decision] })).toMatchObject({ sagaId })
  expect(await sagas.ended(sagaId)).toMatchObject({ status: 'COMPENSATED' })
  expect(await engine.effects(sagaId)).toEqual([])
})

test.concurrent('an undo whose attempts were used up gets as many again with the recovery', async () => {
  const sagaId = await engine.start(
    'orderSaga',
    {},
    {
      failures: {
        three: { mode: 'always', kind: 'reject' },
        two: { mode: 'first', n: 10, on: 'compensate' },
      },
    },
  )
  await sagas.logged(sagaId, 'COMPENSATE_two stuck')
  await terminate(sagaId)
  await recovered(sagaId)
  expect(await sagas.ended(sagaId)).toMatchObject({ status: 'COMPENSATED' })
  expect((await undoing(sagaId)).filter((row) => row.includes('two'))).toEqual([
    ...[1, 2, 3, 4, 5, 6, 7, 8].map((attempt) => `COMPENSATE_two failed ${attempt}`),
    'COMPENSATE_two stuck',
    ...['COMPENSATE_two failed 9', 'COMPENSATE_two failed 10', 'COMPENSATE_two success 11'],
  ])
})

test.concurrent.each([
  ['resolve', 'resolved', 'COMPENSATED'],
  ['skip', 'skipped', 'PARTIALLY_COMPENSATED'],
])("a person's %s stands, whatever becomes of the run", async (action, word, status) => {
  const sagaId = await parked('two', 'one')
  if (action === 'resolve') await query(database, `DELETE FROM effect WHERE saga_id = $1 AND service = 'two'`, [sagaId])
  await decide(sagaId, 'two', action)
  await needsAttention(sagaId, 'COMPENSATE_one stuck')
  await terminate(sagaId)
  locked.delete(`${sagaId} one compensate`)
  await recovered(sagaId)
  expect(await sagas.ended(sagaId)).toMatchObject({
    status,
    compensations: [
      { step: 'three', status: 'empty' },
      { step: 'two', status: word, actor: 'grace', reason: 'looked after' },
      { step: 'one', status: 'done' },
    ],
  })
  expect(await engine.effects(sagaId)).toEqual(action === 'skip' ? ['two'] : [])
  expect((await undoing(sagaId)).filter((row) => row.startsWith('COMPENSATE_two failed'))).toHaveLength(1)
})

test.concurrent('a decision that its run did not live to act on is acted on by the recovery', async () => {
  const sagaId = await parked('two')
  await terminate(sagaId)
  await query(database, `DELETE FROM effect WHERE saga_id = $1 AND service = 'two'`, [sagaId])
  await decide(sagaId, 'two', 'resolve')
  await recovered(sagaId)
  expect(await sagas.ended(sagaId)).toMatchObject({ status: 'COMPENSATED' })
  expect(await engine.effects(sagaId)).toEqual([])
  expect((await undoing(sagaId)).filter((row) => row.includes('two'))).toEqual([
    'COMPENSATE_two failed 1',
    'COMPENSATE_two stuck',
    'COMPENSATE_two decision',
  ])
})

describe('a step that no run is known to have reached', () => {
  /** A saga whose two is refused, and whose three a run that left no trace has called. */
  async function started(prepare: (sagaId: string) => void): Promise<string> {
    const sagaId = randomUUID()
    await throughBarrier(pool, effectService('three')).invoke({ sagaId, step: 'three', input: {} })
    prepare(sagaId)
    return engine.start('orderSaga', {}, { sagaId, failures: { two: { mode: 'always', kind: 'reject' } } })
  }
  const undone = async (sagaId: string) => {
    const { compensations } = await sagas.ended(sagaId)
    return compensations.map(({ step, status }) => `${step} ${status}`)
  }

  test.concurrent('is asked again, its participant having been silent, where it keeps others from being undone', async () => {
    const sagaId = await started((id) => {
      hanging.add(`${id} three`)
      tied.add(id)
    })
    expect(await undone(sagaId)).toEqual(['three done', 'two empty', 'one done'])
    expect(await sagas.log(sagaId)).not.toContain('COMPENSATE_one stuck')
  })

  test.concurrent('is undone before the others, though the engine fails to call it at first', async () => {
    const sagaId = await started((id) => unmade.add(`${id} three`))
    expect(await undone(sagaId)).toEqual(['three done', 'two empty', 'one done'])
  })
})

test.concurrent('a saga that the server times out is undone, and says so', async () => {
  const sagaId = randomUUID()
  sagas.started.push(sagaId)
  await client.workflow.start('orderSaga', {
    workflowId: sagaId,
    taskQueue: TASK_QUEUE,
    args: [{ failures: { three: { mode: 'first', n: 1, kind: 'hang', when: 'after' } } }],
    workflowRunTimeout: '1s',
  })
  await sagas.logged(sagaId, 'two success 1')
  expect(await latestRun(sagaId)).toEqual({ type: 'orderSaga', status: 'TIMED_OUT' })
  await recovered(sagaId)
  expect(await sagas.ended(sagaId)).toMatchObject({
    status: 'COMPENSATED',
    error: { type: 'Terminated', message: 'its run was timed out by the server' },
  })
  expect(await engine.effects(sagaId)).toEqual([])
})

test.concurrent.each([
  ['failed', 'FAILED', 'its run failed: the engine broke'],
  ['cancelled', 'CANCELLED', 'its run was closed as cancelled'],
  ['completed', 'COMPLETED', 'its run was closed as completed'],
])('a run that closed as %s and left its saga unfinished is made good', async (how, status, message) => {
  const sagaId = await engine.start('brokenSaga', {})
  await sagas.logged(sagaId, 'two success 1')
  await (how === 'cancelled' ? run(sagaId).cancel() : run(sagaId).signal('break', how))
  expect(await latestRun(sagaId)).toEqual({ type: 'brokenSaga', status })
  await recovered(sagaId)
  expect(await sagas.ended(sagaId)).toMatchObject({ status: 'COMPENSATED', error: { type: 'Terminated', message } })
  expect(await engine.effects(sagaId)).toEqual([])
})

async function forgotten(sagaId: string): Promise<void> {
  await client.workflowService.deleteWorkflowExecution({
    namespace: sagas.where.namespace,
    workflowExecution: { workflowId: sagaId },
  })
  await until('Temporal has forgotten it', async () => (await engine.starter.look(sagaId)) === 'forgotten')
}

test.concurrent('a saga that Temporal has forgotten is started again and completes, and says so', async () => {
  const sagaId = await engine.start('orderSaga', {}, { failures: { three: { mode: 'first', n: 1, kind: 'hang' } } })
  await sagas.logged(sagaId, 'two success 1')
  await forgotten(sagaId)
  await recovered(sagaId)
  expect(await sagas.ended(sagaId)).toMatchObject({ status: 'COMPLETED', by: 'one' })
  expect(await engine.effects(sagaId)).toEqual(order)
  expect(await story(sagaId)).toEqual(['SAGA started', 'SAGA recovered', 'SAGA completed'])
  expect(await latestRun(sagaId)).toEqual({ type: 'orderSaga', status: 'COMPLETED' })
})

test.concurrent('a saga that Temporal has forgotten while it rolled back goes on with that', async () => {
  const sagaId = await engine.start(
    'orderSaga',
    {},
    {
      failures: {
        three: { mode: 'always', kind: 'reject' },
        one: { mode: 'first', n: 1, kind: 'hang', on: 'compensate' },
      },
    },
  )
  await sagas.logged(sagaId, 'COMPENSATE_two success 1')
  await forgotten(sagaId)
  await recovered(sagaId)
  expect(await sagas.ended(sagaId)).toMatchObject({ status: 'COMPENSATED', failedStep: 'three' })
  expect(await engine.effects(sagaId)).toEqual([])
  expect(await story(sagaId)).toEqual(['SAGA started', 'ROLLBACK triggered', 'SAGA recovered', 'SAGA compensated'])
})

test.concurrent('a saga that Temporal has forgotten while it waited for a person takes their decision', async () => {
  const sagaId = await parked('two')
  await forgotten(sagaId)
  await recovered(sagaId)
  expect(await sagas.get(sagaId)).toMatchObject({ status: 'NEEDS_ATTENTION' })
  locked.delete(`${sagaId} two compensate`)
  await decide(sagaId, 'two', 'retry')
  expect(await sagas.ended(sagaId)).toMatchObject({ status: 'COMPENSATED' })
  expect(await engine.effects(sagaId)).toEqual([])
})

test.concurrent.each<[title: string, failures: FailuresInput]>([
  ['before its pivot', { hotel: { mode: 'first', n: 1, kind: 'hang' } }],
  ['while its pivot is on its way', { charge: { mode: 'first', n: 1, kind: 'hang' } }],
])('a saga terminated %s is rolled back', async (title, failures) => {
  const at = title.startsWith('before') ? 'flight success 1' : 'hotel success 1'
  const sagaId = await terminated('tripSaga', at, failures)
  await recovered(sagaId)
  expect(await sagas.ended(sagaId)).toMatchObject({ status: 'COMPENSATED', error: { type: 'Terminated' } })
  expect(await engine.effects(sagaId)).toEqual([])
  expect(await story(sagaId)).toEqual(['SAGA started', 'SAGA recovered', 'ROLLBACK triggered', 'SAGA compensated'])
})

test.concurrent.each<[title: string, at: string, failures: FailuresInput]>([
  [
    'whose pivot is applied but not answered',
    'effect charge',
    { charge: { mode: 'first', n: 1, kind: 'hang', when: 'after' } },
  ],
  ['behind its pivot', 'charge success 1', { ticket: { mode: 'first', n: 1, kind: 'hang' } }],
  ['with its last effect made', 'effect letter', { letter: { mode: 'first', n: 1, kind: 'hang', when: 'after' } }],
])('a saga terminated %s goes on under its id and completes, each effect once', async (_, at, failures) => {
  const sagaId = await engine.start('tripSaga', { to: 'Zürich' }, { failures })
  await until(at, async () =>
    at.startsWith('effect ')
      ? (await engine.effects(sagaId)).includes(at.slice('effect '.length))
      : (await sagas.log(sagaId)).includes(at),
  )
  await terminate(sagaId)
  await recovered(sagaId)
  expect(await sagas.ended(sagaId)).toMatchObject({ status: 'COMPLETED', by: 'charge', ticket: 'ticket' })
  expect(await engine.effects(sagaId)).toEqual(trip)
  expect(await story(sagaId)).toEqual(['SAGA started', 'SAGA recovered', 'SAGA completed'])
  expect(await latestRun(sagaId)).toEqual({ type: 'tripSaga', status: 'COMPLETED' })
})

test.concurrent('why its pivot was not applied stays why it is undone, whatever becomes of the run before it says so', async () => {
  const sagaId = randomUUID()
  const reached = new Promise<void>((reach) => unclaimed.set(sagaId, { reach }))
  await engine.start('tripSaga', {}, { sagaId, failures: { charge: { mode: 'always', kind: 'reject' } } })
  await reached
  await terminate(sagaId)
  await recovered(sagaId)
  expect(await sagas.ended(sagaId)).toMatchObject({
    status: 'COMPENSATED',
    failedStep: 'charge',
    error: { type: 'Rejected' },
  })
})

test.concurrent('a cancel that the pivot was too fast for does not hold up the run that goes on behind it', async () => {
  const failures = { charge: { mode: 'first', n: 1, kind: 'hang', when: 'after' } } as const
  const sagaId = await engine.start('tripSaga', { to: 'Zürich' }, { failures })
  await until('the pivot is applied', async () => (await engine.effects(sagaId)).includes('charge'))
  expect((await sagas.post(`/saga/${sagaId}/cancel`, { reason: 'changed my mind' })).status).toBe(202)
  await terminate(sagaId)
  await recovered(sagaId)
  expect(await sagas.ended(sagaId)).toMatchObject({ status: 'COMPLETED', by: 'charge', ticket: 'ticket' })
  expect(await engine.effects(sagaId)).toEqual(trip)
})

test.concurrent('a saga terminated while it waits for a person behind its pivot is tried again', async () => {
  const sagaId = randomUUID()
  locked.add(`${sagaId} ticket invoke`)
  await engine.start('tripSaga', { to: 'Zürich' }, { sagaId })
  await needsAttention(sagaId, 'ticket stuck')
  await terminate(sagaId)
  locked.delete(`${sagaId} ticket invoke`)
  await recovered(sagaId)
  expect(await sagas.ended(sagaId)).toMatchObject({ status: 'COMPLETED', ticket: 'ticket' })
  expect(await engine.effects(sagaId)).toEqual(trip)
})

test.concurrent("a person's resolve behind the pivot stands, whatever becomes of the run", async () => {
  const sagaId = randomUUID()
  locked.add(`${sagaId} ticket invoke`)
  locked.add(`${sagaId} letter invoke`)
  await engine.start('tripSaga', { to: 'Zürich' }, { sagaId })
  await needsAttention(sagaId, 'ticket stuck')
  await query(database, `INSERT INTO effect (saga_id, service) VALUES ($1, 'ticket')`, [sagaId])
  await decide(sagaId, 'ticket', 'resolve')
  await needsAttention(sagaId, 'letter stuck')
  await terminate(sagaId)
  locked.delete(`${sagaId} letter invoke`)
  await recovered(sagaId)
  expect(await sagas.ended(sagaId)).toMatchObject({ status: 'COMPLETED', ticket: 'by hand' })
  expect(await engine.effects(sagaId)).toEqual(trip)
})

/** Everything that a saga has left behind. */
const everything = async (sagaId: string) => ({
  saga: await sagas.get(sagaId),
  log: await sagas.logRows(sagaId),
  effects: await engine.effects(sagaId),
  barrier: await query(database, 'SELECT * FROM saga_barrier WHERE saga_id = $1 ORDER BY step, op', [sagaId]),
})

async function reset(sagaId: string): Promise<void> {
  await sagas.temporal('workflow', 'reset', '-w', sagaId, '--type', 'FirstWorkflowTask', '--reason', 'test')
}

test.concurrent.each(['COMPLETED', 'COMPENSATED', 'recovered'])(
  'a reset of a saga that is %s changes nothing',
  async (kind) => {
    const failures: Record<string, FailuresInput> = {
      COMPLETED: {},
      COMPENSATED: { three: { mode: 'always', kind: 'reject' } },
      recovered: { three: { mode: 'first', n: 1, kind: 'hang' } },
    }
    const sagaId = await engine.start('orderSaga', {}, { failures: failures[kind] ?? {} })
    if (kind === 'recovered') {
      await sagas.logged(sagaId, 'two success 1')
      await terminate(sagaId)
      await recovered(sagaId)
      // The lost run's last call has been refused, and says so in the log.
      await sagas.logged(sagaId, 'three failed 1')
    }
    await sagas.ended(sagaId)
    const { status } = await latestRun(sagaId)
    const { runId } = await run(sagaId).describe()
    const before = await everything(sagaId)
    await reset(sagaId)
    await until('the new run has closed', async () => {
      const now = await run(sagaId).describe()
      return now.runId !== runId && now.status.name !== 'RUNNING'
    })
    expect(await latestRun(sagaId)).toMatchObject({ status })
    expect(await everything(sagaId)).toEqual(before)
  },
)

test.concurrent('a reset of a saga that waits for a person waits on, and takes their decision', async () => {
  const sagaId = await parked('two')
  const { runId } = await run(sagaId).describe()
  await reset(sagaId)
  await until('the reset run is open', async () => {
    const now = await run(sagaId).describe()
    return now.runId !== runId && now.status.name === 'RUNNING'
  })
  locked.delete(`${sagaId} two compensate`)
  await decide(sagaId, 'two', 'retry')
  expect(await sagas.ended(sagaId)).toMatchObject({ status: 'COMPENSATED' })
  expect(await engine.effects(sagaId)).toEqual([])
  expect(await undoing(sagaId)).toEqual([
    ...['COMPENSATE_three skipped 1', 'COMPENSATE_two failed 1', 'COMPENSATE_two stuck', 'COMPENSATE_two decision'],
    ...['COMPENSATE_two success 2', 'COMPENSATE_one success 1'],
  ])
})

/** Starts a run under an id that is in use, as somebody who knows no better might. */
async function startAgain(sagaId: string, input: object, { terminating = false } = {}) {
  return client.workflow.start('orderSaga', {
    workflowId: sagaId,
    taskQueue: TASK_QUEUE,
    args: [input],
    ...(terminating && { workflowIdConflictPolicy: 'TERMINATE_EXISTING' }),
  })
}

test.concurrent('an id whose run was terminated, started with the same input, takes the saga up and completes it', async () => {
  const failures: FailuresInput = { three: { mode: 'first', n: 1, kind: 'hang' } }
  const sagaId = await terminated('orderSaga', 'two success 1', failures)
  await startAgain(sagaId, { failures })
  expect(await sagas.ended(sagaId)).toMatchObject({ status: 'COMPLETED' })
  expect(await engine.effects(sagaId)).toEqual(order)
})

test.concurrent('an id whose run was terminated refuses other input, and its saga is undone all the same', async () => {
  const sagaId = await terminated('orderSaga', 'two success 1', { three: { mode: 'first', n: 1, kind: 'hang' } })
  await startAgain(sagaId, { other: true })
  expect(await sagas.closing(sagaId)).toMatchObject({ status: 'FAILED', failure: { type: 'SagaIdTaken' } })
  await recovered(sagaId)
  expect(await sagas.ended(sagaId)).toMatchObject({ status: 'COMPENSATED', error: { type: 'Terminated' } })
  expect(await engine.effects(sagaId)).toEqual([])
})

test.concurrent('a start that terminates the run of an open saga has its own input refused, and the saga is undone', async () => {
  const sagaId = await engine.start('orderSaga', {}, { failures: { three: { mode: 'first', n: 1, kind: 'hang' } } })
  await sagas.logged(sagaId, 'two success 1')
  await expect(startAgain(sagaId, { other: true })).rejects.toThrow('already started')
  await startAgain(sagaId, { other: true }, { terminating: true })
  expect(await sagas.closing(sagaId)).toMatchObject({ status: 'FAILED', failure: { type: 'SagaIdTaken' } })
  await recovered(sagaId)
  expect(await sagas.ended(sagaId)).toMatchObject({ status: 'COMPENSATED' })
  expect(await engine.effects(sagaId)).toEqual([])
})

test.concurrent.each(['COMPLETED', 'COMPENSATED'])(
  'an id whose saga is %s is not used again, with whatever input, and nothing of it changes',
  async (kind) => {
    const failures: FailuresInput = kind === 'COMPLETED' ? {} : { three: { mode: 'always', kind: 'reject' } }
    const sagaId = await engine.start('orderSaga', {}, { failures })
    await sagas.ended(sagaId)
    await latestRun(sagaId)
    const before = await everything(sagaId)
    for (const input of [{ failures }, { other: true }]) {
      await startAgain(sagaId, input)
      expect(await sagas.closing(sagaId)).toMatchObject({ status: 'FAILED', failure: { type: 'SagaIdTaken' } })
    }
    expect(await everything(sagaId)).toEqual(before)
  },
)

test.concurrent('20 sagas terminated at once are taken up once each, however many sweeps look at once', async () => {
  const ids = await Promise.all(
    Array.from({ length: 20 }, () =>
      terminated('orderSaga', 'two success 1', { three: { mode: 'first', n: 1, kind: 'hang', when: 'after' } }),
    ),
  )
  await Promise.all(ids.map(makeDue))
  await Promise.all(Array.from({ length: 5 }, () => engine.sweep.sweep()))
  await Promise.all(ids.map((sagaId) => recovered(sagaId)))
  for (const sagaId of ids) {
    expect(await sagas.ended(sagaId)).toMatchObject({ status: 'COMPENSATED' })
    expect(await engine.effects(sagaId)).toEqual([])
    expect(await story(sagaId)).toEqual(['SAGA started', 'SAGA recovered', 'ROLLBACK triggered', 'SAGA compensated'])
  }
})

test.concurrent("a saga that can't be taken up does not hold the others", async () => {
  const sagaId = await terminated('orderSaga', 'two success 1', { three: { mode: 'first', n: 1, kind: 'hang' } })
  // Temporal takes no id of that length.
  const impossible = 'x'.repeat(2_000)
  await query(
    database,
    `INSERT INTO saga (saga_id, type, view, input, input_hash, steps, first_run_id, progress_at)
     SELECT $2, type, view, input, input_hash, steps, first_run_id, '-infinity' FROM saga WHERE saga_id = $1`,
    [sagaId, impossible],
  )
  await expect(engine.starter.recover(impossible, '')).rejects.toThrow('Failed to start')
  await recovered(sagaId)
  expect(await sagas.ended(sagaId)).toMatchObject({ status: 'COMPENSATED' })
  await query(database, 'DELETE FROM saga WHERE saga_id = $1', [impossible])
})

test.concurrent('a sweep that does not reach Temporal ends, and the next one goes on', async () => {
  const sagaId = await terminated('orderSaga', 'two success 1', { three: { mode: 'first', n: 1, kind: 'hang' } })
  await sagas.logged(sagaId, 'three failed 1')
  const relay = await startRelay()
  const connection = await NativeConnection.connect({ address: relay.address })
  const client = new Client({ connection, namespace: sagas.where.namespace })
  const starter = new SagaStarter(client, TASK_QUEUE)
  const relayed = engine.sweepOver(client)
  relay.cut()
  await expect(starter.look(sagaId)).rejects.toThrow('Temporal gave no answer within 3 s')
  await makeDue(sagaId)
  await relayed.sweep()
  relay.mend()
  await until('the wire is whole again, and the saga taken up', async () => {
    await makeDue(sagaId)
    await relayed.sweep()
    return (await sagas.log(sagaId)).includes('SAGA recovered')
  })
  expect(await sagas.ended(sagaId)).toMatchObject({ status: 'COMPENSATED' })
  await connection.close()
  await relay.stop()
})

testEnded(
  () => sagas,
  async (sagaId) => {
    const effects = await engine.effects(sagaId)
    const { steps, compensations } = await sagas.get(sagaId)
    const left = new Set(compensations.filter(({ status }) => status === 'skipped').map(({ step }) => step))
    return steps
      .filter(({ step }) => !left.has(step))
      .map(({ step }) => effects.filter((service) => service === step).length)
  },
)

test('every run replays', async () => {
  expect(await engine.replay()).toBe(sagas.started.length)
})

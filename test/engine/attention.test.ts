import { randomUUID } from 'node:crypto'
import { WorkflowFailedError, type WorkflowUpdateFailedError } from '@temporalio/client'
import { ApplicationFailure } from '@temporalio/common'
import { afterAll, expect, test } from '@jest/globals'
import { rejected } from '../../src/saga/errors.js'
import { makePool } from '../../src/saga/node/db.js'
import { makeParticipants } from '../../src/saga/node/participants.js'
import type { Plan, SagaView } from '../../src/saga/types.js'
import { effectService, startEngine } from '../helpers/engine.js'
import { until } from '../helpers/until.js'

// What each saga's participants do, as "<saga> <service>".
/** Their invoke refuses. */
const refusing = new Set<string>()
/** Their compensation fails, and no second try is made. */
const broken = new Set<string>()
/** Their invoke waits. */
const gates = new Map<string, Promise<void>>()
/** Their compensation fails unless it is told to go there. */
const picky = new Map<string, string>()

const participants = ['first', 'second', 'third', 'flight', 'hotel', 'charge', 'ticket', 'letter'].map((name) =>
  effectService(name, {
    async invoke({ sagaId }) {
      await gates.get(`${sagaId} ${name}`)
      if (refusing.has(`${sagaId} ${name}`)) throw rejected(`${name} is sold out`)
    },
    compensate({ sagaId, input }) {
      const place = picky.get(`${sagaId} ${name}`)
      const to = typeof input === 'string' ? input : (input as { to: string }).to
      const isWrong = place !== undefined && to !== place
      if (!broken.has(`${sagaId} ${name}`) && !isWrong) return
      throw ApplicationFailure.create({ type: 'Jammed', message: `${name} is jammed`, nonRetryable: true })
    },
  }),
)
const engine = await startEngine('attention', {
  workflows: new URL('./attention-sagas.ts', import.meta.url),
  services: participants,
  types: ['stackSaga', 'tripSaga'],
})
const { sagas, client } = engine
afterAll(() => engine.stop())

/** Before so many decisions a run begins anew. */
const MANY_DECISIONS = 100

const pool = makePool(sagas.where.database, { max: 2, name: 'late calls' })
const participant = makeParticipants(participants, pool, { failureInjection: false })
afterAll(() => pool.end())

const hers = { reason: 'looked at it', actor: 'grace' }

async function decide(sagaId: string, decision: object) {
  const response = await sagas.post(`/saga/${sagaId}/decision`, decision)
  return { status: response.status, answer: await response.json() }
}

const needsAttention = (sagaId: string) =>
  until(`${sagaId} needs attention`, async () => {
    const response = await sagas.request(`/saga/${sagaId}`)
    const saga = response.ok ? ((await response.json()) as SagaView) : undefined
    return saga?.status === 'NEEDS_ATTENTION' && saga
  })

const stuckRows = async (sagaId: string) => (await sagas.log(sagaId)).filter((row) => row.endsWith(' stuck')).length

/** Decides retry, and waits until the saga has got stuck once more. */
async function retryInVain(sagaId: string, step: string): Promise<void> {
  const before = await stuckRows(sagaId)
  expect(await decide(sagaId, { step, action: 'retry', ...hers })).toMatchObject({ status: 200 })
  await until(`${sagaId} is stuck again`, async () => (await stuckRows(sagaId)) === before + 1)
}

/** A rolled back saga whose `second` can't be compensated. */
async function startStuck(): Promise<string> {
  const sagaId = randomUUID()
  refusing.add(`${sagaId} third`)
  broken.add(`${sagaId} second`)
  await engine.start('stackSaga', { to: 'Zürich' }, { sagaId })
  await needsAttention(sagaId)
  return sagaId
}

/** A trip past its point of no return whose ticket is refused. */
async function startStuckTrip(): Promise<string> {
  const sagaId = randomUUID()
  refusing.add(`${sagaId} ticket`)
  await engine.start('tripSaga', { to: 'Zürich' }, { sagaId })
  await needsAttention(sagaId)
  return sagaId
}

/** A saga that was cancelled while its third step was under way, and whose `second` can't be compensated. */
async function startStuckCancelled(): Promise<string> {
  const sagaId = randomUUID()
  let open = () => {}
  gates.set(`${sagaId} third`, new Promise((resolve) => (open = resolve)))
  broken.add(`${sagaId} second`)
  await engine.start('stackSaga', { to: 'Zürich' }, { sagaId })
  await sagas.logged(sagaId, 'second success 1')
  const answer = await sagas.post(`/saga/${sagaId}/cancel`, { reason: 'no longer needed', actor: 'ada' })
  expect(answer.status).toBe(202)
  open()
  await needsAttention(sagaId)
  return sagaId
}

const runIdOf = async (sagaId: string) => (await client.workflow.getHandle(sagaId).describe()).runId

/** Retries in vain until the saga waits in another run than it began to wait in. */
async function waitInNewRun(sagaId: string, step: string): Promise<void> {
  const before = await runIdOf(sagaId)
  for (let i = 0; i < MANY_DECISIONS && (await runIdOf(sagaId)) === before; i += 1) await retryInVain(sagaId, step)
  await until(`${sagaId} waits in a new run`, async () => (await runIdOf(sagaId)) !== before)
}

/** How the saga's run has failed. */
async function failureOf(sagaId: string): Promise<ApplicationFailure> {
  const error: unknown = await client.workflow
    .getHandle(sagaId)
    .result()
    .catch((error: unknown) => error)
  if (error instanceof WorkflowFailedError && error.cause instanceof ApplicationFailure) return error.cause
  throw error
}

test.concurrent('a retry that fails again waits again, and can be decided again', async () => {
  const sagaId = await startStuck()
  await retryInVain(sagaId, 'second')
  await retryInVain(sagaId, 'second')
  broken.delete(`${sagaId} second`)
  expect(await decide(sagaId, { step: 'second', action: 'retry', ...hers })).toMatchObject({ status: 200 })
  expect(await sagas.ended(sagaId)).toMatchObject({
    status: 'COMPENSATED',
    failedStep: 'third',
    compensations: [
      { step: 'third', status: 'empty' },
      { step: 'second', status: 'done', attempts: 4, ...hers },
      { step: 'first', status: 'done' },
    ],
  })
  expect(await sagas.log(sagaId)).toEqual([
    'SAGA started',
    ...['first success 1', 'second success 1', 'third failed 1'],
    'ROLLBACK triggered',
    'COMPENSATE_third skipped 1',
    ...['COMPENSATE_second failed 1', 'COMPENSATE_second stuck', 'COMPENSATE_second decision'],
    ...['COMPENSATE_second failed 2', 'COMPENSATE_second stuck', 'COMPENSATE_second decision'],
    ...['COMPENSATE_second failed 3', 'COMPENSATE_second stuck', 'COMPENSATE_second decision'],
    'COMPENSATE_second success 4',
    'COMPENSATE_first success 1',
    ...['COMPENSATE_third verified', 'COMPENSATE_second verified', 'COMPENSATE_first verified'],
    'SAGA compensated',
  ])
  expect(await engine.effects(sagaId)).toEqual([])
})

test.concurrent('what is behind a stuck compensation waits until a person has decided', async () => {
  const sagaId = await startStuck()
  expect(await sagas.get(sagaId)).toMatchObject({
    status: 'NEEDS_ATTENTION',
    compensations: [
      { step: 'third', status: 'empty' },
      { step: 'second', status: 'stuck', error: { type: 'Jammed', message: 'second is jammed' } },
      { step: 'first', status: 'pending', attempts: 0 },
    ],
  })
  expect(await engine.effects(sagaId)).toEqual(['first', 'second'])
  expect((await sagas.log(sagaId)).filter((row) => row.includes('COMPENSATE_first'))).toEqual([])
  await decide(sagaId, { step: 'second', action: 'skip', ...hers })
  expect(await sagas.ended(sagaId)).toMatchObject({ status: 'PARTIALLY_COMPENSATED' })
  expect(await engine.effects(sagaId)).toEqual(['second'])
})

test.concurrent('a retry with a corrected input compensates with it in the place of what the step was given', async () => {
  const sagaId = randomUUID()
  refusing.add(`${sagaId} third`)
  picky.set(`${sagaId} second`, 'Genève')
  await engine.start('stackSaga', { to: 'Zürich' }, { sagaId })
  await needsAttention(sagaId)
  await retryInVain(sagaId, 'second')
  const corrected = { step: 'second', action: 'retry', ...hers, input: { to: 'Genève' } }
  expect(await decide(sagaId, corrected)).toMatchObject({ status: 200 })
  expect(await sagas.ended(sagaId)).toMatchObject({ status: 'COMPENSATED' })
  expect(await engine.effects(sagaId)).toEqual([])
  const words = (await sagas.logRows(sagaId)).filter(({ status }) => status === 'decision')
  expect(words.map(({ message }) => message)).toEqual([
    'retry by grace: looked at it',
    'retry by grace: looked at it (with corrected input)',
  ])
})

test.concurrent('a corrected input stays for the retries behind it', async () => {
  const sagaId = randomUUID()
  refusing.add(`${sagaId} third`)
  picky.set(`${sagaId} second`, 'Genève')
  broken.add(`${sagaId} second`)
  await engine.start('stackSaga', { to: 'Zürich' }, { sagaId })
  await needsAttention(sagaId)
  await decide(sagaId, { step: 'second', action: 'retry', ...hers, input: { to: 'Genève' } })
  await until('it is stuck again', async () => (await stuckRows(sagaId)) === 2)
  broken.delete(`${sagaId} second`)
  await decide(sagaId, { step: 'second', action: 'retry', ...hers })
  expect(await sagas.ended(sagaId)).toMatchObject({ status: 'COMPENSATED' })
})

test.concurrent('a corrected input that is a text is taken as it is', async () => {
  const sagaId = randomUUID()
  refusing.add(`${sagaId} third`)
  picky.set(`${sagaId} second`, ' Genève ')
  await engine.start('stackSaga', { to: 'Zürich' }, { sagaId })
  await needsAttention(sagaId)
  await decide(sagaId, { step: 'second', action: 'retry', ...hers, input: ' Genève ' })
  expect(await sagas.ended(sagaId)).toMatchObject({ status: 'COMPENSATED' })
})

test.concurrent('an update is taken with its texts trimmed, like a decision by HTTP', async () => {
  const sagaId = await startStuck()
  const decision = { step: ' second', action: 'skip', reason: ` ${'🙃'.repeat(500)} `, actor: 'grace ' }
  const handle = client.workflow.getHandle(sagaId)
  await handle.executeUpdate('decide', { args: [decision] })
  const saga = await sagas.ended(sagaId)
  expect(saga.compensations[1]).toMatchObject({ status: 'skipped', reason: '🙃'.repeat(500), actor: 'grace' })
  expect(await decide(sagaId, decision)).toMatchObject({ status: 200 })
})

test.concurrent('a cancel of a saga that waits changes nothing, by whatever door it comes', async () => {
  const sagaId = await startStuck()
  const before = await sagas.get(sagaId)
  const answer = await sagas.post(`/saga/${sagaId}/cancel`, { reason: 'no longer needed' })
  expect({ status: answer.status, body: await answer.json() }).toMatchObject({
    status: 202,
    body: { status: 'NEEDS_ATTENTION' },
  })
  await client.workflow.getHandle(sagaId).cancel()
  expect(await client.workflow.getHandle(sagaId).query('state')).toMatchObject({ status: 'NEEDS_ATTENTION' })
  expect(await sagas.get(sagaId)).toEqual(before)
  broken.delete(`${sagaId} second`)
  await decide(sagaId, { step: 'second', action: 'retry', ...hers })
  expect(await sagas.ended(sagaId)).toMatchObject({ status: 'COMPENSATED', error: { type: 'Rejected' } })
  expect(await failureOf(sagaId)).toMatchObject({ type: 'SagaCompensated', details: [{ failedStep: 'third' }] })
})

test.concurrent('a cancel by the CLI of a saga that waits behind its point of no return changes nothing', async () => {
  const sagaId = await startStuckTrip()
  await client.workflow.getHandle(sagaId).cancel()
  expect(await client.workflow.getHandle(sagaId).query('state')).toMatchObject({ status: 'NEEDS_ATTENTION' })
  refusing.delete(`${sagaId} ticket`)
  await decide(sagaId, { step: 'ticket', action: 'retry', ...hers })
  expect(await sagas.ended(sagaId)).toMatchObject({ status: 'COMPLETED', ticket: 'ticket' })
  expect(await sagas.closing(sagaId)).toEqual({ status: 'COMPLETED' })
})

test.concurrent('a decision on a saga whose run is gone is taken, and carried out by the next run', async () => {
  const [resolved, corrected] = [await startStuck(), randomUUID()]
  refusing.add(`${corrected} third`)
  picky.set(`${corrected} second`, 'Genève')
  await engine.start('stackSaga', { to: 'Zürich' }, { sagaId: corrected })
  await needsAttention(corrected)
  for (const sagaId of [resolved, corrected]) await client.workflow.getHandle(sagaId).terminate('by mistake')
  const decisions = [
    [resolved, { step: 'second', action: 'resolve', ...hers }],
    [corrected, { step: 'second', action: 'retry', ...hers, input: { to: 'Genève' } }],
  ] as const
  for (const [sagaId, decision] of decisions) {
    expect(await decide(sagaId, decision)).toMatchObject({ status: 200, answer: { status: 'COMPENSATING' } })
    // What the sweep does once it has found the run gone, and need not be waited for.
    expect(await engine.starter.recover(sagaId, 'its run was terminated')).toBe('started')
  }
  expect(await sagas.ended(resolved)).toMatchObject({
    status: 'COMPENSATED',
    failedStep: 'third',
    compensations: [{}, { step: 'second', status: 'resolved', ...hers }, { step: 'first', status: 'done' }],
  })
  expect(await engine.effects(resolved)).toEqual(['second'])
  expect(await sagas.ended(corrected)).toMatchObject({
    status: 'COMPENSATED',
    compensations: [{}, { step: 'second', status: 'done', ...hers }, { step: 'first', status: 'done' }],
  })
  expect(await engine.effects(corrected)).toEqual([])
})

test.concurrent('a decision that is sent again gets the answer of the first, also when the saga has ended', async () => {
  const sagaId = randomUUID()
  refusing.add(`${sagaId} third`)
  picky.set(`${sagaId} second`, 'Genève')
  await engine.start('stackSaga', { to: 'Zürich' }, { sagaId })
  await needsAttention(sagaId)
  const corrected = { step: 'second', action: 'retry', ...hers, input: { to: 'Genève' } }
  expect(await decide(sagaId, corrected)).toMatchObject({ status: 200 })
  expect(await decide(sagaId, corrected)).toMatchObject({ status: 200 })
  const saga = await sagas.ended(sagaId)
  expect(await decide(sagaId, corrected)).toMatchObject({ status: 200, answer: { status: 'COMPENSATED' } })
  expect(await decide(sagaId, { ...corrected, input: { to: 'Bern' } })).toMatchObject({ status: 409 })
  expect(await decide(sagaId, { ...corrected, actor: 'ada' })).toMatchObject({ status: 409 })
  expect(await sagas.get(sagaId)).toEqual(saga)
  expect((await sagas.log(sagaId)).filter((row) => row.endsWith('decision'))).toHaveLength(1)
})

test.concurrent.each([2, 10])('of %i decisions at once, by HTTP and by update, one is taken', async (count) => {
  const sagaId = await startStuck()
  const handle = client.workflow.getHandle(sagaId)
  const decisions = Array.from({ length: count }, (_, i) => ({
    step: 'second',
    action: i % 2 === 0 ? 'resolve' : 'skip',
    reason: `reason ${i}`,
    actor: `actor ${i}`,
  }))
  const taken = await Promise.all(
    decisions.map(async (decision, i) => {
      if (i % 3 !== 1) return (await decide(sagaId, decision)).status
      try {
        await handle.executeUpdate('decide', { args: [decision] })
        return 200
      } catch (error) {
        const { cause } = error as WorkflowUpdateFailedError
        return cause instanceof ApplicationFailure && cause.type === 'DecisionRefused' ? 409 : error
      }
    }),
  )
  expect(taken.filter((one) => one !== 409)).toEqual([200])
  const winner = decisions[taken.indexOf(200)]
  const saga = await sagas.ended(sagaId)
  expect(saga.status).toBe(winner?.action === 'resolve' ? 'COMPENSATED' : 'PARTIALLY_COMPENSATED')
  expect(saga.compensations[1]).toMatchObject({ actor: winner?.actor, reason: winner?.reason })
  const words = (await sagas.logRows(sagaId)).filter(({ status }) => status === 'decision')
  expect(words.map(({ message }) => message)).toEqual([`${winner?.action} by ${winner?.actor}: ${winner?.reason}`])
})

const good = { step: 'second', action: 'retry', ...hers }
const refusedUpdates: [what: string, decision: unknown, sentence: string][] = [
  ['nothing', undefined, 'is an object'],
  ['null', null, 'is an object'],
  ['a text', 'retry', 'is an object'],
  ['a list', [good], 'is an object'],
  ['no step', { ...good, step: undefined }, 'step must be'],
  ['a step that is no text', { ...good, step: 7 }, 'step must be'],
  ['an unknown action', { ...good, action: 'undo' }, 'action must be one of retry, resolve, skip'],
  ['no action', { ...good, action: undefined }, 'action must be'],
  ['an empty reason', { ...good, reason: ' ' }, 'reason must be'],
  ['a reason too long', { ...good, reason: 'r'.repeat(501) }, 'reason must be'],
  ['a reason with a control character', { ...good, reason: 'a\nb' }, 'reason must be'],
  ['half a character', { ...good, reason: 'a\ud800' }, 'reason must be'],
  ['a reason of nothing visible', { ...good, reason: '\u200b' }, 'reason must be'],
  ['no actor', { ...good, actor: undefined }, 'actor must be'],
  ['an actor too long', { ...good, actor: 'a'.repeat(101) }, 'actor must be'],
  ['an unknown field', { ...good, force: true }, 'force is not a field'],
  ['an input with a NUL', { ...good, input: { a: '\0' } }, 'input/a holds a NUL'],
  ['an input with 2^53', { ...good, input: [2 ** 53] }, 'input/0 is a number that loses digits'],
  [
    'an input of 200 levels',
    { ...good, input: JSON.parse('['.repeat(200) + ']'.repeat(200)) },
    'is nested more than 100 levels deep',
  ],
  ['an input with resolve', { ...good, action: 'resolve', input: {} }, 'input goes with retry only'],
  ['another step than the one that waits', { ...good, step: 'first' }, 'does not wait for a decision on first'],
  ['a step that is not declared', { ...good, step: 'fourth' }, 'does not wait for a decision on fourth'],
]

test.concurrent('an update that is not right, or that nothing waits for, is refused and leaves no event', async () => {
  const sagaId = await startStuck()
  const handle = client.workflow.getHandle(sagaId)
  const lengthOf = async () => (await handle.fetchHistory()).events?.length
  const before = await until('the run has come to rest', async () => {
    const length = await lengthOf()
    await handle.query('state')
    return length === (await lengthOf()) && length
  })
  for (const [what, decision, sentence] of refusedUpdates) {
    const error = await handle.executeUpdate('decide', { args: [decision] }).catch((error: unknown) => error)
    const { cause } = error as WorkflowUpdateFailedError
    expect({ what, cause }).toMatchObject({
      what,
      cause: { type: 'DecisionRefused', message: expect.stringContaining(sentence) },
    })
  }
  expect(await lengthOf()).toBe(before)
  await decide(sagaId, { step: 'second', action: 'resolve', ...hers })
  expect(await sagas.ended(sagaId)).toMatchObject({ status: 'COMPENSATED' })
})

test.concurrent('a decision for a saga that goes forward, or has ended, finds nothing to decide', async () => {
  const sagaId = randomUUID()
  let open = () => {}
  gates.set(`${sagaId} third`, new Promise((resolve) => (open = resolve)))
  await engine.start('stackSaga', { to: 'Zürich' }, { sagaId })
  await sagas.logged(sagaId, 'second success 1')
  expect(await decide(sagaId, good)).toMatchObject({
    status: 409,
    answer: { detail: expect.stringContaining('RUNNING') },
  })
  open()
  const saga = await sagas.ended(sagaId)
  expect(await decide(sagaId, good)).toMatchObject({
    status: 409,
    answer: { detail: expect.stringContaining('COMPLETED') },
  })
  expect(await sagas.get(sagaId)).toEqual(saga)
})

test.concurrent('a saga decided again and again waits in a new run, with its stack, its order and its state', async () => {
  const sagaId = await startStuck()
  await waitInNewRun(sagaId, 'second')
  const handle = client.workflow.getHandle(sagaId)
  const { links, ...saga } = await needsAttention(sagaId).then((saga) => saga as SagaView & { links: unknown })
  expect(saga.compensations).toMatchObject([
    { step: 'third', status: 'empty' },
    { step: 'second', status: 'stuck', ...hers },
    { step: 'first', status: 'pending' },
  ])
  // The row is ahead of the run by the moment in which the run hears that it is written.
  const state = await until('the run waits too', async () => {
    const now = await handle.query<SagaView>('state')
    return now.status === 'NEEDS_ATTENTION' && now
  })
  expect(state).toEqual(saga)
  expect((await handle.query<Plan>('plan')).steps.map(({ step }) => step)).toEqual(['second', 'first'])
  expect(await engine.effects(sagaId)).toEqual(['first', 'second'])

  await retryInVain(sagaId, 'second')
  broken.delete(`${sagaId} second`)
  const answer = await handle.executeUpdate<SagaView, [object]>('decide', { args: [good] })
  expect(answer.sagaId).toBe(sagaId)
  expect(await sagas.ended(sagaId)).toMatchObject({ status: 'COMPENSATED', failedStep: 'third' })
  expect(await engine.effects(sagaId)).toEqual([])
  const log = await sagas.log(sagaId)
  expect(log.filter((row) => row === 'ROLLBACK triggered')).toHaveLength(1)
  expect(log.filter((row) => row.endsWith('stuck'))).toHaveLength(log.filter((row) => row.endsWith('decision')).length)
  expect(log.indexOf('COMPENSATE_first success 1')).toBeGreaterThan(
    log.findLastIndex((row) => row.includes('_second success')),
  )
  const failure = await failureOf(sagaId)
  expect(failure).toMatchObject({ type: 'SagaCompensated', details: [{ failedStep: 'third' }] })
})

test.concurrent('a cancelled saga that waits for a person closes as Canceled once it is undone', async () => {
  const sagaId = await startStuckCancelled()
  broken.delete(`${sagaId} second`)
  await decide(sagaId, { step: 'second', action: 'retry', ...hers })
  expect(await sagas.ended(sagaId)).toMatchObject({ status: 'COMPENSATED', error: { type: 'Cancelled' } })
  expect(await sagas.closing(sagaId)).toEqual({ status: 'CANCELED' })
})

test.concurrent('a cancelled saga that has waited in a new run closes as SagaCompensated with cause Cancelled', async () => {
  const sagaId = await startStuckCancelled()
  await waitInNewRun(sagaId, 'second')
  broken.delete(`${sagaId} second`)
  await decide(sagaId, { step: 'second', action: 'retry', ...hers })
  expect(await sagas.ended(sagaId)).toMatchObject({
    status: 'COMPENSATED',
    error: { type: 'Cancelled', message: 'cancelled by ada: no longer needed' },
  })
  expect(await engine.effects(sagaId)).toEqual([])
  expect(await failureOf(sagaId)).toMatchObject({
    type: 'SagaCompensated',
    cause: { type: 'Cancelled', message: 'cancelled by ada: no longer needed' },
  })
})

test.concurrent('a step behind the point of no return that is refused waits, and is retried or done by hand, never skipped', async () => {
  const sagaId = await startStuckTrip()
  expect(await sagas.get(sagaId)).toMatchObject({
    steps: [
      {},
      {},
      { status: 'succeeded' },
      { step: 'ticket', status: 'stuck' },
      { step: 'letter', status: 'pending' },
    ],
    compensations: [],
  })
  const [stuck] = (await sagas.logRows(sagaId)).filter(({ status }) => status === 'stuck')
  expect(stuck).toMatchObject({ service: 'ticket', message: expect.stringMatching(/decide: retry or resolve/) })
  expect(await decide(sagaId, { step: 'ticket', action: 'skip', ...hers })).toMatchObject({ status: 409 })
  const cancel = await sagas.post(`/saga/${sagaId}/cancel`, { reason: 'no longer needed' })
  expect(cancel.status).toBe(409)
  await retryInVain(sagaId, 'ticket')
  expect(await decide(sagaId, { step: 'ticket', action: 'resolve', ...hers })).toMatchObject({ status: 200 })
  expect(await sagas.ended(sagaId)).toMatchObject({ status: 'COMPLETED', ticket: 'by hand' })
  expect(await engine.effects(sagaId)).toEqual(['flight', 'hotel', 'charge', 'letter'])
})

test.concurrent('a step behind the point of no return waits in a new run too, and goes on from there', async () => {
  const sagaId = await startStuckTrip()
  await waitInNewRun(sagaId, 'ticket')
  expect(await needsAttention(sagaId)).toMatchObject({ steps: [{}, {}, {}, { step: 'ticket', status: 'stuck' }, {}] })
  await retryInVain(sagaId, 'ticket')
  refusing.delete(`${sagaId} ticket`)
  await decide(sagaId, { step: 'ticket', action: 'retry', ...hers })
  expect(await sagas.ended(sagaId)).toMatchObject({ status: 'COMPLETED', by: 'charge', ticket: 'ticket' })
  expect(await engine.effects(sagaId)).toEqual(['flight', 'hotel', 'charge', 'ticket', 'letter'])
  // The new run follows the code from its beginning, and the barrier answers what is done.
  const again = (await sagas.logRows(sagaId)).filter(({ service, attempt }) => attempt === 2 && service !== 'ticket')
  const unchanged = expect.stringMatching(/earlier attempt; its result was kept \(.+ changes nothing\)/)
  expect(again.map(({ service, message }) => ({ service, message }))).toEqual([
    { service: 'flight', message: unchanged },
    { service: 'hotel', message: unchanged },
    { service: 'charge', message: unchanged },
  ])
})

test.concurrent.each(['resolve', 'skip'] as const)(
  'a compensation that was on its way when an operator decided %s changes nothing, from the decision on',
  async (action) => {
    const sagaId = randomUUID()
    broken.add(`${sagaId} first`)
    refusing.add(`${sagaId} third`)
    broken.add(`${sagaId} second`)
    await engine.start('stackSaga', { to: 'Zürich' }, { sagaId })
    await needsAttention(sagaId)
    expect(await decide(sagaId, { step: 'second', action, ...hers })).toMatchObject({ status: 200 })
    // It has acted on the decision, and is stuck on the next step.
    await sagas.logged(sagaId, 'COMPENSATE_first stuck')
    broken.delete(`${sagaId} second`)
    expect(await participant('second', undefined).compensate({ sagaId, step: 'second' })).toBe('forbidden')
    expect(await engine.effects(sagaId)).toEqual(['first', 'second'])
    broken.delete(`${sagaId} first`)
    expect(await decide(sagaId, { step: 'first', action: 'retry', ...hers })).toMatchObject({ status: 200 })
    await sagas.ended(sagaId)
    expect(await engine.effects(sagaId)).toEqual(['second'])
  },
)

test('every run replays', async () => {
  expect(await engine.replay()).toBe(sagas.started.length)
})

import { randomUUID } from 'node:crypto'
import { expect, test } from '@jest/globals'
import type { FailuresInput } from '../../src/saga/failure.js'
import { everywhere, nowhere, Sagas, testReplay } from '../helpers/sagas.js'
import { query, readShared } from '../helpers/shared.js'

// Side by side, for a call that hangs takes its 5 s.
const sagas = new Sagas(readShared().system)

async function cancel(sagaId: string, body: unknown = { reason: 'changed my mind', actor: 'grace' }) {
  const response = await sagas.post(`/saga/${encodeURIComponent(sagaId)}/cancel`, body)
  return { status: response.status, headers: response.headers, answer: await response.json() }
}

/** A saga whose C is under way and does not answer. */
async function startHanging(failures: FailuresInput = {}): Promise<string> {
  const sagaId = await sagas.start({ C: { mode: 'first', n: 1, kind: 'hang' }, ...failures })
  await sagas.logged(sagaId, 'B success 1')
  return sagaId
}

const rollbacks = async (sagaId: string) =>
  (await sagas.logRows(sagaId)).filter(({ service }) => service === 'ROLLBACK').map(({ message }) => message)

test.concurrent('a cancelled saga is undone, and says who cancelled it and why', async () => {
  const sagaId = await startHanging()
  const { status, headers, answer } = await cancel(sagaId, { reason: ' changed my mind ', actor: 'grace ' })
  expect(status).toBe(202)
  expect(headers.get('location')).toBe(`/saga/${sagaId}`)
  expect(answer).toMatchObject({ sagaId, links: { self: `/saga/${sagaId}` } })
  const saga = await sagas.ended(sagaId)
  expect(saga).toMatchObject({
    status: 'COMPENSATED',
    error: { type: 'Cancelled', message: 'cancelled by grace: changed my mind' },
    steps: [{ status: 'succeeded' }, { status: 'succeeded' }, { status: 'failed', outcome: 'unknown' }],
    compensations: [
      { step: 'C', status: 'empty' },
      { step: 'B', status: 'done' },
      { step: 'A', status: 'done' },
    ],
  })
  expect(saga).not.toHaveProperty('failedStep')
  expect(await sagas.log(sagaId)).toEqual([
    'SAGA started',
    ...['A success 1', 'B success 1', 'C failed 1'],
    'ROLLBACK triggered',
    ...['COMPENSATE_C skipped 1', 'COMPENSATE_B success 1', 'COMPENSATE_A success 1'],
    ...['COMPENSATE_C verified', 'COMPENSATE_B verified', 'COMPENSATE_A verified'],
    'SAGA compensated',
  ])
  expect(await rollbacks(sagaId)).toEqual(['cancelled by grace: changed my mind'])
  expect(await sagas.rows(sagaId)).toEqual(nowhere)
  expect(await sagas.closing(sagaId)).toEqual({ status: 'CANCELED' })
})

test.concurrent('who cancels without a name is anonymous', async () => {
  const sagaId = await startHanging()
  expect(await cancel(sagaId, { reason: 'no longer needed' })).toMatchObject({ status: 202 })
  await sagas.ended(sagaId)
  expect(await rollbacks(sagaId)).toEqual(['cancelled by anonymous: no longer needed'])
})

test.concurrent('a saga that waits for its second attempt is undone too', async () => {
  const sagaId = await sagas.start({ B: { mode: 'first', n: 2, when: 'after', kind: 'hang' } })
  await sagas.logged(sagaId, 'B failed 1')
  expect(await cancel(sagaId)).toMatchObject({ status: 202 })
  expect(await sagas.ended(sagaId)).toMatchObject({ status: 'COMPENSATED', error: { type: 'Cancelled' } })
  expect(await sagas.rows(sagaId)).toEqual(nowhere)
  expect(await sagas.closing(sagaId)).toEqual({ status: 'CANCELED' })
})

test.concurrent('cancelling again, before and during the rollback, is a 202 that changes nothing; after it a 409', async () => {
  const sagaId = await startHanging({ A: { mode: 'first', n: 3, on: 'compensate' } })
  expect(await cancel(sagaId, { reason: 'the first' })).toMatchObject({ status: 202 })
  expect(await cancel(sagaId, { reason: 'the second' })).toMatchObject({ status: 202, answer: { status: 'RUNNING' } })
  await sagas.logged(sagaId, 'COMPENSATE_A failed 1')
  expect(await cancel(sagaId, { reason: 'the third' })).toMatchObject({
    status: 202,
    answer: { sagaId, status: 'COMPENSATING' },
  })
  const saga = await sagas.ended(sagaId)
  expect(saga).toMatchObject({ status: 'COMPENSATED', error: { message: 'cancelled by anonymous: the first' } })
  expect(await rollbacks(sagaId)).toEqual(['cancelled by anonymous: the first'])

  const log = await sagas.log(sagaId)
  const late = await cancel(sagaId, { reason: 'the fourth' })
  expect(late).toMatchObject({
    status: 409,
    answer: { title: 'Conflict', detail: expect.stringContaining('COMPENSATED') },
  })
  expect(late.headers.get('content-type')).toContain('application/problem+json')
  expect(await sagas.get(sagaId)).toEqual(saga)
  expect(await sagas.log(sagaId)).toEqual(log)
})

test.concurrent('a saga that rolls back for a reason of its own keeps it', async () => {
  const sagaId = await sagas.start({
    C: { mode: 'always', kind: 'reject' },
    A: { mode: 'first', n: 3, on: 'compensate' },
  })
  await sagas.logged(sagaId, 'COMPENSATE_A failed 1')
  expect(await cancel(sagaId)).toMatchObject({ status: 202 })
  expect(await sagas.ended(sagaId)).toMatchObject({
    status: 'COMPENSATED',
    failedStep: 'C',
    error: { type: 'Rejected' },
  })
  expect(await sagas.rows(sagaId)).toEqual(nowhere)
  expect(await rollbacks(sagaId)).toEqual([expect.stringContaining('step C failed for good')])
})

test.concurrent('a completed saga is not cancelled', async () => {
  const saga = await sagas.run()
  const { status, answer } = await cancel(saga.sagaId)
  expect(status).toBe(409)
  expect(answer.detail).toContain('COMPLETED')
  expect(await sagas.get(saga.sagaId)).toEqual(saga)
  expect(await sagas.rows(saga.sagaId)).toEqual(everywhere)
})

test.concurrent("an unknown saga can't be cancelled", async () => {
  const sagaId = randomUUID()
  const { status, answer } = await cancel(sagaId)
  expect(status).toBe(404)
  expect(answer).toMatchObject({ status: 404, title: 'Not Found', detail: expect.stringContaining(sagaId) })
})

test.concurrent('a cancel that is not right is refused with the place, and the saga goes on', async () => {
  const reason = 'changed my mind'
  const bodies: [body: unknown, path: string][] = [
    [{}, '/reason'],
    [{ actor: 'grace' }, '/reason'],
    [{ reason: '' }, '/reason'],
    [{ reason: ' \u200b ' }, '/reason'],
    [{ reason: 1 }, '/reason'],
    [{ reason: null }, '/reason'],
    [{ reason: 'a\u0000b' }, '/reason'],
    [{ reason: 'a\nb' }, '/reason'],
    [{ reason: 'a\ud800' }, '/reason'],
    [{ reason: 'r'.repeat(501) }, '/reason'],
    [{ reason, actor: '' }, '/actor'],
    [{ reason, actor: 5 }, '/actor'],
    [{ reason, actor: 'a'.repeat(101) }, '/actor'],
    [{ reason, force: true }, '/force'],
    [[], ''],
    ['null', ''],
  ]
  const sagaId = await startHanging()
  for (const [body, path] of bodies) {
    const { status, answer } = await cancel(sagaId, body)
    expect({ body, status, errors: answer.errors }).toMatchObject({ body, status: 400, errors: [{ path }] })
  }
  expect(await cancel(sagaId, '{')).toMatchObject({ status: 400, answer: { status: 400 } })
  expect(await sagas.ended(sagaId)).toMatchObject({ status: 'COMPLETED' })
  expect(await sagas.rows(sagaId)).toEqual(everywhere)
})

test.concurrent('a reason of 500 emoji is one', async () => {
  const sagaId = await startHanging()
  const reason = '🙃'.repeat(500)
  expect(await cancel(sagaId, { reason })).toMatchObject({ status: 202 })
  await sagas.ended(sagaId)
  expect(await rollbacks(sagaId)).toEqual([`cancelled by anonymous: ${reason}`])
})

test.concurrent('a cancel by the temporal CLI undoes the saga', async () => {
  const sagaId = await startHanging()
  await sagas.temporal('workflow', 'cancel', '-w', sagaId)
  expect(await sagas.ended(sagaId)).toMatchObject({ status: 'COMPENSATED', error: { type: 'Cancelled' } })
  expect(await sagas.rows(sagaId)).toEqual(nowhere)
  expect(await rollbacks(sagaId)).toEqual(['cancelled from outside the API, with no reason given'])
  expect(await sagas.closing(sagaId)).toEqual({ status: 'CANCELED' })
})

test.concurrent('of 40 sagas cancelled as soon as they are accepted each is whole or gone, as its cancel was answered', async () => {
  const one = async () => {
    const sagaId = await sagas.start()
    const { status } = await cancel(sagaId)
    const saga = await sagas.ended(sagaId)
    return { status, ended: saga.status, error: saga.error?.type, rows: await sagas.rows(sagaId) }
  }
  const cancelled = { status: 202, ended: 'COMPENSATED', error: 'Cancelled', rows: nowhere }
  const tooLate = { status: 409, ended: 'COMPLETED', error: undefined, rows: everywhere }
  const outcomes = await Promise.all(Array.from({ length: 40 }, one))
  for (const outcome of outcomes) expect([cancelled, tooLate]).toContainEqual(outcome)
})

test('after all of this no saga has a row in a table that it should not have', async () => {
  const strays = await query(
    sagas.where.database,
    `SELECT saga_id FROM saga s WHERE fate = 'rolledBack' AND saga_id = ANY($1) AND (
       EXISTS (SELECT FROM table_a WHERE saga_id = s.saga_id) OR EXISTS (SELECT FROM table_b WHERE saga_id = s.saga_id)
       OR EXISTS (SELECT FROM table_c WHERE saga_id = s.saga_id))`,
    [sagas.started],
  )
  expect(strays).toEqual([])
})

testReplay(() => sagas)

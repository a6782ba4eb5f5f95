import { afterAll, expect, test } from '@jest/globals'
import { makePool } from '../../src/saga/node/db.js'
import { makeParticipants } from '../../src/saga/node/participants.js'
import type { AnyService } from '../../src/saga/node/barrier.js'
import type { FailuresInput } from '../../src/saga/failure.js'
import type { Json } from '../../src/saga/types.js'
import { startEngine } from '../helpers/engine.js'
import { query } from '../helpers/shared.js'
import { cancel, decide, expectAgreement, Gated, parked } from './gates.js'

const names = ['flight', 'hotel', 'charge', 'ticket', 'letter']
const gated = new Gated()
/** The flight can be looked for, in the way that the saga's input says. */
const probing = {
  ...gated.service('flight'),
  async probe(tx, { sagaId, input }) {
    const { probe } = input as { probe?: 'looks' | 'throws' | 'hangs' }
    if (probe === 'throws') throw new Error('the probe fails')
    if (probe === 'hangs') await tx.query('SELECT pg_sleep(2)')
    const { rowCount } = await tx.query(`SELECT FROM effect WHERE saga_id = $1 AND service = 'flight'`, [sagaId])
    return rowCount ? { applied: true, result: { by: 'flight' } } : { applied: false }
  },
} satisfies AnyService
const services: AnyService[] = [probing, ...names.slice(1).map((name) => gated.service(name))]
const engine = await startEngine('kinds', {
  workflows: new URL('./sagas.ts', import.meta.url),
  services,
  types: ['tripSaga', 'sideBySideSaga', 'napSaga'],
})
const { sagas } = engine
const pool = makePool(sagas.where.database, { max: 2, name: 'late calls' })
const participant = makeParticipants(services, pool, { failureInjection: false })
afterAll(async () => {
  await pool.end()
  await engine.stop()
})

const trip = { to: 'Zürich' }
const doors = ['API', 'CLI'] as const

async function rollbacks(sagaId: string): Promise<number> {
  return (await sagas.log(sagaId)).filter((row) => row.startsWith('ROLLBACK')).length
}

test.concurrent('a trip goes forward to its end', async () => {
  const sagaId = await engine.start('tripSaga', trip)
  expect(await sagas.ended(sagaId)).toMatchObject({ status: 'COMPLETED', by: 'charge', ticket: 'ticket' })
  expect(await engine.effects(sagaId)).toEqual(names)
  await sagas.closing(sagaId)
  await expectAgreement(engine, sagaId)
})

test.concurrent('a pivot that fails after its commit is applied: the saga goes on', async () => {
  const failures: FailuresInput = { charge: { mode: 'always', when: 'after' } }
  const sagaId = await engine.start('tripSaga', trip, { failures })
  expect(await sagas.ended(sagaId)).toMatchObject({ status: 'COMPLETED' })
  expect(await engine.effects(sagaId)).toEqual(names)
  expect(await sagas.log(sagaId)).toEqual([
    'SAGA started',
    ...[
      'flight success 1',
      'hotel success 1',
      'charge failed 1',
      'charge failed 2',
      'charge failed 3',
      'charge success',
    ],
    ...['ticket success 1', 'letter success 1'],
    'SAGA completed',
  ])
})

test.concurrent('a pivot that fails before its commit rolls the saga back', async () => {
  const failures: FailuresInput = { charge: { mode: 'always', when: 'before' } }
  const sagaId = await engine.start('tripSaga', trip, { failures })
  expect(await sagas.ended(sagaId)).toMatchObject({ status: 'COMPENSATED', failedStep: 'charge' })
  expect(await engine.effects(sagaId)).toEqual([])
  expect(await sagas.log(sagaId)).toEqual([
    'SAGA started',
    ...['flight success 1', 'hotel success 1', 'charge failed 1', 'charge failed 2', 'charge failed 3'],
    'COMPENSATE_charge skipped 1',
    'ROLLBACK triggered',
    ...['COMPENSATE_hotel success 1', 'COMPENSATE_flight success 1'],
    ...['COMPENSATE_charge verified', 'COMPENSATE_hotel verified', 'COMPENSATE_flight verified'],
    'SAGA compensated',
  ])
})

test.concurrent('a pivot that refuses rolls the saga back with its refusal', async () => {
  const sagaId = await engine.start('tripSaga', { ...trip, refuse: ['charge invoke'] })
  const error = { type: 'Rejected', message: 'charge invoke is refused' }
  expect(await sagas.ended(sagaId)).toMatchObject({ status: 'COMPENSATED', failedStep: 'charge', error })
  expect(await engine.effects(sagaId)).toEqual([])
  expect(await sagas.closing(sagaId)).toMatchObject({
    status: 'FAILED',
    failure: { type: 'SagaCompensated', details: { failedStep: 'charge', error } },
  })
  await expectAgreement(engine, sagaId)
})

test.concurrent('a pivot that hangs and commits behind its time-out is applied: the saga goes on', async () => {
  const failures: FailuresInput = { charge: { mode: 'always', kind: 'hang' } }
  const sagaId = await engine.start('tripSaga', trip, { failures })
  expect(await sagas.ended(sagaId)).toMatchObject({ status: 'COMPLETED', by: 'charge' })
  expect(await engine.effects(sagaId)).toEqual(names)
})

test.concurrent('a pivot that hangs is rolled back once somebody cancels, and its late call is refused', async () => {
  const failures: FailuresInput = { charge: { mode: 'always', kind: 'hang' } }
  const sagaId = await engine.start('tripSaga', trip, { failures })
  await sagas.logged(sagaId, 'hotel success 1')
  expect(await cancel(engine, sagaId, 'API')).toBe(202)
  expect(await sagas.ended(sagaId)).toMatchObject({ status: 'COMPENSATED', error: { type: 'Cancelled' } })
  const late = participant('charge', undefined).invoke({ sagaId, step: 'charge', input: trip })
  await expect(late).rejects.toMatchObject({ type: 'LateInvoke', nonRetryable: true })
  expect(await engine.effects(sagaId)).toEqual([])
})

test.concurrent.each(doors)('a cancel by the %s while the pivot is under way leaves an applied one', async (door) => {
  const sagaId = await engine.start('tripSaga', { ...trip, hold: 'charge invoke' })
  const gate = gated.at(sagaId)
  await gate.reached
  expect(await cancel(engine, sagaId, door)).toBe(202)
  gate.open()
  expect(await sagas.ended(sagaId)).toMatchObject({ status: 'COMPLETED' })
  expect(await engine.effects(sagaId)).toEqual(names)
  expect(await rollbacks(sagaId)).toBe(0)
  expect(await sagas.closing(sagaId)).toEqual({ status: 'COMPLETED' })
})

test.concurrent.each(doors)('a cancel by the %s while a pivot is under way that fails undoes it all', async (door) => {
  const sagaId = await engine.start('tripSaga', { ...trip, hold: 'charge invoke', fail: 'charge invoke' })
  const gate = gated.at(sagaId)
  await gate.reached
  expect(await cancel(engine, sagaId, door)).toBe(202)
  gate.open()
  const saga = await sagas.ended(sagaId)
  expect(saga).toMatchObject({ status: 'COMPENSATED', error: { type: 'Cancelled' } })
  expect(saga).not.toHaveProperty('failedStep')
  expect(await engine.effects(sagaId)).toEqual([])
  expect(await rollbacks(sagaId)).toBe(1)
  expect(await sagas.closing(sagaId)).toEqual({ status: 'CANCELED' })
})

test.concurrent('a saga past its pivot is not cancelled: the API says so, the CLI changes nothing', async () => {
  const sagaId = await engine.start('tripSaga', { ...trip, hold: 'ticket invoke' })
  const gate = gated.at(sagaId)
  await gate.reached
  expect(await cancel(engine, sagaId, 'API')).toBe(409)
  const row = await query(sagas.where.database, 'SELECT cancel FROM saga WHERE saga_id = $1', [sagaId])
  expect(row).toEqual([{ cancel: null }])
  await cancel(engine, sagaId, 'CLI')
  gate.open()
  expect(await sagas.ended(sagaId)).toMatchObject({ status: 'COMPLETED' })
  expect(await engine.effects(sagaId)).toEqual(names)
  expect(await rollbacks(sagaId)).toBe(0)
  expect(await sagas.closing(sagaId)).toEqual({ status: 'COMPLETED' })
})

test.concurrent('a cancel that was acknowledged before the pivot began wins, also where Temporal never heard of it', async () => {
  const sagaId = await engine.start('tripSaga', { ...trip, hold: 'hotel invoke' })
  const gate = gated.at(sagaId)
  await gate.reached
  await engine.store.requestCancel(sagaId, { reason: 'changed my mind', actor: 'grace' })
  gate.open()
  expect(await sagas.ended(sagaId)).toMatchObject({
    status: 'COMPENSATED',
    error: { type: 'Cancelled', message: 'cancelled by grace: changed my mind' },
  })
  expect(await engine.effects(sagaId)).toEqual([])
})

test.concurrent('a retriable step is tried until it succeeds', async () => {
  const sagaId = await engine.start('tripSaga', trip, { failures: { ticket: { mode: 'first', n: 4 } } })
  expect(await sagas.ended(sagaId)).toMatchObject({ status: 'COMPLETED', ticket: 'ticket' })
  expect((await sagas.log(sagaId)).filter((row) => row.startsWith('ticket'))).toEqual([
    ...['ticket failed 1', 'ticket failed 2', 'ticket failed 3', 'ticket failed 4'],
    'ticket success 5',
  ])
})

test.concurrent('a retriable step that refuses parks the saga; with corrected input it succeeds', async () => {
  const sagaId = await engine.start('tripSaga', { ...trip, refuse: ['ticket invoke'] })
  expect(await parked(engine, sagaId)).toEqual(['ticket'])
  await expectAgreement(engine, sagaId)
  expect(await decide(engine, sagaId, { step: 'ticket', action: 'skip' })).toBe(409)
  expect(await decide(engine, sagaId, { step: 'letter', action: 'retry' })).toBe(409)
  expect(await decide(engine, sagaId, { step: 'ticket', action: 'retry' })).toBe(200)
  await sagas.logged(sagaId, 'ticket failed 2')
  expect(await parked(engine, sagaId)).toEqual(['ticket'])
  const input: Json = { to: 'Bern' }
  expect(await decide(engine, sagaId, { step: 'ticket', action: 'retry', input })).toBe(200)
  expect(await sagas.ended(sagaId)).toMatchObject({ status: 'COMPLETED', ticket: 'ticket' })
  expect((await sagas.log(sagaId)).filter((row) => /^(ticket|ROLLBACK|COMPENSATE)/.test(row))).toEqual([
    ...['ticket failed 1', 'ticket stuck', 'ticket decision'],
    ...['ticket failed 2', 'ticket stuck', 'ticket decision'],
    'ticket success 3',
  ])
  const made = await query(sagas.where.database, `SELECT input FROM effect WHERE saga_id = $1 AND service = 'ticket'`, [
    sagaId,
  ])
  expect(made).toEqual([{ input }])
  await sagas.closing(sagaId)
  await expectAgreement(engine, sagaId)
})

test.concurrent('a retriable step that is done by hand gives no result, and the saga completes', async () => {
  const sagaId = await engine.start('tripSaga', { ...trip, refuse: ['ticket invoke'] })
  expect(await parked(engine, sagaId)).toEqual(['ticket'])
  expect(await decide(engine, sagaId, { step: 'ticket', action: 'resolve' })).toBe(200)
  expect(await sagas.ended(sagaId)).toMatchObject({ status: 'COMPLETED', ticket: 'by hand' })
  expect(await engine.effects(sagaId)).toEqual(['flight', 'hotel', 'charge', 'letter'])
})

test.concurrent('two retriable steps side by side are parked and decided one by one', async () => {
  const sagaId = await engine.start('sideBySideSaga', { ...trip, refuse: ['ticket invoke', 'letter invoke'] })
  await sagas.logged(sagaId, 'ticket stuck')
  await sagas.logged(sagaId, 'letter stuck')
  await expectAgreement(engine, sagaId)
  expect(await decide(engine, sagaId, { step: 'letter', action: 'resolve' })).toBe(200)
  expect(await parked(engine, sagaId)).toEqual(['ticket'])
  gated.mend(sagaId, 'ticket invoke')
  expect(await decide(engine, sagaId, { step: 'ticket', action: 'retry' })).toBe(200)
  expect(await sagas.ended(sagaId)).toMatchObject({
    status: 'COMPLETED',
    by: ['flight', 'hotel', 'ticket', 'by hand'],
  })
  expect((await engine.effects(sagaId)).toSorted()).toEqual(['charge', 'flight', 'hotel', 'ticket'])
})

test.concurrent.each<[which: string, failures: FailuresInput]>([
  ['neither', {}],
  ['flight', { flight: { mode: 'first', n: 1 } }],
  ['hotel', { hotel: { mode: 'first', n: 1 } }],
])(
  'steps side by side are undone in the reverse order of their calls, whichever ends late: %s',
  async (_, failures) => {
    const sagaId = await engine.start('sideBySideSaga', { ...trip, refuse: ['charge invoke'] }, { failures })
    expect(await sagas.ended(sagaId)).toMatchObject({ status: 'COMPENSATED' })
    expect((await sagas.log(sagaId)).filter((row) => row.startsWith('COMPENSATE'))).toEqual([
      ...['COMPENSATE_charge skipped 1', 'COMPENSATE_flight success 1', 'COMPENSATE_hotel success 1'],
    ])
    expect(await engine.effects(sagaId)).toEqual([])
  },
)

test.concurrent.each<[call: string, failures: FailuresInput]>([
  ['first', {}],
  ['second', { flight: { mode: 'first', n: 1 } }],
])('one step fails while the %s call of the other is under way: both are undone', async (_, failures) => {
  const sagaId = await engine.start(
    'sideBySideSaga',
    { ...trip, hold: 'flight invoke', refuse: ['hotel invoke'] },
    { failures },
  )
  const gate = gated.at(sagaId)
  await sagas.logged(sagaId, 'hotel failed 1')
  // Where the second call was never begun, the gate is open for nobody.
  gate.open()
  expect(await sagas.ended(sagaId)).toMatchObject({ status: 'COMPENSATED', failedStep: 'hotel' })
  expect(await engine.effects(sagaId)).toEqual([])
  expect(await rollbacks(sagaId)).toBe(1)
})

const rowsOfFlight = async (sagaId: string) =>
  (await sagas.logRows(sagaId))
    .filter(({ service }) => service === 'flight')
    .map(({ status, attempt, message }) => [status, attempt, message])

test.concurrent('a probe that finds the effect makes of an unknown attempt an applied one, with no retry', async () => {
  const failures: FailuresInput = { flight: { mode: 'first', n: 1, when: 'after' } }
  const sagaId = await engine.start('tripSaga', { ...trip, probe: 'looks' }, { failures })
  expect(await sagas.ended(sagaId)).toMatchObject({
    status: 'COMPLETED',
    steps: [{ step: 'flight', status: 'succeeded', outcome: 'applied', attempts: 1 }, {}, {}, {}, {}],
  })
  expect(await rowsOfFlight(sagaId)).toEqual([
    ['success', 1, expect.stringMatching(/^applied, as its probe found; the call itself: injected/)],
  ])
})

test.concurrent('a probe that finds nothing only says so', async () => {
  const sagaId = await engine.start(
    'tripSaga',
    { ...trip, probe: 'looks' },
    { failures: { flight: { mode: 'first', n: 1 } } },
  )
  expect(await sagas.ended(sagaId)).toMatchObject({ status: 'COMPLETED' })
  expect(await rowsOfFlight(sagaId)).toEqual([
    ['failed', 1, expect.stringContaining('; its probe finds nothing so far')],
    ['success', 2, 'applied'],
  ])
})

test.concurrent.each(['throws', 'hangs'] as const)('a probe that %s changes nothing', async (probe) => {
  const failures: FailuresInput = { flight: { mode: 'first', n: 1, when: 'after' } }
  const sagaId = await engine.start('tripSaga', { ...trip, probe }, { failures })
  expect(await sagas.ended(sagaId)).toMatchObject({ status: 'COMPLETED' })
  expect(await rowsOfFlight(sagaId)).toEqual([
    ['failed', 1, expect.stringMatching(/fails after its commit$/)],
    ['success', 2, 'was applied by an earlier attempt; its result was kept'],
  ])
  expect(await engine.effects(sagaId)).toEqual(names)
})

test.concurrent('a parked saga that was terminated and taken up again answers like its row', async () => {
  const sagaId = await engine.start('tripSaga', { ...trip, refuse: ['charge invoke', 'flight compensate'] })
  expect(await parked(engine, sagaId)).toEqual(['flight'])
  await expectAgreement(engine, sagaId)
  await engine.client.workflow.getHandle(sagaId).terminate('by mistake')
  await engine.starter.recover(sagaId, 'its run was terminated: by mistake')
  await sagas.logged(sagaId, 'COMPENSATE_flight failed 2')
  expect(await parked(engine, sagaId)).toEqual(['flight'])
  await expectAgreement(engine, sagaId)
  gated.mend(sagaId, 'flight compensate')
  expect(await decide(engine, sagaId, { step: 'flight', action: 'retry' })).toBe(200)
  expect(await sagas.ended(sagaId)).toMatchObject({ status: 'COMPENSATED' })
  expect(await engine.effects(sagaId)).toEqual([])
})

test('every run replays', async () => {
  expect(await engine.replay()).toBe(sagas.started.length)
})

test('no rolled back saga has an effect, whatever came late', async () => {
  const strays = await query(
    sagas.where.database,
    `SELECT e.saga_id, e.service FROM effect e JOIN saga s USING (saga_id) WHERE s.fate = 'rolledBack'`,
  )
  expect(strays).toEqual([])
})

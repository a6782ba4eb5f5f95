import { expect, test } from '@jest/globals'
import { ada, everywhere, nowhere, type Sagas } from '../helpers/sagas.js'
import { until } from '../helpers/until.js'

/**
 * The demo's own plan, TC-01 to TC-08, wherever the services run (TC-09 takes PostgreSQL down and is in postgres-down.ts).
 * `logOfB`: what the process has logged in which B runs.
 */
export function testDemoPlan(sagas: Sagas, logOfB: () => string): void {
  test('TC-01: a saga without failures leaves a row in each table', async () => {
    const saga = await sagas.run()
    expect(saga).toMatchObject({
      status: 'COMPLETED',
      userId: expect.any(String),
      input: { username: 'ada', address: ada.address, payment: '****1234' },
      steps: ['A', 'B', 'C'].map((step) => ({ step, status: 'succeeded', outcome: 'applied', attempts: 1 })),
      compensations: [],
    })
    expect(await sagas.rows(saga.sagaId)).toEqual(everywhere)
    expect(await sagas.log(saga.sagaId)).toEqual([
      'SAGA started',
      'A success 1',
      'B success 1',
      'C success 1',
      'SAGA completed',
    ])
    expect(await sagas.closing(saga.sagaId)).toEqual({ status: 'COMPLETED' })
  })

  test('TC-02: with A down nothing is committed', async () => {
    const saga = await sagas.run({ A: { mode: 'always' } })
    expect(saga).toMatchObject({ status: 'COMPENSATED', failedStep: 'A', error: { type: 'OutcomeUnknown' } })
    expect(await sagas.rows(saga.sagaId)).toEqual(nowhere)
    expect(await sagas.log(saga.sagaId)).toEqual([
      'SAGA started',
      ...['A failed 1', 'A failed 2', 'A failed 3'],
      'ROLLBACK triggered',
      ...['COMPENSATE_A skipped 1', 'COMPENSATE_A verified'],
      'SAGA compensated',
    ])
  })

  test('TC-03: with B down A is undone', async () => {
    const saga = await sagas.run({ B: { mode: 'always' } })
    expect(saga).toMatchObject({
      status: 'COMPENSATED',
      failedStep: 'B',
      steps: [
        { step: 'A', status: 'succeeded' },
        { step: 'B', status: 'failed', outcome: 'unknown', attempts: 3 },
        { step: 'C', status: 'pending' },
      ],
      compensations: [
        { step: 'B', status: 'empty' },
        { step: 'A', status: 'done' },
      ],
    })
    expect(await sagas.rows(saga.sagaId)).toEqual(nowhere)
    expect(await sagas.log(saga.sagaId)).toEqual([
      'SAGA started',
      ...['A success 1', 'B failed 1', 'B failed 2', 'B failed 3'],
      'ROLLBACK triggered',
      ...['COMPENSATE_B skipped 1', 'COMPENSATE_A success 1'],
      ...['COMPENSATE_B verified', 'COMPENSATE_A verified'],
      'SAGA compensated',
    ])
  })

  test('TC-04: with C down B is undone, then A; the run fails with the whole account', async () => {
    const saga = await sagas.run({ C: { mode: 'always', kind: 'reject' } })
    expect(saga).toMatchObject({
      status: 'COMPENSATED',
      failedStep: 'C',
      error: { type: 'Rejected' },
      steps: [{}, {}, { status: 'failed', outcome: 'rejected', attempts: 1 }],
    })
    expect(await sagas.rows(saga.sagaId)).toEqual(nowhere)
    expect(await sagas.log(saga.sagaId)).toEqual([
      'SAGA started',
      ...['A success 1', 'B success 1', 'C failed 1'],
      'ROLLBACK triggered',
      ...['COMPENSATE_C skipped 1', 'COMPENSATE_B success 1', 'COMPENSATE_A success 1'],
      'SAGA compensated',
    ])
    const { status, failure } = await sagas.closing(saga.sagaId)
    expect(status).toBe('FAILED')
    expect(failure).toMatchObject({
      type: 'SagaCompensated',
      message: expect.stringContaining('step C failed: Rejected'),
      details: {
        failedStep: 'C',
        error: { type: 'Rejected' },
        compensations: [
          { step: 'C', status: 'empty' },
          { step: 'B', status: 'done' },
          { step: 'A', status: 'done' },
        ],
      },
    })
  })

  test('TC-05: A fails before its transaction: logged, and nothing to undo', async () => {
    const saga = await sagas.run({ A: { mode: 'always', when: 'before' } })
    expect(saga.compensations).toMatchObject([{ step: 'A', status: 'empty' }])
    const failed = (await sagas.logRows(saga.sagaId)).filter(
      ({ service, status }) => service === 'A' && status === 'failed',
    )
    expect(failed.map(({ message }) => message)).toEqual(
      Array(3).fill(expect.stringContaining('before its transaction')),
    )
    expect(await sagas.rows(saga.sagaId)).toEqual(nowhere)
  })

  test('TC-06: B fails after its commit, for good: its row is undone too', async () => {
    const saga = await sagas.run({ B: { mode: 'always', when: 'after' } })
    expect(saga).toMatchObject({
      status: 'COMPENSATED',
      failedStep: 'B',
      compensations: [
        { step: 'B', status: 'done' },
        { step: 'A', status: 'done' },
      ],
    })
    expect(await sagas.rows(saga.sagaId)).toEqual(nowhere)
    expect(await sagas.log(saga.sagaId)).toContain('COMPENSATE_B success 1')
  })

  test('TC-07: B hangs: it is retried, then rolled back, and what it commits late is refused', async () => {
    const saga = await sagas.run({ B: { mode: 'always', kind: 'hang' } })
    expect(saga).toMatchObject({
      status: 'COMPENSATED',
      failedStep: 'B',
      error: { message: 'no answer within 5000 ms' },
    })
    expect(await sagas.log(saga.sagaId)).toEqual([
      'SAGA started',
      ...['A success 1', 'B failed 1', 'B failed 2', 'B failed 3'],
      'ROLLBACK triggered',
      ...['COMPENSATE_B success 1', 'COMPENSATE_A success 1'],
      ...['COMPENSATE_B verified', 'COMPENSATE_A verified'],
      'SAGA compensated',
    ])
    // The last call is still under way: it goes into its transaction 2 s after its time-out.
    await until('the late call of B was refused', () =>
      logOfB()
        .split('\n')
        .some((line) => line.includes(saga.sagaId) && line.includes('has been compensated already')),
    )
    expect(await sagas.rows(saga.sagaId)).toEqual(nowhere)
  })

  test('TC-08: A fails once: the saga succeeds, with both attempts in the log', async () => {
    const saga = await sagas.run({ A: { mode: 'first', n: 1 } })
    expect(saga.status).toBe('COMPLETED')
    expect(await sagas.rows(saga.sagaId)).toEqual(everywhere)
    expect(await sagas.log(saga.sagaId)).toEqual([
      'SAGA started',
      ...['A failed 1', 'A success 2', 'B success 1', 'C success 1'],
      'SAGA completed',
    ])
  })

  test('a step that failed after its commit answers its retry with the kept result', async () => {
    const saga = await sagas.run({ A: { mode: 'first', n: 1, when: 'after' } })
    expect(saga.status).toBe('COMPLETED')
    expect(await sagas.rows(saga.sagaId)).toEqual(everywhere)
  })

  test('an undo that fails is tried again until it is done', async () => {
    const saga = await sagas.run({
      C: { mode: 'always', kind: 'reject' },
      B: { mode: 'first', n: 2, on: 'compensate', when: 'after' },
      A: { mode: 'first', n: 1, on: 'compensate', when: 'before' },
    })
    expect(saga.status).toBe('COMPENSATED')
    expect(await sagas.rows(saga.sagaId)).toEqual(nowhere)
    expect((await sagas.log(saga.sagaId)).filter((row) => row.startsWith('COMPENSATE'))).toEqual([
      'COMPENSATE_C skipped 1',
      ...['COMPENSATE_B failed 1', 'COMPENSATE_B failed 2', 'COMPENSATE_B success 3'],
      ...['COMPENSATE_A failed 1', 'COMPENSATE_A success 2'],
      ...['COMPENSATE_C verified', 'COMPENSATE_B verified', 'COMPENSATE_A verified'],
    ])
  })
}

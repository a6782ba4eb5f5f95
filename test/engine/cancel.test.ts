import { afterAll, expect, test } from '@jest/globals'
import type { FailuresInput } from '../../src/saga/failure.js'
import { startEngine } from '../helpers/engine.js'
import { cancel, decide, expectAgreement, Gated, parked, type Asked } from './gates.js'

const names = ['flight', 'hotel', 'charge', 'ticket', 'letter']
const gated = new Gated()
const engine = await startEngine('cancel', {
  workflows: new URL('./sagas.ts', import.meta.url),
  services: names.map((name) => gated.service(name)),
  types: ['tripSaga', 'sideBySideSaga', 'napSaga'],
})
const { sagas } = engine
afterAll(() => engine.stop())

type Input = Asked & { naps?: { [before: string]: number } }

interface Moment {
  title: string
  input: Input
  failures?: FailuresInput
  /** Waits until the saga is there. */
  there: (sagaId: string) => Promise<unknown>
  /** The saga was rolling back before it was cancelled, for this. */
  error?: string
}

const HOUR = 3_600_000
const held = (sagaId: string) => gated.at(sagaId).reached

const moments: Moment[] = [
  ...['flight', 'hotel', 'charge'].map((step) => ({
    title: `in the code's own sleep before ${step}`,
    input: { naps: { [step]: HOUR } },
    there: (sagaId: string) =>
      sagas.logged(sagaId, { hotel: 'flight success 1', charge: 'hotel success 1' }[step] ?? 'SAGA started'),
  })),
  ...['flight', 'hotel'].map((step) => ({
    title: `during the first, local attempt of ${step}, which fails`,
    input: { hold: `${step} invoke`, fail: `${step} invoke` },
    there: held,
  })),
  ...['flight', 'hotel'].map((step) => ({
    title: `during the second, regular attempt of ${step}`,
    input: { hold: `${step} invoke` },
    failures: { [step]: { mode: 'first' as const, n: 1 } },
    there: held,
  })),
  ...['flight', 'hotel', 'charge'].map((step) => ({
    title: `between two attempts of ${step}`,
    input: {},
    failures: { [step]: { mode: 'first' as const, n: 2 } },
    there: (sagaId: string) => sagas.logged(sagaId, `${step} failed 1`),
  })),
  ...['flight', 'hotel'].map((step) => ({
    title: `while ${step} is compensated`,
    input: { hold: `${step} compensate`, refuse: ['charge invoke'] },
    there: held,
    error: 'Rejected',
  })),
]

const rollbacks = async (sagaId: string) => (await sagas.log(sagaId)).filter((row) => row.startsWith('ROLLBACK'))

test.concurrent.each(['flight', 'hotel'])(
  'a cancel by the API during a local attempt of %s that succeeds undoes all of it',
  async (step) => {
    const sagaId = await engine.start('napSaga', { hold: `${step} invoke` })
    await held(sagaId)
    expect(await cancel(engine, sagaId, 'API')).toBe(202)
    gated.at(sagaId).open()
    expect(await sagas.ended(sagaId)).toMatchObject({ status: 'COMPENSATED', error: { type: 'Cancelled' } })
    expect(await engine.effects(sagaId)).toEqual([])
    expect(await rollbacks(sagaId)).toEqual(['ROLLBACK triggered'])
  },
)

// Temporal tells the run of it with the next workflow task; one whose calls all succeed at once may need no other.
test.concurrent('a cancel by the CLI during a local attempt that succeeds leaves the saga whole, or undoes all of it', async () => {
  const sagaId = await engine.start('napSaga', { hold: 'flight invoke' })
  await held(sagaId)
  await cancel(engine, sagaId, 'CLI')
  gated.at(sagaId).open()
  const { status, error } = await sagas.ended(sagaId)
  const outcome = { status, error: error?.type, effects: await engine.effects(sagaId) }
  const undone = { status: 'COMPENSATED', error: 'Cancelled', effects: [] }
  expect([{ status: 'COMPLETED', error: undefined, effects: names }, undone]).toContainEqual(outcome)
})

for (const door of ['API', 'CLI'] as const) {
  test.concurrent.each(moments)(
    `a cancel by the ${door} $title undoes all of it, once`,
    async ({ input, failures = {}, there, error = 'Cancelled' }) => {
      const sagaId = await engine.start('napSaga', input, { failures })
      await there(sagaId)
      expect(await cancel(engine, sagaId, door)).toBe(202)
      // The second changes nothing; where the saga has ended already there is nobody to tell.
      await cancel(engine, sagaId, door).catch(() => {})
      gated.at(sagaId).open()
      expect(await sagas.ended(sagaId)).toMatchObject({ status: 'COMPENSATED', error: { type: error } })
      expect(await engine.effects(sagaId)).toEqual([])
      expect(await rollbacks(sagaId)).toEqual(['ROLLBACK triggered'])
      const { status } = await sagas.closing(sagaId)
      expect(status).toBe(error === 'Cancelled' ? 'CANCELED' : 'FAILED')
      await expectAgreement(engine, sagaId)
    },
  )

  test.concurrent(`a cancel by the ${door} of a saga that waits for a person leaves it waiting`, async () => {
    const sagaId = await engine.start('napSaga', { refuse: ['charge invoke', 'flight compensate'] })
    expect(await parked(engine, sagaId)).toEqual(['flight'])
    await expectAgreement(engine, sagaId)
    const log = await sagas.log(sagaId)
    expect(await cancel(engine, sagaId, door)).toBe(202)
    expect(await parked(engine, sagaId)).toEqual(['flight'])
    expect(await sagas.log(sagaId)).toEqual(log)
    gated.mend(sagaId, 'flight compensate')
    expect(await decide(engine, sagaId, { step: 'flight', action: 'retry' })).toBe(200)
    expect(await sagas.ended(sagaId)).toMatchObject({ status: 'COMPENSATED', error: { type: 'Rejected' } })
    expect(await engine.effects(sagaId)).toEqual([])
    expect(await rollbacks(sagaId)).toEqual(['ROLLBACK triggered'])
  })
}

test.concurrent('a cancel that comes before the first workflow task undoes what was never done', async () => {
  const sagaId = `cancelled before its start ${process.pid}`
  const { client } = engine
  await client.workflow.start('napSaga', { workflowId: sagaId, taskQueue: 'saga', args: [{}], startDelay: '2s' })
  sagas.started.push(sagaId)
  await client.workflow.getHandle(sagaId).cancel()
  expect(await sagas.ended(sagaId)).toMatchObject({ status: 'COMPENSATED', error: { type: 'Cancelled' } })
  expect(await engine.effects(sagaId)).toEqual([])
  expect(await sagas.log(sagaId)).toEqual(['SAGA started', 'ROLLBACK triggered', 'SAGA compensated'])
  expect(await sagas.closing(sagaId)).toEqual({ status: 'CANCELED' })
})

test('every run replays', async () => {
  expect(await engine.replay()).toBe(sagas.started.length)
})

import { afterAll, expect, test } from '@jest/globals'
import { nowhere, testReplay } from '../helpers/sagas.js'
import { keepRunning, startServiceSystem } from '../helpers/services.js'
import { testDemoPlan } from '../workflows/demo-plan.js'

// A, B and C as processes of their own, with a database each; only the saga's rows and its log are in the worker's.
const { sagas, services, stop } = await startServiceSystem('services')
afterAll(stop)

testDemoPlan(sagas, () => services.B.output())

test('a step that kills its service each time is undone once its attempts are used up', async () => {
  const leave = keepRunning(services.B)
  const saga = await sagas.run({ B: { mode: 'always', kind: 'crash', when: 'after' } })
  await leave()
  expect(saga).toMatchObject({ status: 'COMPENSATED', failedStep: 'B' })
  expect(await sagas.rows(saga.sagaId)).toEqual(nowhere)
  const attempts = (await sagas.logRows(saga.sagaId)).filter(({ service }) => service === 'B')
  expect(attempts).toMatchObject([
    { status: 'failed', attempt: 1, message: 'OutcomeUnknown: the connection to address broke (ECONNRESET)' },
    // On a slow machine it is not back in time.
    { status: 'failed', attempt: 2, message: expect.stringMatching(/broke|is away/) },
    { status: 'failed', attempt: 3, message: expect.stringMatching(/broke|is away/) },
  ])
})

testReplay(() => sagas)

import { afterAll, expect, test } from '@jest/globals'
import { effectService, startEngine } from '../helpers/engine.js'
import { until } from '../helpers/until.js'

const names = ['flight', 'hotel', 'charge', 'ticket', 'letter']
const engine = await startEngine('code', {
  workflows: new URL('./code-sagas.ts', import.meta.url),
  services: names.map((name) => effectService(name)),
  types: ['mistakeSaga', 'lateMistakeSaga'],
})
const { sagas } = engine
afterAll(() => engine.stop())

/** How many workflow tasks of a saga's latest run have failed: each would be repeated for ever. */
async function failedTasks(sagaId: string): Promise<string[]> {
  const { events } = await engine.client.workflow.getHandle(sagaId).fetchHistory()
  return (events ?? []).flatMap(({ workflowTaskFailedEventAttributes: failed }) => failed?.failure?.message ?? [])
}

const hotelRefuses = { hotel: { mode: 'always', kind: 'reject' } } as const

const nested = (levels: number) => `${'['.repeat(levels)}${']'.repeat(levels)}`

test.concurrent.each([
  ['a NUL', '{"bug":"\\u0000"}', '/bug holds a NUL'],
  ['half a character', '{"bug":"\\ud800"}', '/bug holds half a character'],
  ['9,000 levels', `{"bug":${nested(9_000)}}`, '/bug/0/0 is nested more than 100 levels deep'],
])('input with %s closes the run as Failed, InvalidInput, and its row says so', async (what, input, words) => {
  const sagaId = `unkept ${what}`
  const args = ['--type', 'mistakeSaga', '--task-queue', 'saga', '--workflow-id', sagaId, '--input', input]
  await sagas.temporal('workflow', 'start', ...args)
  const error = { type: 'InvalidInput', message: expect.stringContaining(words) as unknown as string }
  expect(await sagas.closing(sagaId)).toMatchObject({ status: 'FAILED', failure: { type: 'InvalidInput' } })
  expect(await sagas.get(sagaId)).toMatchObject({ status: 'COMPENSATED', error })
  expect(await sagas.log(sagaId)).toEqual(['SAGA compensated'])
  expect(await failedTasks(sagaId)).toEqual([])
})

test.concurrent('input that is nested too deeply to be handed on closes the run as Failed, InvalidInput', async () => {
  const workflowId = 'unkept 300,000 levels'
  // No client of this language could send it.
  await engine.client.workflowService.startWorkflowExecution({
    namespace: sagas.where.namespace,
    workflowId,
    requestId: workflowId,
    workflowType: { name: 'mistakeSaga' },
    taskQueue: { name: 'saga' },
    input: { payloads: [{ metadata: { encoding: Buffer.from('json/plain') }, data: Buffer.from(nested(300_000)) }] },
  })
  expect(await sagas.closing(workflowId)).toMatchObject({ status: 'FAILED', failure: { type: 'InvalidInput' } })
  expect(await failedTasks(workflowId)).toEqual([])
})

// What the code does, the saga's error, the failed step where there is one.
test.concurrent.each<[bug: string, error: { type: string; message: string }, failedStep?: string]>([
  ['an Error', { type: 'Error', message: 'it went wrong' }],
  ['an Error before the first step', { type: 'Error', message: 'it went wrong' }],
  ['a TypeError', { type: 'TypeError', message: expect.stringContaining("reading 'to'") as unknown as string }],
  ['a text thrown', { type: 'Error', message: 'it went wrong' }],
  ['nothing thrown', { type: 'Error', message: 'undefined was thrown, with no text that says why' }],
  ['an object thrown that has no text', { type: 'Error', message: expect.any(String) as unknown as string }],
  [
    'an Error whose message no database takes',
    { type: 'Error', message: expect.stringMatching(/^it went . wrong .$/) as unknown as string },
  ],
  ['a BigInt returned', noJson()],
  ['a function returned', noJson()],
  ['a symbol returned', noJson()],
  ['a circle returned', noJson()],
  ['a step called twice', twice('flight')],
  ['a step called twice, the second not awaited', twice('flight')],
  [
    'a retriable step called before the pivot',
    { type: 'Error', message: expect.stringContaining('before the pivot charge had succeeded') as unknown as string },
  ],
  [
    'the pivot called beside a step',
    { type: 'Error', message: expect.stringContaining('while flight had not ended') as unknown as string },
  ],
  ["a step's failure caught", refusal(), 'hotel'],
  ["a step's failure caught, and the next one called", refusal(), 'hotel'],
  ['a step that fails, not awaited', refusal(), 'hotel'],
])('%s ends the saga compensated, and its run says so', async (bug, error, failedStep) => {
  const sagaId = await engine.start('mistakeSaga', { bug }, { failures: hotelRefuses })
  const saga = await sagas.ended(sagaId, { timeoutMs: 20_000 })
  expect(saga).toMatchObject({ status: 'COMPENSATED', error, ...(failedStep && { failedStep }) })
  expect(saga.failedStep).toBe(failedStep)
  expect(await engine.effects(sagaId)).toEqual([])
  expect((await sagas.log(sagaId)).filter((row) => row.startsWith('ROLLBACK'))).toEqual(['ROLLBACK triggered'])
  const { status, failure } = await sagas.closing(sagaId)
  expect(status).toBe('FAILED')
  expect(failure).toMatchObject({ type: 'SagaCompensated', details: { error, failedStep: failedStep ?? null } })
  expect(await failedTasks(sagaId)).toEqual([])
})

function twice(step: string) {
  return { type: 'Error', message: expect.stringContaining(`Step ${step} was called twice`) as unknown as string }
}

function noJson() {
  return {
    type: 'InvalidResult',
    message: expect.stringMatching(/^the result of the saga (is no JSON|can't be kept): /) as unknown as string,
  }
}

function refusal() {
  return { type: 'Rejected', message: 'injected: hotel refuses' }
}

/** Waits until a saga needs a person; which step it waits on. */
async function parked(sagaId: string): Promise<string> {
  const saga = await until(`saga ${sagaId} needs attention`, async () => {
    const saga = await sagas.get(sagaId).catch(() => undefined)
    return saga?.status === 'NEEDS_ATTENTION' && saga
  })
  return saga.steps.find(({ status }) => status === 'stuck')?.step ?? ''
}

async function decide(sagaId: string, step: string, action: 'retry' | 'resolve' | 'skip') {
  const body = { step, action, reason: 'the code', actor: 'grace' }
  return (await sagas.post(`/saga/${sagaId}/decision`, body)).status
}

const lateMistakes = [
  ['an Error', 'charge', ['flight', 'charge']],
  ['a TypeError behind a step', 'ticket', ['flight', 'charge', 'ticket']],
  ['a BigInt returned', 'ticket', ['flight', 'charge', 'ticket']],
  ['a step called twice', 'ticket', ['flight', 'charge', 'ticket']],
  ['a step called twice, and its failure caught', 'ticket', ['flight', 'charge', 'ticket']],
  ['a compensatable step', 'charge', ['flight', 'charge']],
] as const

test.concurrent.each(lateMistakes)(
  '%s behind the pivot parks the saga, and undoes nothing; resolved it is completed',
  async (bug, step, effects) => {
    const sagaId = await engine.start('lateMistakeSaga', { bug })
    expect(await parked(sagaId)).toBe(step)
    expect((await sagas.log(sagaId)).at(-1)).toBe(`${step} stuck`)
    expect(await decide(sagaId, step, 'skip')).toBe(409)
    expect(await decide(sagaId, step, 'resolve')).toBe(200)
    expect(await sagas.ended(sagaId, { timeoutMs: 20_000 })).toMatchObject({ status: 'COMPLETED' })
    expect(await engine.effects(sagaId)).toEqual(effects)
    expect((await sagas.log(sagaId)).slice(-3)).toEqual([`${step} stuck`, `${step} decision`, 'SAGA completed'])
    expect(await sagas.closing(sagaId)).toEqual({ status: 'COMPLETED' })
    expect(await failedTasks(sagaId)).toEqual([])
  },
)

test.concurrent('code that is retried and still wrong parks the saga again, each time', async () => {
  const sagaId = await engine.start('lateMistakeSaga', { bug: 'a TypeError behind a step' })
  for (const times of [1, 2, 3]) {
    await until(
      `saga ${sagaId} is stuck`,
      async () => {
        const stuck = (await sagas.log(sagaId)).filter((row) => row === 'ticket stuck')
        return stuck.length === times
      },
      { timeoutMs: 20_000 },
    )
    expect(await parked(sagaId)).toBe('ticket')
    expect(await decide(sagaId, 'ticket', times < 3 ? 'retry' : 'resolve')).toBe(200)
  }
  expect(await sagas.ended(sagaId)).toMatchObject({ status: 'COMPLETED' })
  expect(await engine.effects(sagaId)).toEqual(['flight', 'charge', 'ticket'])
})

test.concurrent('a step done by hand is not called again, whatever is decided of the code behind it', async () => {
  const failures = { ticket: { mode: 'first', n: 1, kind: 'reject' } } as const
  const sagaId = await engine.start('lateMistakeSaga', { bug: 'a TypeError behind a step' }, { failures })
  const stuck = (times: number) =>
    until(`saga ${sagaId} is stuck`, async () => {
      const rows = await sagas.log(sagaId)
      return rows.filter((row) => row === 'ticket stuck').length === times
    })
  await stuck(1)
  expect(await decide(sagaId, 'ticket', 'resolve')).toBe(200)
  await stuck(2)
  expect(await decide(sagaId, 'ticket', 'retry')).toBe(200)
  await stuck(3)
  expect(await decide(sagaId, 'ticket', 'retry')).toBe(200)
  await stuck(4)
  expect(await decide(sagaId, 'ticket', 'resolve')).toBe(200)
  expect(await sagas.ended(sagaId)).toMatchObject({ status: 'COMPLETED' })
  expect(await engine.effects(sagaId)).toEqual(['flight', 'charge'])
})

test('every run replays', async () => {
  expect(await engine.replay()).toBe(sagas.started.length)
})

// Last: the runs that are parked here have the wrong code in their histories, and are not replayed with the right one.
test('code put right completes a saga that was parked for it, and nothing is called twice', async () => {
  const start = async ([bug, step]: (typeof lateMistakes)[number]) => {
    const sagaId = await engine.start('lateMistakeSaga', { bug })
    expect(await parked(sagaId)).toBe(step)
    return { sagaId, step }
  }
  const waiting = await Promise.all(lateMistakes.map(start))
  await engine.replaceWorker(new URL('./code-sagas-mended.ts', import.meta.url))
  await Promise.all(
    waiting.map(async ({ sagaId, step }) => {
      expect(await decide(sagaId, step, 'retry')).toBe(200)
      expect(await sagas.ended(sagaId)).toMatchObject({ status: 'COMPLETED', put: 'right' })
      expect(await engine.effects(sagaId)).toEqual(['flight', 'charge', 'ticket', 'letter'])
      expect(await failedTasks(sagaId)).toEqual([])
    }),
  )
})

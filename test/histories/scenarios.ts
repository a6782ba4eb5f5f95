import type { Client } from '@temporalio/client'
import type { FailuresInput } from '../../src/saga/failure.js'
import type { SagaDecisions } from '../../src/saga/node/saga-decisions.js'
import type { SagaStarter } from '../../src/saga/node/saga-starter.js'
import type { Sagas } from '../helpers/sagas.js'
import { until } from '../helpers/until.js'

/** What a scenario is played on. `kill` and `restart`: API + worker, as a crash would end them. */
export interface Stage {
  sagas: Sagas
  client: Client
  starter: SagaStarter
  /** On the engine's stage. */
  decisions?: SagaDecisions
  /** Services of the engine's stage whose calls are refused for good, each as "hotel compensate" or "hotel verify". */
  broken: Set<string>
  kill(): Promise<void>
  restart(): Promise<void>
}

export interface Scenario {
  /** Also the id of its saga, and the name of its files. */
  name: string
  /** `shipped`: the system as `npm start` runs it; `hasty`: the same with 2 s for a saga; `own`: the same, for itself alone, to be killed; `engine`: test/histories/sagas.ts. */
  stage: 'shipped' | 'hasty' | 'own' | 'engine'
  /** The workflow type of each run under the saga's id, in order. */
  runs: string[]
  /** Starts its saga and does to it what there is to do; how it ends is waited for elsewhere. */
  play(stage: Stage, sagaId: string): Promise<void>
}

/** No real card has this number. */
export const input = { username: 'ada', address: '12 Byron Street', payment: '4242 4242 4242 4242' }

const user = 'createUserSaga'
const recover = 'recoverSaga'

function start({ client }: Stage, sagaId: string, failures: FailuresInput = {}, options: object = {}) {
  return client.workflow.start(user, {
    workflowId: sagaId,
    taskQueue: 'saga',
    args: [{ ...input, failures }],
    ...options,
  })
}

/** A createUserSaga that meets these failures, and nothing else. */
function plain(name: string, failures: FailuresInput = {}): Scenario {
  return {
    name,
    stage: 'shipped',
    runs: [user],
    play: async (stage, sagaId) => void (await start(stage, sagaId, failures)),
  }
}

function shipped(name: string, play: Scenario['play'], runs = [user], stage: Scenario['stage'] = 'shipped'): Scenario {
  return { name, stage, runs, play }
}

/** One of the engine's own sagas. */
function ofEngine(
  name: string,
  runs: string[],
  { failures = {}, broken = [], then }: { failures?: FailuresInput; broken?: string[]; then?: Scenario['play'] } = {},
): Scenario {
  return {
    name,
    stage: 'engine',
    runs,
    async play(stage, sagaId) {
      for (const call of broken) stage.broken.add(`${sagaId} ${call}`)
      const type = runs[0] ?? ''
      const args = [{ to: 'Zürich', failures }]
      await stage.client.workflow.start(type, { workflowId: sagaId, taskQueue: 'saga', args })
      await then?.(stage, sagaId)
    },
  }
}

/** The saga that is a step of another scenario's. */
function nestedIn(parent: string, runs: string[]): Scenario {
  return { name: `${parent}.stay`, stage: 'engine', runs, play: () => Promise.resolve() }
}

async function decide({ sagas }: Stage, sagaId: string, decision: object): Promise<void> {
  await until(`${sagaId} waits for a person`, async () => {
    const response = await sagas.request(`/saga/${sagaId}`)
    return response.ok && ((await response.json()) as { status: string }).status === 'NEEDS_ATTENTION'
  })
  const body = { reason: 'looked into it', actor: 'grace', ...decision }
  const response = await sagas.post(`/saga/${sagaId}/decision`, body)
  if (!response.ok) throw new Error(`The decision on ${sagaId} was refused: ${await response.text()}`)
}

/** A call that decides, one a second, for trips that are stuck on a step which no other scenario's is; its run's id is the name. */
function decidedForMany(
  name: string,
  { step, op, trips }: { step: string; op: 'invoke' | 'compensate'; trips: number },
  then?: Scenario['play'],
): Scenario {
  const failures: FailuresInput = op === 'compensate' ? { charge: { mode: 'always', kind: 'reject' } } : {}
  return {
    name,
    stage: 'engine',
    runs: ['sagaDecisions'],
    async play(stage, runId) {
      for (let i = 1; i <= trips; i += 1) {
        const sagaId = `${name}.${i}`
        stage.broken.add(`${sagaId} ${step} ${op}`)
        const args = [{ to: 'Zürich', failures }]
        await stage.client.workflow.start('tripSaga', { workflowId: sagaId, taskQueue: 'saga', args })
        await stage.sagas.logged(sagaId, op === 'compensate' ? `COMPENSATE_${step} stuck` : `${step} stuck`)
      }
      const decisionsId = runId.replace('saga-decisions-', '')
      const word = { action: 'resolve', reason: 'looked into it', actor: 'grace' } as const
      const order = { decisionsId, filter: { step }, ...word, perSecond: 1, stopAfterFailures: 10 }
      await stage.decisions?.write(order)
      await stage.starter.startDecisions(decisionsId)
      await then?.(stage, runId)
    },
  }
}

const stuckInA: FailuresInput = {
  C: { mode: 'always', kind: 'reject' },
  A: { mode: 'first', n: 8, on: 'compensate' },
}
const hangingC: FailuresInput = { C: { mode: 'first', n: 1, kind: 'hang' } }

function decided(name: string, decision: object): Scenario {
  return shipped(name, async (stage, sagaId) => {
    await start(stage, sagaId, stuckInA)
    await decide(stage, sagaId, { step: 'A', ...decision })
  })
}

async function terminateAndRecover({ client, starter }: Stage, sagaId: string): Promise<void> {
  await client.workflow.getHandle(sagaId).terminate('by mistake')
  await starter.recover(sagaId, 'its run was terminated: by mistake')
}

async function callUnderWay({ client }: Stage, sagaId: string): Promise<void> {
  await until(`${sagaId} has a regular attempt under way`, async () => {
    const { raw } = await client.workflow.getHandle(sagaId).describe()
    return raw.pendingActivities?.some(({ lastStartedTime }) => lastStartedTime)
  })
}

/**
 * The ways a saga can go. Each has its recorded histories beside this file, one a run: `<name>.json`, or `<name>.1.json`
 * and so on where it has several.
 */
export const scenarios: Scenario[] = [
  plain('success'),
  ...['A', 'B', 'C'].flatMap((step) => {
    const name = step.toLowerCase()
    return [
      plain(`${name}-fails-before`, { [step]: { mode: 'always', when: 'before' } }),
      plain(`${name}-fails-after`, { [step]: { mode: 'always', when: 'after' } }),
      plain(`${name}-heals-on-retry`, { [step]: { mode: 'first', n: 1 } }),
      plain(`${name}-is-refused`, { [step]: { mode: 'always', kind: 'reject' } }),
    ]
  }),
  plain('b-hangs-and-comes-late', { B: { mode: 'always', kind: 'hang' } }),
  shipped(
    'b-crashes',
    async (stage, sagaId) => {
      await start(stage, sagaId, { B: { mode: 'always', kind: 'crash' } })
      const over = new AbortController()
      const restarting = (async () => {
        while (!over.signal.aborted) await stage.restart().catch(() => {})
      })()
      await stage.client.workflow
        .getHandle(sagaId)
        .result()
        .catch(() => {})
      over.abort()
      await stage.kill()
      await restarting
    },
    [user],
    'own',
  ),
  shipped(
    'worker-is-killed',
    async (stage, sagaId) => {
      await start(stage, sagaId, hangingC)
      await stage.sagas.logged(sagaId, 'B success 1')
      await stage.kill()
      await stage.restart()
    },
    [user],
    'own',
  ),
  plain('undo-fails-and-heals', {
    C: { mode: 'always', kind: 'reject' },
    B: { mode: 'first', n: 2, on: 'compensate', when: 'after' },
    A: { mode: 'first', n: 1, on: 'compensate', when: 'before' },
  }),
  decided('parked-and-retried', { action: 'retry' }),
  decided('parked-and-retried-with-input', { action: 'retry', input: { username: 'Ada' } }),
  decided('parked-and-resolved', { action: 'resolve' }),
  decided('parked-and-skipped', { action: 'skip' }),
  shipped(
    'parked-and-continued-as-new',
    async (stage, sagaId) => {
      const { client } = stage
      await start(stage, sagaId, stuckInA)
      await stage.sagas.logged(sagaId, 'COMPENSATE_A stuck')
      // A history that grows long: nobody listens to these.
      const run = client.workflow.getHandle(sagaId)
      const { historyLength } = await run.describe()
      await Promise.all(Array.from({ length: 500 - historyLength }, () => run.signal('nudge')))
      await decide(stage, sagaId, { step: 'A', action: 'resolve' })
    },
    [user, user],
  ),
  shipped('cancelled-in-a-local-attempt', async (stage, sagaId) => {
    const run = await start(stage, sagaId, hangingC)
    await stage.sagas.logged(sagaId, 'B success 1')
    await run.cancel()
  }),
  shipped('cancelled-between-attempts', async (stage, sagaId) => {
    const run = await start(stage, sagaId, { C: { mode: 'first', n: 2, kind: 'hang' } })
    await stage.sagas.logged(sagaId, 'C failed 1')
    await run.cancel()
  }),
  shipped('cancelled-in-a-regular-attempt', async (stage, sagaId) => {
    const run = await start(stage, sagaId, { C: { mode: 'first', n: 2, kind: 'hang' } })
    await callUnderWay(stage, sagaId)
    await run.cancel()
  }),
  shipped('cancelled-before-the-first-step', async (stage, sagaId) => {
    const run = await start(stage, sagaId, {}, { startDelay: '2s' })
    await run.cancel()
  }),
  shipped('cancelled-while-rolling-back', async (stage, sagaId) => {
    const run = await start(stage, sagaId, {
      C: { mode: 'always', kind: 'reject' },
      A: { mode: 'first', n: 3, on: 'compensate' },
    })
    await stage.sagas.logged(sagaId, 'COMPENSATE_A failed 1')
    await run.cancel()
  }),
  shipped('cancelled-while-parked', async (stage, sagaId) => {
    const run = await start(stage, sagaId, stuckInA)
    await stage.sagas.logged(sagaId, 'COMPENSATE_A stuck')
    await run.cancel()
    await decide(stage, sagaId, { step: 'A', action: 'retry' })
  }),
  shipped(
    'deadline',
    async (stage, sagaId) => void (await start(stage, sagaId, { C: { mode: 'always', kind: 'hang' } })),
    [user],
    'hasty',
  ),
  shipped('input-is-not-right', async ({ client }, sagaId) => {
    await client.workflow.start(user, { workflowId: sagaId, taskQueue: 'saga', args: [{ username: 'ada' }] })
  }),
  shipped(
    'id-is-taken',
    async (stage, sagaId) => {
      const run = await start(stage, sagaId)
      await run.result()
      await start(stage, sagaId)
    },
    [user, user],
  ),
  shipped(
    'reset-under-way',
    async (stage, sagaId) => {
      await start(stage, sagaId, { A: { mode: 'first', n: 2 }, ...hangingC })
      await stage.sagas.logged(sagaId, 'B success 1')
      await reset(stage, sagaId)
    },
    [user, user],
  ),
  shipped(
    'reset-after-its-end',
    async (stage, sagaId) => {
      const run = await start(stage, sagaId, { C: { mode: 'always', kind: 'reject' } })
      await run.result().catch(() => {})
      await reset(stage, sagaId)
    },
    [user, user],
  ),
  shipped(
    'recovered-while-going-forward',
    async (stage, sagaId) => {
      await start(stage, sagaId, hangingC)
      await stage.sagas.logged(sagaId, 'B success 1')
      await terminateAndRecover(stage, sagaId)
    },
    [user, recover],
  ),
  shipped(
    'recovered-while-rolling-back',
    async (stage, sagaId) => {
      await start(stage, sagaId, {
        C: { mode: 'always', kind: 'reject' },
        A: { mode: 'first', n: 2, on: 'compensate' },
      })
      await stage.sagas.logged(sagaId, 'COMPENSATE_A failed 1')
      await terminateAndRecover(stage, sagaId)
    },
    [user, recover],
  ),
  shipped(
    'recovered-while-parked',
    async (stage, sagaId) => {
      await start(stage, sagaId, stuckInA)
      await stage.sagas.logged(sagaId, 'COMPENSATE_A stuck')
      await terminateAndRecover(stage, sagaId)
    },
    [user, recover],
  ),
  shipped('forgotten-and-started-again', async (stage, sagaId) => {
    const { client, sagas } = stage
    await start(stage, sagaId, hangingC)
    await sagas.logged(sagaId, 'B success 1')
    await client.workflowService.deleteWorkflowExecution({
      namespace: client.options.namespace,
      workflowExecution: { workflowId: sagaId },
    })
    await until('Temporal has forgotten it', async () => (await runsOf(client, sagaId)).length === 0)
    await until('it is started again', () => start(stage, sagaId, hangingC).catch(() => false as const))
  }),
  ofEngine('trip', ['tripSaga']),
  ofEngine('undo-refused-and-retried-with-input', ['tripSaga'], {
    failures: { charge: { mode: 'always', kind: 'reject' } },
    broken: ['hotel compensate'],
    async then(stage, sagaId) {
      await stage.sagas.logged(sagaId, 'COMPENSATE_hotel stuck')
      stage.broken.delete(`${sagaId} hotel compensate`)
      await decide(stage, sagaId, { step: 'hotel', action: 'retry', input: { to: 'Bern' } })
    },
  }),
  ofEngine('pivot-applied-after-unknown', ['tripSaga'], { failures: { charge: { mode: 'always', when: 'after' } } }),
  ofEngine('pivot-settled-as-not-applied', ['tripSaga'], { failures: { charge: { mode: 'always', when: 'before' } } }),
  ofEngine('pivot-is-refused', ['tripSaga'], { failures: { charge: { mode: 'always', kind: 'reject' } } }),
  ofEngine('pivot-cancelled-under-way', ['tripSaga'], {
    failures: { charge: { mode: 'first', n: 1, kind: 'hang' } },
    async then({ client, sagas }, sagaId) {
      await sagas.logged(sagaId, 'hotel success 1')
      await client.workflow.getHandle(sagaId).cancel()
    },
  }),
  ofEngine('retriable-parked-and-retried', ['tripSaga'], {
    broken: ['ticket invoke'],
    async then(stage, sagaId) {
      await stage.sagas.logged(sagaId, 'ticket stuck')
      stage.broken.delete(`${sagaId} ticket invoke`)
      await decide(stage, sagaId, { step: 'ticket', action: 'retry' })
    },
  }),
  ofEngine('retriable-parked-and-resolved', ['tripSaga'], {
    broken: ['ticket invoke'],
    then: (stage, sagaId) => decide(stage, sagaId, { step: 'ticket', action: 'resolve' }),
  }),
  ofEngine('recovered-before-the-pivot', ['tripSaga', recover], {
    failures: { hotel: { mode: 'first', n: 1, kind: 'hang' } },
    async then(stage, sagaId) {
      await stage.sagas.logged(sagaId, 'flight success 1')
      await terminateAndRecover(stage, sagaId)
    },
  }),
  ofEngine('recovered-past-the-pivot', ['tripSaga', recover, 'tripSaga'], {
    failures: { ticket: { mode: 'first', n: 1, kind: 'hang' } },
    async then(stage, sagaId) {
      await stage.sagas.logged(sagaId, 'charge success 1')
      await terminateAndRecover(stage, sagaId)
    },
  }),
  ofEngine('steps-in-parallel', ['parallelSaga']),
  ofEngine('steps-in-parallel-one-fails', ['parallelSaga'], {
    failures: { hotel: { mode: 'always', kind: 'reject' }, flight: { mode: 'first', n: 1 } },
  }),
  ofEngine('nested', ['parentSaga']),
  nestedIn('nested', ['staySaga']),
  ofEngine('nested-undone', ['parentSaga'], { failures: { ticket: { mode: 'always', kind: 'reject' } } }),
  nestedIn('nested-undone', ['staySaga', 'staySaga']),
  ofEngine('nested-refused', ['parentSaga'], { failures: { 'stay.hotel': { mode: 'always', kind: 'reject' } } }),
  ofEngine('nested-cancelled-under-way', ['parentSaga'], {
    failures: { 'stay.hotel': { mode: 'first', n: 1, kind: 'hang' } },
    async then({ client, sagas }, sagaId) {
      await sagas.logged(`${sagaId}.stay`, 'SAGA started')
      await client.workflow.getHandle(sagaId).cancel()
    },
  }),
  ofEngine('nested-parent-recovered', ['parentSaga', recover], {
    failures: { ticket: { mode: 'first', n: 1, kind: 'hang' } },
    async then(stage, sagaId) {
      await stage.sagas.logged(sagaId, 'stay success 1')
      await terminateAndRecover(stage, sagaId)
    },
  }),
  ofEngine('bug-before-the-pivot', ['earlyBugSaga']),
  ofEngine('bug-behind-the-pivot', ['lateBugSaga', 'lateBugSaga'], {
    then: (stage, sagaId) => decide(stage, sagaId, { step: 'charge', action: 'resolve' }),
  }),
  ofEngine('residue', ['tripSaga'], {
    failures: { hotel: { mode: 'always', when: 'after' } },
    broken: ['hotel verify'],
    then: (stage, sagaId) => decide(stage, sagaId, { step: 'hotel', action: 'resolve' }),
  }),
  decidedForMany('saga-decisions-done', { step: 'flight', op: 'compensate', trips: 8 }),
  decidedForMany('saga-decisions-cancelled', { step: 'letter', op: 'invoke', trips: 3 }, async ({ client, decisions }, runId) => {
    await until('one is decided', async () => ((await decisions?.get('cancelled'))?.decided ?? 0) > 0)
    await client.workflow.getHandle(runId).cancel()
  }),
  {
    name: 'saga-sweep-v1',
    stage: 'shipped',
    runs: ['sagaSweep'],
    async play({ client }, sagaId) {
      await until(
        'it has swept three times',
        async () => {
          const { events } = await client.workflow.getHandle(sagaId).fetchHistory()
          return (events ?? []).filter((event) => event.activityTaskCompletedEventAttributes).length > 2
        },
        { timeoutMs: 110_000 },
      )
    },
  },
]

/** The runs under a workflow id, oldest first. */
export async function runsOf(client: Client, workflowId: string): Promise<{ runId: string; type: string }[]> {
  const runs = []
  for await (const { runId, type, startTime } of client.workflow.list({ query: `WorkflowId = "${workflowId}"` })) {
    runs.push({ runId, type, startTime })
  }
  return runs.toSorted((a, b) => a.startTime.getTime() - b.startTime.getTime())
}

/** The files of a scenario, one a run. */
export function filesOf({ name, runs }: Scenario): string[] {
  return runs.length === 1 ? [`${name}.json`] : runs.map((_run, i) => `${name}.${i + 1}.json`)
}

async function reset({ client }: Stage, workflowId: string): Promise<void> {
  const { events } = await client.workflow.getHandle(workflowId).fetchHistory()
  const task = events?.find((event) => event.workflowTaskCompletedEventAttributes)
  const [run] = await runsOf(client, workflowId)
  await client.workflowService.resetWorkflowExecution({
    namespace: client.options.namespace,
    workflowExecution: { workflowId, runId: run?.runId ?? '' },
    reason: 'test',
    workflowTaskFinishEventId: task?.eventId ?? null,
    requestId: `${workflowId}-reset`,
  })
}

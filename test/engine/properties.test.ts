import { afterAll, expect, test } from '@jest/globals'
import { ApplicationFailure } from '@temporalio/common'
import * as fc from 'fast-check'
import type { LogRow } from '../../src/http/schemas/log.js'
import type { FailureInput } from '../../src/saga/failure.js'
import type { CompensationView, Json } from '../../src/saga/types.js'
import { effectService, startEngine } from '../helpers/engine.js'
import { query } from '../helpers/shared.js'
import { until } from '../helpers/until.js'
import { predict, type Accepted, type Scenario } from './saga-model.js'

// Random sagas, on the real engine, against the model in saga-model.ts: what each has to leave, however its calls fail, its
// undos get stuck, people decide, and somebody cancels it.

/** What the participants themselves saw: which effects were made, and which undone, in that order. */
const made: Record<string, string[]> = {}
const undone: Record<string, string[]> = {}
const fatalCalls = new Map<string, number>()

const names = ['s1', 's2', 's3', 's4']
const services = names.map((name) => {
  const failFatally = (what: 'invoke' | 'compensate', { sagaId, input }: { sagaId: string; input: Json }) => {
    const { fatal = {}, retriable = [] } = input as { fatal?: Record<string, number>; retriable?: string[] }
    const isMeant = retriable.includes(name) === (what === 'invoke')
    const key = `${sagaId} ${name}`
    const calls = (fatalCalls.get(key) ?? 0) + 1
    if (!isMeant || calls > (fatal[name] ?? 0)) return
    fatalCalls.set(key, calls)
    throw ApplicationFailure.create({ type: 'Broken', message: `${what} of ${name} is broken`, nonRetryable: true })
  }
  return effectService(name, {
    invoke(call) {
      failFatally('invoke', call)
      ;(made[call.sagaId] ??= []).push(name)
    },
    compensate(call) {
      failFatally('compensate', call)
      ;(undone[call.sagaId] ??= []).push(name)
    },
  })
})

/** Saga types by the kinds of their steps. */
const types = {
  ...{ c: 'c1', cc: 'c2', ccc: 'c3', cccc: 'c4', p: 'p1', cp: 'cp', ccp: 'ccp', cccp: 'cccp' },
  ...{ pr: 'pr', prr: 'prr', prrr: 'prrr', cpr: 'cpr', cprr: 'cprr', ccpr: 'ccpr' },
}

const engine = await startEngine('properties', {
  workflows: new URL('./random-sagas.ts', import.meta.url),
  services,
  types: Object.values(types),
  // Nothing hangs here; on a machine that is busy a call must not seem to.
  stepTimeoutMs: 20_000,
})
const { sagas } = engine
afterAll(() => engine.stop())

const when = fc.constantFrom('before' as const, 'after' as const)
const some = fc.record({ mode: fc.constant('first' as const), n: fc.integer({ min: 1, max: 2 }), when })
const always = fc.record({ mode: fc.constant('always' as const), when })
const refusal = fc.record({
  mode: fc.constant('first' as const),
  n: fc.integer({ min: 1, max: 2 }),
  kind: fc.constant('reject' as const),
})
const none = fc.constant(undefined)

/** How the calls of one step fail, by its kind. */
function failuresOf(kind: string) {
  const onInvoke: fc.Arbitrary<FailureInput | undefined> =
    kind === 'r'
      ? fc.oneof({ weight: 3, arbitrary: none }, some, refusal)
      : fc.oneof({ weight: 5, arbitrary: none }, { weight: 2, arbitrary: some }, always, refusal)
  const onCompensate =
    kind === 'c' ? fc.option(some, { nil: undefined, freq: 3 }) : (none as fc.Arbitrary<FailureInput | undefined>)
  return fc
    .tuple(onInvoke, onCompensate)
    .map(([invoke, compensate]): FailureInput[] => [
      ...(invoke ? [invoke] : []),
      ...(compensate ? [{ ...compensate, on: 'compensate' as const }] : []),
    ])
}

const decision = fc.record({
  action: fc.constantFrom('retry' as const, 'retry' as const, 'resolve' as const, 'skip' as const),
  /** With `retry`: an input that is not broken. */
  isCorrected: fc.boolean(),
  /** With `resolve` and `skip`: somebody says the other at the same time. */
  hasRival: fc.boolean(),
})

/** The calls of one saga: like kinds in any order, some of them at once. */
function groupsOf(kinds: string): fc.Arbitrary<string[][]> {
  const steps = kinds.split('').map((kind, i) => ({ kind, name: `s${i + 1}` }))
  const ofKind = (wanted: string) => steps.filter(({ kind }) => kind === wanted).map(({ name }) => name)
  const cut = (list: string[]) =>
    fc
      .tuple(
        fc.shuffledSubarray(list, { minLength: list.length, maxLength: list.length }),
        fc.array(fc.boolean(), { minLength: list.length, maxLength: list.length }),
      )
      .map(([order, cuts]) =>
        order.reduce<string[][]>((groups, name, i) => {
          const last = groups.at(-1)
          if (last && cuts[i]) last.push(name)
          else groups.push([name])
          return groups
        }, []),
      )
  return fc.tuple(cut(ofKind('c')), cut(ofKind('p')), cut(ofKind('r'))).map((parts) => parts.flat())
}

const scenario = fc.constantFrom(...Object.keys(types)).chain((kinds): fc.Arbitrary<Scenario> =>
  fc.record({
    kinds: fc.constant(kinds),
    groups: groupsOf(kinds),
    failures: fc
      .tuple(...kinds.split('').map(failuresOf))
      .map((all) => Object.fromEntries(all.map((one, i) => [`s${i + 1}`, one]))),
    fatal: fc
      .array(fc.oneof({ weight: 2, arbitrary: fc.constant(0) }, fc.integer({ min: 1, max: 2 })), {
        minLength: kinds.length,
        maxLength: kinds.length,
      })
      .map((all) => Object.fromEntries(all.map((n, i) => [`s${i + 1}`, n]))),
    decisions: fc.array(decision, { maxLength: 4 }),
  }),
)

/** A saga under way, and what people have done to it so far. */
interface Told {
  sagaId: string
  scenario: Scenario
  accepted: Accepted[]
  /** The plan at the first wait for a person in its rollback. */
  plan?: string[]
  cancel?: { atRow: number; answer?: { code: number; status: string } }
}

interface Standing {
  saga_id: string
  fate: string
  ended: boolean
  stuck: string[]
  rows: number
}

/** Starts the sagas, decides and cancels as their scenarios say, and returns once all have ended. */
async function tell(scenarios: Scenario[], cancelRows: number[] = []): Promise<Told[]> {
  const told = await Promise.all(
    scenarios.map(async (scenario, i): Promise<Told> => {
      const { kinds, groups, fatal, failures } = scenario
      const retriable = names.filter((_, i) => kinds[i] === 'r')
      const sagaId = await engine.start(types[kinds as keyof typeof types], { groups, fatal, retriable }, { failures })
      const atRow = cancelRows[i]
      return { sagaId, scenario, accepted: [], ...(atRow !== undefined && { cancel: { atRow } }) }
    }),
  )
  const ids = told.map(({ sagaId }) => sagaId)
  await until(
    'all sagas have ended',
    async () => {
      const standing = new Map((await stand(ids)).map((one) => [one.saga_id, one]))
      await Promise.all(
        told.map(async (one) => {
          const now = standing.get(one.sagaId)
          if (!now) return
          if (one.cancel && !one.cancel.answer && now.rows >= one.cancel.atRow) await cancel(one, one.cancel)
          for (const step of now.stuck) await decide(one, step, now.fate)
        }),
      )
      return ids.every((id) => standing.get(id)?.ended)
    },
    { timeoutMs: 100_000 },
  )
  return told
}

/** In one statement, for a hundred sagas that are asked after each on its own keep a busy machine from running them. */
function stand(ids: string[]): Promise<Standing[]> {
  return query<Standing & Record<string, unknown>>(
    sagas.where.database,
    `SELECT saga_id, fate, ended_at IS NOT NULL AS ended,
       (SELECT count(*)::int FROM saga_log l WHERE l.saga_id = s.saga_id) AS rows,
       CASE WHEN status <> 'NEEDS_ATTENTION' THEN '[]' ELSE
         (SELECT coalesce(jsonb_agg(e -> 'step'), '[]')
          FROM jsonb_array_elements(CASE fate WHEN 'open' THEN steps ELSE compensations END) e
          WHERE e ->> 'status' = 'stuck') END AS stuck
     FROM saga s WHERE saga_id = ANY($1)`,
    [ids],
  )
}

async function cancel({ sagaId }: Told, cancel: NonNullable<Told['cancel']>): Promise<void> {
  const response = await sagas.post(`/saga/${sagaId}/cancel`, { reason: 'changed my mind', actor: 'grace' })
  const { status } = (await response.json()) as { status: string }
  cancel.answer = { code: response.status, status }
}

async function decide(one: Told, step: string, fate: string): Promise<void> {
  const { sagaId, scenario, accepted } = one
  if (fate === 'rollback' && !one.plan) {
    const plan = (await (await sagas.request(`/saga/${sagaId}/plan`)).json()) as { steps: { step: string }[] }
    one.plan = plan.steps.map(({ step }) => step)
  }
  const say = async (said: Accepted) => {
    const { isCorrected, ...body } = said
    const response = await sagas.post(`/saga/${sagaId}/decision`, {
      ...body,
      reason: 'seen to',
      ...(isCorrected && { input: { groups: [], fatal: {} } }),
    })
    if (response.status === 200) accepted.push(said)
    return response.status
  }
  const { action, isCorrected, hasRival } = scenario.decisions[accepted.length] ?? retryAsItIs
  const mine = { step, action, actor: 'ada', isCorrected: isCorrected && action === 'retry' }
  if (fate === 'open' && action === 'skip') {
    expect(await say(mine)).toBe(409)
    expect(await say({ ...mine, action: 'retry' })).toBe(200)
  } else if (fate === 'rollback' && action !== 'retry' && hasRival) {
    const rival = { ...mine, actor: 'grace', action: action === 'skip' ? ('resolve' as const) : ('skip' as const) }
    expect((await Promise.all([say(mine), say(rival)])).toSorted()).toEqual([200, 409])
  } else {
    expect(await say(mine)).toBe(200)
  }
}

const retryAsItIs = { action: 'retry' as const, isCorrected: false, hasRival: false }

/** What is wrong with the saga, with all that is known of it; nothing, where it has come to what the model says. */
async function wrongWith(told: Told): Promise<string | undefined> {
  const { sagaId, scenario, accepted, plan, cancel } = told
  const saga = await sagas.get(sagaId)
  const rows = await sagas.logRows(sagaId)
  const effects = await engine.effects(sagaId)
  const compensations = saga.compensations as CompensationView[]
  const found = {
    status: saga.status,
    failedStep: saga.failedStep,
    error: saga.error?.type,
    compensations: compensations.map(({ step, status }) => `${step} ${status}`),
    effects: effects.toSorted(),
    waits: names.flatMap((step) => {
      const own = ({ service, status }: LogRow) => status === 'stuck' && [step, `COMPENSATE_${step}`].includes(service)
      const waits = rows.filter(own).length
      return waits > 0 ? [`${step} ${waits}`] : []
    }),
  }
  try {
    const model = predict(scenario, {
      accepted,
      made: made[sagaId] ?? [],
      ...(cancel?.answer?.code === 202 &&
        saga.error?.type === 'Cancelled' && { cancelledAt: compensations.map(({ step }) => step) }),
    })
    expect(model).toContainEqual(found)

    // No effect was made twice, on its way to what stands and what does not.
    expect(made[sagaId] ?? []).toEqual([...new Set(made[sagaId])])
    // Each undo that took place took place once, and in the order of the list.
    expect(undone[sagaId] ?? []).toEqual(
      compensations.filter(({ status }) => status === 'done').map(({ step }) => step),
    )
    // Somebody was told that the saga stops; without a pivot nothing can have come before.
    if (cancel?.answer?.code === 202 && !scenario.kinds.includes('p')) expect(saga.status).not.toBe('COMPLETED')
    if (cancel?.answer?.code === 409) expect(saga.error?.type).not.toBe('Cancelled')

    checkLog(rows, told, saga.status)
    if (plan) {
      expect(found.compensations.slice(-plan.length).map((one) => one.split(' ')[0])).toEqual(plan)
    }
    for (const { step, actor } of compensations) {
      expect(actor).toBe(saga.status === 'COMPLETED' ? undefined : accepted.findLast((one) => one.step === step)?.actor)
    }
    const closed = await until(`the run of ${sagaId} has closed`, async () => {
      const { status } = await engine.client.workflow.getHandle(sagaId).describe()
      return status.name !== 'RUNNING' && status.name
    })
    expect(saga.status === 'COMPLETED' ? ['COMPLETED'] : ['FAILED', ...(cancel ? ['CANCELLED'] : [])]).toContain(closed)
    return undefined
  } catch (error) {
    const known = JSON.stringify({ ...told, made: made[sagaId], undone: undone[sagaId] })
    const log = rows.map(({ service, status, attempt }) => `${service} ${status} ${attempt ?? ''}`.trim()).join(', ')
    return `${known}\nlog: ${log}\n${(error as Error).message}`
  }
}

/** One beginning, one end, one rollback at most; attempts are numbered; what goes forward behind the rollback is late. */
function checkLog(rows: LogRow[], { scenario, accepted }: Told, status: string): void {
  const isBack = status !== 'COMPLETED'
  const log = rows.map(({ service, status }) => `${service} ${status}`)
  expect(log[0]).toBe('SAGA started')
  expect(log.filter((row) => row.startsWith('SAGA'))).toEqual([
    'SAGA started',
    isBack ? 'SAGA compensated' : 'SAGA completed',
  ])
  const end = log.findIndex((row) => row === 'SAGA compensated' || row === 'SAGA completed')
  const rollback = log.indexOf('ROLLBACK triggered')
  expect(log.filter((row) => row.startsWith('ROLLBACK'))).toHaveLength(isBack ? 1 : 0)
  for (const [i, { service, message, attempt }] of rows.entries()) {
    // A pivot that was cancelled may be settled ahead of its own answer; and an attempt is made again, undo or not, where
    // the workflow task that should have noted it ran out of time.
    const answered = log.findIndex((row) => row === `${service} success` || row === `${service} skipped`)
    const isAgain = attempt !== null && answered >= 0 && i > answered
    const isLate = i > end || isAgain || (service in scenario.failures && isBack && i > rollback)
    expect(message.includes('changes nothing')).toBe(isLate)
  }
  for (const step of Object.keys(scenario.failures)) {
    for (const name of [step, `COMPENSATE_${step}`]) {
      const own = rows.filter(({ service }) => service === name)
      const numbers = own.flatMap(({ attempt }) => attempt ?? [])
      expect(numbers).toEqual(numbers.map((_, i) => i + 1))
      // Stuck, then decided, in turns.
      const waits = own.map(({ status }) => status).filter((word) => word === 'stuck' || word === 'decision')
      expect(waits).toEqual(waits.map((_, i) => (i % 2 === 0 ? 'stuck' : 'decision')))
    }
  }
  expect(log.filter((row) => row.endsWith(' decision'))).toHaveLength(accepted.length)
}

/** Batches of sagas that run at once. Without shrinking: what is found is told whole, and a batch takes its time. */
const batches = { numRuns: 2, endOnFailure: true }
const BATCH = { minLength: 24, maxLength: 24, size: 'max' } as const

test.concurrent('sagas that fail, get stuck and are decided on end as the model says', () =>
  fc.assert(
    fc.asyncProperty(fc.array(scenario, BATCH), async (scenarios) => {
      for (const one of await tell(scenarios)) expect(await wrongWith(one)).toBeUndefined()
    }),
    batches,
  ))

test.concurrent('sagas that are cancelled at any moment are whole or gone, as the model says', () =>
  fc.assert(
    fc.asyncProperty(fc.array(scenario, BATCH), fc.array(fc.nat({ max: 8 }), BATCH), async (scenarios, rows) => {
      for (const one of await tell(scenarios, rows)) expect(await wrongWith(one)).toBeUndefined()
    }),
    batches,
  ))

test.concurrent('steps called at once that fail in different ways are undone', async () => {
  const scenarios = names.slice(1).map((name): Scenario => ({
    kinds: 'cccc',
    groups: [['s1', ...names.slice(1)]],
    failures: {
      ...{ s1: [], s2: [], s3: [], s4: [] },
      s1: [{ mode: 'first', n: 1, kind: 'reject' }],
      [name]: [{ mode: 'first', n: 2, when: 'before' }],
    },
    ...{ fatal: {}, decisions: [] },
  }))
  for (const one of await tell([...scenarios, ...scenarios, ...scenarios])) expect(await wrongWith(one)).toBeUndefined()
})

// Local activities that are under way at once would not replay.
test('every run replays', async () => {
  expect(await engine.replay()).toBe(sagas.started.length)
})

import type { FailureInput } from '../../src/saga/failure.js'

// What a saga has to come to, written as simply as it can be said: no time, no processes, no messages.

export interface Scenario {
  /** A letter a step, s1 first: c compensatable, p pivot, r retriable. */
  kinds: string
  /** The steps in the order of their calls; those of one group are called at once. */
  groups: string[][]
  failures: Record<string, FailureInput[]>
  /** By step: how many undos, or calls behind the pivot, end in a failure that nobody tries again. */
  fatal: Record<string, number>
  /** What people say, in turn; then they say retry. */
  decisions: { action: 'retry' | 'resolve' | 'skip'; isCorrected: boolean; hasRival: boolean }[]
}

/** A decision that was taken. */
export interface Accepted {
  step: string
  action: 'retry' | 'resolve' | 'skip'
  actor: string
  isCorrected: boolean
}

export interface Outcome {
  status: string
  failedStep: string | undefined
  error: string | undefined
  /** Each as "step status", in their order. */
  compensations: string[]
  /** By name. */
  effects: string[]
  /** How often it waited for a person, each as "step times". */
  waits: string[]
}

/** What has happened that no model can know: who was heard, and what a race let through. */
export interface Seen {
  accepted: Accepted[]
  /** The effects that were made; asked for only where one step failed, or a cancel came, while others were under way. */
  made: string[]
  /** Where a cancel was the cause: the steps that the run had come to. */
  cancelledAt?: string[]
}

type Cause = Pick<Outcome, 'failedStep' | 'error'>

/** How the saga may have ended: one way, but where several steps fail at once. */
export function predict(scenario: Scenario, seen: Seen): Outcome[] {
  const { groups } = scenario
  const isCalled = (group: string[] = []) => !seen.cancelledAt || group.some((step) => seen.cancelledAt?.includes(step))
  const called: string[][] = []
  for (const group of groups) {
    if (isCalled(group)) called.push(group)
    const causes: Cause[] = seen.cancelledAt
      ? isCalled(groups[called.length])
        ? []
        : [{ failedStep: undefined, error: 'Cancelled' }]
      : failuresIn(scenario, group)
    if (causes.length > 0) return causes.map((cause) => backFrom(scenario, seen, called, cause))
  }
  const byHand = seen.accepted.filter(({ action }) => action === 'resolve').map(({ step }) => step)
  const effects = groups.flat().filter((step) => !byHand.includes(step))
  return [
    {
      ...{ status: 'COMPLETED', failedStep: undefined, error: undefined, compensations: [] },
      effects: effects.toSorted(),
      waits: waitsFor(
        scenario,
        seen,
        groups.flat().filter((step) => kindOf(scenario, step) === 'r'),
      ),
    },
  ]
}

/** Why the saga can't go on behind these steps. A retriable one waits for a person, a pivot's barrier has the last word. */
function failuresIn(scenario: Scenario, group: string[]): Cause[] {
  return group.flatMap((step) => {
    const { error, applied } = callsOf(scenario, step)
    const kind = kindOf(scenario, step)
    if (error === undefined || kind === 'r' || (kind === 'p' && applied)) return []
    return [{ failedStep: step, error }]
  })
}

/** What a rollback leaves: every step that was called is undone, newest first, as far as people let it. */
function backFrom(scenario: Scenario, seen: Seen, called: string[][], cause: Cause): Outcome {
  const last = called.at(-1) ?? []
  const tookEffect = (step: string) => {
    if (!last.includes(step)) return true
    if (!callsOf(scenario, step).applied) return false
    return last.length > 1 || seen.cancelledAt ? seen.made.includes(step) : true
  }
  const ends = called
    .flat()
    .toReversed()
    .map((step) => {
      const word = seen.accepted.findLast((one) => one.step === step)?.action ?? 'retry'
      const status = tookEffect(step) ? { retry: 'done', resolve: 'resolved', skip: 'skipped' }[word] : 'empty'
      return { step, status }
    })
  const left = ends.filter(({ status }) => status === 'resolved' || status === 'skipped').map(({ step }) => step)
  return {
    ...cause,
    status: ends.some(({ status }) => status === 'skipped') ? 'PARTIALLY_COMPENSATED' : 'COMPENSATED',
    compensations: ends.map(({ step, status }) => `${step} ${status}`),
    effects: left.toSorted(),
    waits: waitsFor(scenario, seen, called.flat().filter(tookEffect)),
  }
}

/** How often the last word on these steps, undos or steps behind the pivot, is asked of a person: each failure that is final. */
function waitsFor({ failures, fatal }: Scenario, { accepted }: Seen, steps: string[]): string[] {
  return steps.toSorted().flatMap((step) => {
    const words = accepted.filter((one) => one.step === step)
    let refusals = (failures[step] ?? []).find(({ kind }) => kind === 'reject')?.n ?? 0
    let broken = fatal[step] ?? 0
    let waits = 0
    while (refusals + broken > 0) {
      if (refusals > 0) refusals -= 1
      else broken -= 1
      const word = words[waits]
      waits += 1
      if (word?.action !== 'retry') break
      if (word.isCorrected) broken = 0
    }
    return waits > 0 ? [`${step} ${waits}`] : []
  })
}

function kindOf({ kinds }: Scenario, step: string): string | undefined {
  return kinds[Number(step.slice(1)) - 1]
}

/** The first three calls of a step: the error that ends them, and whether one of them took effect. */
function callsOf({ failures }: Scenario, step: string): { error?: string; applied: boolean } {
  const failure = (failures[step] ?? []).find(({ on = 'invoke' }) => on === 'invoke')
  if (!failure) return { applied: true }
  if (failure.kind === 'reject') return { error: 'Rejected', applied: false }
  const { mode, n = 0, when } = failure
  return mode === 'always' ? { error: 'OutcomeUnknown', applied: when === 'after' } : { applied: n < 3 }
}

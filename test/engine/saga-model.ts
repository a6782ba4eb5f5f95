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
}

/** What has happened that no model can know: who was heard, and what a race let through. */
export interface Seen {
  accepted: Accepted[]
  /** The effects that were made. */
  made: string[]
  /** A cancel was the cause. */
  cancelled: boolean
  /** Where a cancel was: the steps that the run had come to, newest first. */
  reached: string[]
}

/** How the saga may have ended: one way, but where several steps fail at once. */
export function predict(scenario: Scenario, seen: Seen): Outcome[] {
  const { kinds, groups } = scenario
  const kindOf = (step: string) => kinds[Number(step.slice(1)) - 1]
  const forward: string[] = []
  for (const group of groups) {
    if (seen.cancelled && !group.some((step) => seen.reached.includes(step))) {
      return [backFrom(scenario, seen, forward, { failedStep: undefined, error: 'Cancelled' })]
    }
    forward.push(...group)
    const failed = group.flatMap((step) => {
      const { error, applied } = callsOf(scenario, step)
      if (error === undefined || kindOf(step) === 'r') return []
      // The pivot's barrier has the last word.
      return kindOf(step) === 'p' && applied ? [] : [{ failedStep: step, error }]
    })
    if (seen.cancelled) {
      const last = !groups
        .slice(groups.indexOf(group) + 1)
        .some((next) => next.some((step) => seen.reached.includes(step)))
      if (last) return [backFrom(scenario, seen, forward, { failedStep: undefined, error: 'Cancelled' })]
    }
    if (failed.length > 0) return failed.map((cause) => backFrom(scenario, seen, forward, cause))
  }
  const byHand = seen.accepted.filter(({ action }) => action === 'resolve').map(({ step }) => step)
  return [
    {
      status: 'COMPLETED',
      failedStep: undefined,
      error: undefined,
      compensations: [],
      effects: forward.filter((step) => !byHand.includes(step)).toSorted(),
    },
  ]
}

/** What a rollback leaves: every step that was called is undone, newest first, as far as people let it. */
function backFrom(
  scenario: Scenario,
  { accepted, made }: Seen,
  called: string[],
  cause: Pick<Outcome, 'failedStep' | 'error'>,
): Outcome {
  const ends = called.toReversed().map((step) => {
    if (!made.includes(step)) return { step, status: 'empty' }
    const last = accepted.findLast((one) => one.step === step)
    const status = { retry: 'done', resolve: 'resolved', skip: 'skipped' }[last?.action ?? 'retry']
    return { step, status }
  })
  const left = ends.filter(({ status }) => status === 'resolved' || status === 'skipped').map(({ step }) => step)
  return {
    ...cause,
    status: ends.some(({ status }) => status === 'skipped') ? 'PARTIALLY_COMPENSATED' : 'COMPENSATED',
    compensations: ends.map(({ step, status }) => `${step} ${status}`),
    effects: left.toSorted(),
  }
}

/** The first three calls of a step: the error that ends them, and whether one of them took effect. */
function callsOf({ failures }: Scenario, step: string): { error?: string; applied: boolean } {
  const failure = (failures[step] ?? []).find(({ on = 'invoke' }) => on === 'invoke')
  if (!failure) return { applied: true }
  if (failure.kind === 'reject') return { error: 'Rejected', applied: false }
  const { mode, n = 0, when } = failure
  return mode === 'always' ? { error: 'OutcomeUnknown', applied: when === 'after' } : { applied: n < 3 }
}

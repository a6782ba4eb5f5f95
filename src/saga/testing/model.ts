import type { Status, StepDeclarations } from '../types.js'
import { COMPLETION, OPENING, ROLLBACK, type Case, type Fault } from './cases.js'

// What a saga has to come to in a case, said as simply as it can be: no time, no processes, no messages, and nothing of the
// engine's own code.

export interface Expected {
  status: Status
  /** Why it was rolled back: any of these types; none for a completed saga. */
  errors: string[]
  /** The step that failed; null where it was none. */
  failedSteps: (string | null)[]
  /** It waits for a person once, on this step. */
  waitsOn: string | undefined
  /** How Temporal closes the last run. */
  closings: string[]
  /** Steps whose effect a person has left, or has not made, whatever the saga's status says of the others. */
  byHand: Record<string, 'left' | 'missing'>
}

/** A call that ends like this has taken effect before anybody asks. */
const EFFECTIVE: Fault[] = ['no fault', 'error after commit', 'late commit', 'duplicate delivery', 'crash after commit']

/** What may become of the saga; more than one thing only where it depends on what is heard first. */
export function expectedOf(one: Case, steps: StepDeclarations): Expected[] {
  const { stop } = one
  const expected = expectedEnd(one, steps)
  // A run that is terminated while it holds a workflow task goes on until that task ends, and often that is its own end.
  if (stop?.by !== 'terminate' || ![OPENING, COMPLETION].includes(stop.at)) return [expected]
  return [{ ...expected, closings: ['TERMINATED'] }, expectedEnd({ ...one, undo: 'undo works' }, steps)]
}

function expectedEnd(one: Case, steps: StepDeclarations): Expected {
  const { step, fault, forGood, undo, stop, refused, decision } = one
  const kind = steps[step]?.kind ?? 'compensatable'
  const waitsOn = decision === undefined ? undefined : step
  if (!goesBack(one, kind, steps)) {
    const byHand = decision === 'resolve' ? ({ [step]: 'missing' } as const) : {}
    return { status: 'COMPLETED', errors: [], failedSteps: [null], waitsOn, closings: ['COMPLETED'], byHand }
  }
  const own =
    forGood || fault === 'rejection' ? [{ type: fault === 'rejection' ? 'Rejected' : 'OutcomeUnknown', step }] : []
  const other = refused === undefined ? [] : [{ type: 'Rejected', step: refused }]
  const stopped =
    stop && stop.at !== ROLLBACK ? [{ type: stop.by === 'cancel' ? 'Cancelled' : 'Terminated', step: null }] : []
  // Of a refusal and a cancel at the same moment either may be heard first.
  const causes = [...own, ...other, ...stopped]
  const isLeft = undo === 'undo fails for good' && decision === 'skip'
  return {
    status: isLeft ? 'PARTIALLY_COMPENSATED' : 'COMPENSATED',
    errors: causes.map(({ type }) => type),
    failedSteps: causes.map((cause) => cause.step),
    waitsOn,
    closings: ['FAILED', 'CANCELLED'],
    byHand: isLeft ? { [step]: 'left' } : {},
  }
}

function goesBack({ step, fault, forGood, undo, stop }: Case, kind: string, steps: StepDeclarations): boolean {
  if (kind === 'retriable') return false
  if (kind === 'compensatable') return undo !== 'no undo'
  const isElsewhere = stop !== undefined && [OPENING, COMPLETION].includes(stop.at)
  if (isElsewhere) return stop.at === OPENING || !Object.values(steps).some((one) => one.kind === 'pivot')
  if (fault === 'rejection') return true
  return (forGood || stop?.at === step) && !EFFECTIVE.includes(fault)
}

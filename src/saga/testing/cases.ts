import type { StepDeclarations } from '../types.js'

/** How a call of the case's step goes wrong. Struck is its first call, or each where the case says `forGood`. */
export type Fault =
  | 'no fault'
  /** It fails before its transaction has begun. */
  | 'error before commit'
  /** It fails once its transaction has committed. */
  | 'error after commit'
  /** It takes longer than its time-out, and then commits. */
  | 'late commit'
  /** The same, but that it goes on only once the saga has ended. */
  | 'commit after the end'
  /** It is delivered twice at once, and then a third time. */
  | 'duplicate delivery'
  /** The participant refuses for good. */
  | 'rejection'
  /** The worker's process is killed before the call's transaction has begun; `forGood`: at each attempt. */
  | 'crash before commit'
  /** The worker's process is killed once the call's transaction has committed; `forGood`: at each attempt. */
  | 'crash after commit'

/** What becomes of the undo of the case's step. `no undo`: the fault heals, and the saga goes forward. */
export type Undo = 'no undo' | 'undo works' | 'undo fails twice' | 'undo fails for good' | 'undo finds nothing'

/** Somebody stops the saga while it waits at that place: a step's name stands for the call of that step. */
export interface Stop {
  by: 'cancel' | 'terminate'
  at: string
  /** `row`: as the API cancels, by the saga's row and its run; `run`: the run alone, as the temporal CLI does. */
  door: 'row' | 'run'
  /** At which call of the step; left out: the first. */
  atCall?: number
}

/** Places that are no step; a step must not have such a name. */
export const OPENING = 'the opening'
export const COMPLETION = 'the completion'
export const ROLLBACK = 'the rollback'

/** One way in which one saga goes. */
export interface Case {
  name: string
  /** Whose call and whose undo the case is about. */
  step: string
  fault: Fault
  /** Every call of the step is struck, and not only the first. */
  forGood: boolean
  undo: Undo
  stop?: Stop
  /** A later step that refuses, so that there is something to undo. */
  refused?: string
  /** What a person says where the saga waits for one. */
  decision?: 'retry' | 'resolve' | 'skip'
}

const ERRORS: Fault[] = ['error before commit', 'error after commit', 'late commit', 'commit after the end']
const CRASHES: Fault[] = ['crash before commit', 'crash after commit']
const HEALING: Fault[] = ['duplicate delivery', ...CRASHES]
const UNDOS: Undo[] = ['undo works', 'undo fails twice', 'undo fails for good', 'undo finds nothing']

/**
 * Every case of a saga with these steps: each step × each fault × each undo × each place to stop at, as far as they go
 * together: nothing is undone behind the pivot, and a step that is refused has no step behind it to be cancelled at. A fault
 * that heals needs something else to turn the saga back: the step behind it refuses. Of a step that is a saga only the
 * first call is refused or stopped at; the others are for a matrix of its own.
 */
export function casesOf(steps: StepDeclarations): Case[] {
  const names = Object.keys(steps)
  const first = names[0]
  if (first === undefined) return []
  const cases: Omit<Case, 'name'>[] = [{ step: first, fault: 'no fault', forGood: false, undo: 'no undo' }]
  for (const step of names) {
    const { kind, isSaga } = steps[step] ?? {}
    if (kind === 'retriable') cases.push(...retriableCases(step))
    else if (kind === 'pivot') cases.push(...pivotCases(step))
    else if (isSaga) cases.push(...nestedCases(step, names))
    else cases.push(...compensatableCases(step, steps))
  }
  cases.push(...stopCases(steps))
  return cases.map(withDecision(first, steps)).map((one) => ({ ...one, name: nameOf(one) }))
}

function compensatableCases(step: string, steps: StepDeclarations): Omit<Case, 'name'>[] {
  const names = Object.keys(steps)
  const behind = names.slice(names.indexOf(step) + 1)
  const next = behind[0]
  const hasPivot = names.some((name) => steps[name]?.kind === 'pivot')
  const laterStops = [
    ...behind.filter((name) => steps[name]?.kind === 'compensatable'),
    // Past the pivot a cancel changes nothing.
    ...(hasPivot ? [] : [COMPLETION]),
  ]
  const forward = [...ERRORS, ...HEALING].map((fault) => ({ step, fault, forGood: false, undo: 'no undo' as const }))
  const back = UNDOS.flatMap((undo) => {
    const once = (fault: Fault, at: string, door: Stop['door'] = 'row') => ({
      ...{ step, fault, forGood: false, undo },
      stop: cancel(at, door),
    })
    const fails = [...ERRORS, 'rejection' as const].map((fault) => ({ step, fault, forGood: true, undo }))
    const heals = HEALING.flatMap((fault) =>
      next === undefined ? [] : [{ step, fault, forGood: false, undo, refused: next }],
    )
    const turned: Omit<Case, 'name'>[] = [...fails, ...heals]
    return [
      ...turned,
      ...turned.map((one, i) => ({ ...one, stop: cancel(ROLLBACK, i % 2 === 0 ? 'run' : 'row') })),
      // A call that fails is waited for again, and a cancel of the run is heard then.
      ...ERRORS.map((fault, i) => once(fault, step, i % 2 === 0 ? 'run' : 'row')),
      ...['rejection' as const, ...HEALING].map((fault) => once(fault, step)),
      ...[...ERRORS, ...HEALING].flatMap((fault) => laterStops.map((at) => once(fault, at))),
    ]
  })
  const crashes = CRASHES.map((fault) => ({ step, fault, forGood: true, undo: 'undo works' as const }))
  return [...forward, ...crashes, ...back]
}

/** The pivot is not undone: what became of it decides which way the saga goes. */
function pivotCases(step: string): Omit<Case, 'name'>[] {
  const undo = 'no undo'
  const faults = [...ERRORS, ...HEALING]
  return [
    ...faults.map((fault) => ({ step, fault, forGood: false, undo }) as const),
    ...[...ERRORS, ...CRASHES, 'rejection' as const].map((fault) => ({ step, fault, forGood: true, undo }) as const),
    ...[...faults, 'rejection' as const].map(
      (fault) => ({ step, fault, forGood: false, undo, stop: cancel(step, 'row') }) as const,
    ),
  ]
}

/** Behind the pivot: tried until it succeeds, whoever cancels. */
function retriableCases(step: string): Omit<Case, 'name'>[] {
  const undo = 'no undo'
  const once = [...ERRORS, ...HEALING, 'rejection' as const].map(
    (fault) => ({ step, fault, forGood: false, undo }) as const,
  )
  return [...once, ...once.map((one) => ({ ...one, stop: cancel(step, 'row') }))]
}

function nestedCases(step: string, names: string[]): Omit<Case, 'name'>[] {
  const next = names[names.indexOf(step) + 1]
  const undo = 'undo works'
  return [
    { step, fault: 'rejection', forGood: true, undo },
    { step, fault: 'rejection', forGood: false, undo, stop: cancel(step, 'row') },
    ...(next === undefined ? [] : [{ step, fault: 'no fault' as const, forGood: false, undo, refused: next } as const]),
  ]
}

/** No fault but that somebody stops the saga, at every place where it waits. */
function stopCases(steps: StepDeclarations): Omit<Case, 'name'>[] {
  const names = Object.keys(steps)
  const [first = '', next] = names
  const pivotAt = names.findIndex((name) => steps[name]?.kind === 'pivot')
  const isPast = (at: string) => pivotAt >= 0 && (at === COMPLETION || names.indexOf(at) >= pivotAt)
  const isLeaf = (name: string) => !steps[name]?.isSaga
  const cancelled = [OPENING, ...names, COMPLETION].map((at): Omit<Case, 'name'> => ({
    ...{ step: names.includes(at) ? at : first, fault: 'no fault', forGood: false },
    ...{ undo: isPast(at) ? 'no undo' : 'undo works', stop: cancel(at, 'row') },
  }))
  // What a local activity holds goes on to its end, for a run that is terminated meanwhile does not hear of it: so a call is
  // terminated at when it is made again. The opening and the completion are local always, and such a saga just completes.
  const terminated = names.map((at): Omit<Case, 'name'> => ({
    ...{ step: at, fault: isLeaf(at) ? 'error after commit' : 'no fault', forGood: false },
    ...{ undo: isPast(at) ? 'no undo' : 'undo works', stop: terminate(at, isLeaf(at) ? 2 : 1) },
  }))
  const inTheEngine = [OPENING, COMPLETION].map((at): Omit<Case, 'name'> => ({
    ...{ step: first, fault: 'no fault', forGood: false, undo: 'no undo', stop: terminate(at, 1) },
  }))
  const hasUndo = next !== undefined && steps[first]?.kind === 'compensatable' && isLeaf(first)
  const inRollback = { step: first, fault: 'no fault', forGood: false, undo: 'undo fails twice' } as const
  return [
    ...cancelled,
    ...terminated,
    ...inTheEngine,
    ...(hasUndo ? [{ ...inRollback, refused: next, stop: terminate(ROLLBACK, 2) }] : []),
  ]
}

function terminate(at: string, atCall: number): Stop {
  return { by: 'terminate', at, door: 'run', atCall }
}

function cancel(at: string, door: Stop['door']): Stop {
  return { by: 'cancel', at, door }
}

/** Spreads what people can say over the cases that wait for one. What is skipped must have nothing behind it that needs it gone. */
function withDecision(first: string, steps: StepDeclarations): (one: Omit<Case, 'name'>) => Omit<Case, 'name'> {
  let turn = 0
  return (one) => {
    const isForward = one.fault === 'rejection' && steps[one.step]?.kind === 'retriable'
    if (!isForward && one.undo !== 'undo fails for good') return one
    const choices =
      !isForward && one.step === first ? (['retry', 'resolve', 'skip'] as const) : (['retry', 'resolve'] as const)
    return { ...one, decision: choices[turn++ % choices.length] ?? 'retry' }
  }
}

function nameOf({ step, fault, forGood, undo, stop, refused, decision }: Omit<Case, 'name'>): string {
  return [
    `${step}: ${fault}${forGood && fault !== 'rejection' ? ', each time' : ''}`,
    ...(refused === undefined ? [] : [`${refused} refuses`]),
    ...(undo === 'no undo' ? [] : [undo]),
    ...(decision === undefined ? [] : [decision]),
    ...(stop ? [`${stop.by}${stop.by === 'cancel' && stop.door === 'run' ? ' of the run' : ''} at ${stop.at}`] : []),
  ].join('; ')
}

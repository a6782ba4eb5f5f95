import type { StepDeclarations } from '../types.js'
import type { Case } from './cases.js'
import type { Expected } from './model.js'
import type { Observed } from './script.js'
import type { Seen } from './watch.js'

/** What there is of one saga, or of one nested in it, by participant, as their `verify` names it. */
export interface Effects {
  sagaId: string
  steps: { step: string; service: string }[]
  found: Record<string, string[]>
}

/** All that is known of a saga once it has come to rest. */
export interface Rest {
  seen: Seen
  calls: readonly Observed[]
  effects: Effects[]
  /** The steps on which it waited for a person, in turn. */
  waits: string[][]
  /** Steps whose barrier has a compensation. */
  barred: string[]
  /** How Temporal has closed its run. */
  closing: string
}

/** What is wrong with a saga that has come to rest; nothing, where all that must always hold does. */
export function problemsOf(one: Case, steps: StepDeclarations, expected: Expected[], rest: Rest): string[] {
  const ended = expected.find(({ status }) => status === rest.seen.record.status) ?? expected[0]
  return [
    ...(ended ? [...outcomeProblems(ended, rest), ...effectProblems(ended, rest)] : []),
    ...undoProblems(one, steps, rest),
    ...logProblems(one, rest),
  ]
}

/** It has ended as the model says, in its row, before people and in Temporal. */
function outcomeProblems(
  { status, errors, failedSteps, waitsOn, closings }: Expected,
  { seen, waits, closing }: Rest,
): string[] {
  const { record } = seen
  const isBack = status !== 'COMPLETED'
  const error = record.error?.type
  return [
    ...differ('status', record.status, [status]),
    ...differ('waits for a person', waits.flat().join(', '), [waitsOn ?? '']),
    ...(isBack ? differ('error', error, errors) : differ('error', error, [undefined])),
    ...differ('failed step', record.failedStep, failedSteps),
    ...differ('closing of the run', closing, closings),
  ]
}

/** Completed: one effect of each step. Compensated: none. At no time more than one. */
export function effectProblems(
  { status, byHand }: Expected,
  { calls, effects }: Pick<Rest, 'calls' | 'effects'>,
): string[] {
  const problems: string[] = []
  for (const { sagaId, steps, found } of effects) {
    for (const [service, names] of Object.entries(found)) {
      const expected = steps
        .filter((one) => one.service === service)
        .map(({ step }) => {
          if (byHand[step] === 'missing') return 0
          if (byHand[step] === 'left') return isMade(calls, sagaId, step) ? 1 : 0
          return status === 'COMPLETED' ? 1 : 0
        })
        .reduce<number>((sum, n) => sum + n, 0)
      if (names.length !== expected) {
        problems.push(
          `effects of ${service} in ${sagaId}: expected ${expected}, saw ${names.length} (${names.join(', ') || 'none'})`,
        )
      }
    }
  }
  for (const { sagaId, step } of calls.filter(({ op }) => op === 'invoke')) {
    const applied = calls.filter(
      (call) => call.sagaId === sagaId && call.step === step && !call.isNested && isApplied(call),
    )
    if (applied.length > 1) problems.push(`${step} took effect ${applied.length} times`)
  }
  return [...new Set(problems)]
}

/** Undone is the newest first, each once; an undo that can't be done holds those behind it; nothing can come late any more. */
function undoProblems({ step, decision }: Case, steps: StepDeclarations, { seen, calls, barred }: Rest): string[] {
  const { record, log } = seen
  if (record.fate !== 'rolledBack') return []
  const made = firstCalls(calls)
  const undone = log.flatMap(({ service, status, message }) =>
    service.startsWith('COMPENSATE_') && status === 'success' && !isLate(message)
      ? [service.slice('COMPENSATE_'.length)]
      : [],
  )
  const order = made.toReversed().filter((name) => undone.includes(name))
  const failing = calls.findLast((call) => call.op === 'compensate' && call.step === step && call.made === 'fail')
  const earlier = made.slice(0, made.indexOf(step))
  const overtaken = calls.filter(
    (call) => call.op === 'compensate' && failing && call.order < failing.order && earlier.includes(call.step),
  )
  const isDecided = (name: string) => name === step && decision !== undefined && decision !== 'retry'
  const unbarred = Object.entries(steps)
    .filter(([name, { kind, isSaga }]) => kind !== 'retriable' && !isSaga && !isDecided(name) && !barred.includes(name))
    .map(([name]) => name)
  const wrongEnd = record.compensations
    .filter((one) => !isDecided(one.step) && !steps[one.step]?.isSaga)
    .filter((one) => one.status !== (isMade(calls, record.sagaId, one.step) ? 'done' : 'empty'))
    .map((one) => `${one.step} ${one.status}`)
  return [
    ...differ('undone, in this order', undone.join(', '), [order.join(', ')]),
    ...(overtaken.length > 0
      ? [`undone before the undo of ${step} was: ${overtaken.map((one) => one.step).join(', ')}`]
      : []),
    ...(unbarred.length > 0 ? [`a late call would not be refused: ${unbarred.join(', ')}`] : []),
    ...(wrongEnd.length > 0 ? [`compensations that do not say what became of them: ${wrongEnd.join(', ')}`] : []),
  ]
}

/** One beginning, one end, one rollback at most; every attempt has its row and its number, every undo that failed says so. */
function logProblems({ step, decision }: Case, { seen, calls }: Rest): string[] {
  const { record, log } = seen
  const rows = (service: string, status?: string) =>
    log.filter((row) => row.service === service && (status === undefined || row.status === status))
  const isBack = record.fate === 'rolledBack'
  const end = log.findIndex(({ service, status }) => service === 'SAGA' && status.startsWith('comp'))
  const problems = [
    ...differ('rows "SAGA started"', rows('SAGA', 'started').length, [1]),
    ...differ(
      'rows of its end',
      log.filter((row) => row.service === 'SAGA' && row.status.startsWith('comp')).length,
      [1],
    ),
    ...differ('rows "ROLLBACK triggered"', rows('ROLLBACK').length, [isBack ? 1 : 0]),
    ...log
      .slice(end + 1)
      .flatMap(({ service, status, message }) =>
        isLate(message) ? [] : [`a row behind its end: ${service} ${status}`],
      ),
  ]
  const known = new Set(record.compensations.map((one) => one.step))
  for (const name of new Set(calls.filter((call) => !call.isNested && call.step).map((call) => call.step))) {
    for (const [op, service] of [
      ['invoke', name],
      ['compensate', `COMPENSATE_${name}`],
    ] as const) {
      if (op === 'compensate' && !known.has(name)) continue
      const numbers = rows(service).flatMap(({ attempt }) => attempt ?? [])
      const ended = calls.filter((call) => call.op === op && call.step === name && !call.isInKilledProcess)
      if (numbers.length < ended.length)
        problems.push(`${ended.length} attempts of ${service}, and ${numbers.length} rows of them`)
      if (numbers.some((n, i) => n !== i + 1))
        problems.push(`attempts of ${service} are numbered ${numbers.join(', ')}`)
    }
  }
  const failed = calls.filter((call) => call.op === 'compensate' && call.step === step && call.made === 'fail').length
  const told = rows(`COMPENSATE_${step}`, 'failed').length
  if (known.has(step) && told < failed)
    problems.push(`the undo of ${step} failed ${failed} times, and the log says so ${told} times`)
  if (decision) {
    const waited = log.filter((row) => row.status === 'stuck' || row.status === 'decision').map((row) => row.status)
    problems.push(...differ('rows of waiting and deciding', waited.join(', '), ['stuck, decision']))
  }
  return problems
}

/** The saga's own steps in the order of their first calls. */
function firstCalls(calls: readonly Observed[]): string[] {
  return [...new Set(calls.filter(({ op }) => op === 'invoke').map(({ step }) => step))]
}

function isMade(calls: readonly Observed[], sagaId: string, step: string): boolean {
  return calls.some((call) => call.sagaId === sagaId && call.step === step && isApplied(call))
}

/** Its transaction has committed: it said so, before its process may have been killed. */
function isApplied({ op, verdict }: Observed): boolean {
  return op === 'invoke' && verdict === 'applied'
}

/** A row of what came too late to change anything. */
function isLate(message: string): boolean {
  return message.includes('changes nothing')
}

function differ<T>(what: string, saw: T, expected: T[]): string[] {
  if (expected.includes(saw)) return []
  const said = (value: T) => (value === undefined || value === null || value === '' ? 'none' : String(value))
  return [`${what}: expected ${[...new Set(expected.map(said))].join(' or ')}, saw ${said(saw)}`]
}

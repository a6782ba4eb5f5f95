import { FailureType } from '../errors.js'
import { isDue, lastCalledFirst } from '../plan.js'
import type {
  AttemptOrder,
  Changed,
  CompensateOrder,
  CompensateVerdict,
  DecidedStep,
  DueCompensation,
  InvokeOrder,
  Json,
  Outcome,
  ParkOrder,
  RollbackCause,
  RollbackOrder,
  SagaError,
} from '../types.js'
import {
  canBeReopened,
  isReopened,
  toCompensationView,
  toStepView,
  type CompensationRecord,
  type KeptDecision,
  type SagaRecord,
  type StepRecord,
} from './saga-record.js'

// What happens to a saga, as it changes the saga's record. Pure: the store locks, reads and writes.

export interface AttemptEnd {
  /** Makes a repeated write of the same attempt harmless. */
  entryId: string
  order: InvokeOrder | CompensateOrder
  startedAt: Date
  endedAt: Date
  /** What the step was given, secrets masked. */
  input?: Json
  end:
    | { kind: 'applied'; message: string }
    | { kind: 'compensated'; verdict: CompensateVerdict; message: string }
    | { kind: 'failed'; outcome: Outcome; error: SagaError }
}

export interface LogEntry {
  service: string
  status: string
  message: string
  attempt?: number
  entryId?: string
}

/** What is to be written: nothing where there is no entry. */
export interface After {
  changes: Changes
  entries: LogEntry[]
}

export type Changes = Partial<
  Pick<
    SagaRecord,
    | 'fate'
    | 'status'
    | 'input'
    | 'secrets'
    | 'stopping'
    | 'steps'
    | 'compensations'
    | 'result'
    | 'failedStep'
    | 'error'
    | 'endedAt'
    | 'decidedAt'
  >
>

const LATE = '(came after the step was settled; changes nothing)'

/** The log rows of an attempt that has ended, with its number, and the steps and compensations behind it. */
export function afterAttempt(record: SagaRecord, attempt: AttemptEnd): After & { changed: Changed } {
  const { order } = attempt
  if (order.op === 'invoke') return afterInvoke(record, attempt)
  if (attempt.end.kind === 'applied') return afterSettledApplied(record, attempt)
  return afterCompensate(record, attempt)
}

function afterInvoke(
  record: SagaRecord,
  { entryId, order, startedAt, endedAt, input, end }: AttemptEnd,
): After & { changed: Changed } {
  const before = stepOf(record, order.step)
  const attempts = before.attempts + 1
  const late = record.fate !== 'open' || before.status === 'succeeded' || isOvertaken(before, order)
  const failed = end.kind === 'failed'
  const said = failed ? saidBy(before, end) : undefined
  const step: StepRecord = late
    ? { ...before, attempts }
    : {
        ...withoutError(before),
        status: failed ? 'running' : 'succeeded',
        outcome: said?.outcome ?? 'applied',
        attempts,
        startedAt: before.startedAt ?? startedAt.toISOString(),
        endedAt: endedAt.toISOString(),
        ...(input !== undefined && { input }),
        ...(said && { error: said.error }),
      }
  const message = failed ? sentence(end.error) : end.message
  const entry = {
    service: order.step,
    status: failed ? 'failed' : 'success',
    message: late ? `${message} ${LATE}` : message,
    attempt: attempts,
    entryId,
  }
  const changes = { steps: replaced(record.steps, before, step) }
  return {
    changes,
    entries: [entry],
    changed: { step: { ...toStepView(step), ...(step.input !== undefined && { input: step.input }) } },
  }
}

/**
 * What a step failed with. A call that came after the step was settled or compensated says nothing of why: what an earlier
 * attempt said of it stays, such as the refusal of a pivot whose run was lost before it told of that.
 */
function saidBy(
  { outcome, error }: StepRecord,
  end: AttemptEnd['end'] & { kind: 'failed' },
): { outcome: Outcome; error: SagaError } {
  return end.error.type === FailureType.LateInvoke && outcome && error ? { outcome, error } : end
}

/** A pivot's barrier has said that it took effect. */
function afterSettledApplied(
  record: SagaRecord,
  { entryId, order, startedAt, endedAt, end }: AttemptEnd,
): After & { changed: Changed } {
  const before = stepOf(record, order.step)
  // Its own attempt has said so, and the run did not hear it.
  if (before.status === 'succeeded') return { changes: {}, entries: [], changed: { step: toStepView(before) } }
  const late = record.fate !== 'open' || isOvertaken(before, order)
  const step: StepRecord = late
    ? before
    : {
        ...withoutError(before),
        status: 'succeeded',
        outcome: 'applied',
        startedAt: before.startedAt ?? startedAt.toISOString(),
        endedAt: endedAt.toISOString(),
      }
  const said = 'message' in end ? end.message : ''
  const message = late ? `${said} ${LATE}` : said
  return {
    changes: { steps: replaced(record.steps, before, step) },
    entries: [{ service: order.step, status: 'success', message, entryId }],
    changed: { step: toStepView(step) },
  }
}

function afterCompensate(record: SagaRecord, { entryId, order, end }: AttemptEnd): After & { changed: Changed } {
  const before = record.compensations.find(({ step }) => step === order.step)
  const stepBefore = stepOf(record, order.step)
  const attempts = (before?.attempts ?? 0) + 1
  const failed = end.kind === 'failed'
  const isReached = ('reached' in order && order.reached) || stepBefore.attempts > 0 || before !== undefined
  // A step never reached, with nothing to compensate: no row, and no word of it.
  if (end.kind === 'compensated' && end.verdict === 'empty' && !isReached) {
    return { changes: {}, entries: [], changed: {} }
  }
  const expected = order.op === 'settle' ? 'open' : 'rollback'
  const late = record.fate !== expected || (before && !isDue(before)) || (before && isOvertaken(before, order))
  const status = end.kind === 'compensated' ? end.verdict : 'running'
  const known: CompensationRecord = before ?? { step: order.step, status: 'pending', attempts: 0 }
  const after: CompensationRecord = late
    ? { ...known, attempts }
    : { ...withoutError(known), status, attempts, ...(failed && { error: end.error }) }
  const message = failed ? sentence(end.error) : 'message' in end ? end.message : ''
  const entry = {
    service: `COMPENSATE_${order.step}`,
    status: failed ? 'failed' : end.kind === 'compensated' && end.verdict !== 'done' ? 'skipped' : 'success',
    message: late ? `${message} ${LATE}` : message,
    attempt: attempts,
    entryId,
  }
  // It had an effect to undo, though no attempt of it left a row: its process was killed.
  const isUndone = !late && stepBefore.status === 'pending' && end.kind === 'compensated' && end.verdict === 'done'
  const step = isUndone ? doubted(stepBefore) : stepBefore
  const others = record.compensations
  // A step that no run was known to have reached is compensated before those that are still to be.
  const next = others.findIndex(({ status }) => status === 'pending')
  const compensations = before
    ? others.map((one) => (one.step === order.step ? after : one))
    : others.toSpliced(next < 0 ? others.length : next, 0, after)
  // Should the run be lost before it says so, the next one does: asked again the pivot would only answer that it is barred.
  const isSettled = order.op === 'settle' && !late && end.kind === 'compensated' && !record.stopping
  const stopping = isSettled && 'cause' in order && order.cause && { stopping: order.cause }
  return {
    changes: { compensations, steps: replaced(record.steps, stepBefore, step), ...stopping },
    entries: [entry],
    changed: { compensation: toCompensationView(after), ...(isUndone && { step: toStepView(step) }) },
  }
}

/** An open saga that has done all it had to. */
export function afterCompletion(record: SagaRecord, result: Json): After & { endedAt: Date } {
  const byHand = record.steps.filter(({ isByHand }) => isByHand).map(({ step }) => step)
  const message = byHand.length > 0 ? `all steps applied (${byHand.join(', ')} by hand)` : 'all steps applied'
  const endedAt = record.readAt
  return {
    changes: {
      ...{ fate: 'completed', status: 'COMPLETED', result, ...erased(record), endedAt },
      // It may be asked for after all, and what its participants say then is to be masked as before.
      ...(canBeReopened(record) && { secrets: record.secrets }),
    },
    entries: [{ service: 'SAGA', status: 'completed', message }],
    endedAt,
  }
}

/** An open saga that begins to roll back: what this run has reached, or a lost one, is to be compensated. */
export function afterClaim(record: SagaRecord, { cause: { failedStep, error }, reached }: RollbackOrder): After {
  const canBeCompensated = (step: string) => record.steps.some((one) => one.step === step && one.kind !== 'retriable')
  // A lost run may have reached steps that this one has not; they come first, for they were reached later.
  const isKnown = (step: string) => record.compensations.some((one) => one.step === step)
  const lost = record.steps.filter(({ step, attempts }) => (attempts > 0 || isKnown(step)) && !reached.includes(step))
  const known = [...lastCalledFirst(lost).map(({ step }) => step), ...reached].filter(canBeCompensated)
  const compensations = known.map(
    (step): CompensationRecord =>
      record.compensations.find((one) => one.step === step) ?? { step, status: 'pending', attempts: 0 },
  )
  const message = failedStep ? `step ${failedStep} failed for good: ${error.type}: ${error.message}` : error.message
  return {
    changes: {
      fate: 'rollback',
      status: 'COMPENSATING',
      failedStep,
      error,
      // What people have said of steps on the way forward is done with.
      steps: record.steps.map((step) => taken(settled(step, { failedStep, error, reached: known }))),
      compensations,
      decidedAt: null,
    },
    entries: [{ service: 'ROLLBACK', status: 'triggered', message }],
  }
}

/**
 * A completed saga, with no point of no return behind it, that is to be compensated after all: what it has called, the last
 * first. Its input is erased by then; its barriers have what a compensation needs.
 */
export function afterReopening(record: SagaRecord, { failedStep, error }: RollbackCause): After {
  const known = (name: string) => record.compensations.find(({ step }) => step === name)
  const compensations = lastCalledFirst(record.steps.filter(({ attempts }) => attempts > 0)).map(
    ({ step }): CompensationRecord => known(step) ?? { step, status: 'pending', attempts: 0 },
  )
  return {
    changes: {
      fate: 'rollback',
      status: 'COMPENSATING',
      result: null,
      failedStep,
      error,
      compensations,
      endedAt: null,
    },
    entries: [{ service: 'ROLLBACK', status: 'triggered', message: error.message }],
  }
}

/** A saga of which nothing is left to compensate. */
export function afterRollback(record: SagaRecord): After {
  const words = record.compensations.map(({ step, status }) => `${step}: ${compensationWords[status] ?? status}`)
  const isPartial = record.compensations.some(({ status }) => status === 'skipped')
  return {
    changes: {
      fate: 'rolledBack',
      status: isPartial ? 'PARTIALLY_COMPENSATED' : 'COMPENSATED',
      ...erased(record),
      endedAt: record.readAt,
    },
    entries: [
      {
        service: 'SAGA',
        status: 'compensated',
        message: `${isPartial ? 'in part: ' : ''}${words.join(', ') || 'nothing had been done'}`,
      },
    ],
  }
}

const compensationWords: Partial<Record<CompensationRecord['status'], string>> = {
  done: 'undone',
  empty: 'nothing to undo',
  resolved: 'done by hand',
  skipped: 'left as it is',
}

/** What an ended saga does not keep: its input, what people have put in its place, and what of that is secret. */
function erased({ steps, compensations }: SagaRecord): Changes {
  const erase = <T extends StepRecord | CompensationRecord>(one: T): T => {
    if (!one.decision) return one
    const { input, sealing, ...decision } = one.decision
    return { ...one, decision: { ...decision, isTaken: true } }
  }
  return {
    input: null,
    secrets: null,
    stopping: null,
    decidedAt: null,
    steps: steps.map(erase),
    compensations: compensations.map(erase),
  }
}

/** Attempts of this step and operation that have ended since the last decision or recovery. */
export function endedAttempts(
  { steps, compensations }: Pick<SagaRecord, 'steps' | 'compensations'>,
  { step, op }: Pick<AttemptOrder, 'step' | 'op'>,
): number {
  const records: (StepRecord | CompensationRecord)[] = op === 'invoke' ? steps : compensations
  const known = records.find((record) => record.step === step)
  // One that has succeeded is asked again only by a repeated run, and the barrier has its answer.
  return known && !['succeeded', 'done', 'empty'].includes(known.status) ? known.attempts - (known.spent ?? 0) : 0
}

/** A step as it stands when the rollback begins: what was reached and did not succeed has failed, and may have had an effect. */
function settled(step: StepRecord, { failedStep, error, reached }: RollbackCause & { reached: string[] }): StepRecord {
  if (step.step === failedStep)
    return { ...step, status: 'failed', outcome: step.outcome ?? 'unknown', error: step.error ?? error }
  if (
    step.status === 'running' ||
    step.status === 'stuck' ||
    (step.status === 'pending' && reached.includes(step.step))
  ) {
    return { ...step, status: 'failed', outcome: step.outcome ?? 'unknown' }
  }
  return step
}

/** What a person has put in the place of what the step was given. */
export type Correction = (decision: KeptDecision) => Json | undefined

const asKept: Correction = ({ input }) => input

/** With `correction` of the decision on it, where there is one. */
function corrected(decision: KeptDecision | undefined, correction: Correction): { input?: Json } {
  const input = decision && correction(decision)
  return input === undefined ? {} : { input }
}

/** What a rollback has still to do: first what no run is known to have reached, then the others in their order. */
export function dueCompensations(
  steps: StepRecord[],
  compensations: CompensationRecord[],
  correction = asKept,
): DueCompensation[] {
  const canBeUndone = new Set(
    steps.filter(({ kind = 'compensatable' }) => kind === 'compensatable').map(({ step }) => step),
  )
  const known = new Set(compensations.map(({ step }) => step))
  const unknown = steps.map(({ step }) => step).filter((step) => !known.has(step))
  const declared = new Map(
    steps.map(({ step, service, sagaId }) => [
      step,
      { step, service, ...(sagaId !== undefined && { isSaga: true as const }) },
    ]),
  )
  const declarationOf = (step: string) => declared.get(step) ?? { step }
  return [
    ...unknown.toReversed().map((step) => ({ ...declarationOf(step), reached: false, isStuck: false, decisions: 0 })),
    ...compensations.filter(isDue).map(({ step, status, decision }) => ({
      ...declarationOf(step),
      reached: true,
      isStuck: status === 'stuck',
      decisions: decision?.number ?? 0,
      ...corrected(decision, correction),
    })),
    // A pivot too waits for a person: one that never happened, and of which something was found.
  ].filter(({ step, isStuck }) => canBeUndone.has(step) || isStuck)
}

/** What people have decided, or are to decide, of the steps on the way forward. */
export function decidedSteps({ steps }: SagaRecord, correction = asKept): DecidedStep[] {
  return steps
    .filter(({ status, decision }) => status === 'stuck' || decision)
    .map(({ step, status, stuckAt = 'invoke', isByHand = false, decision }) => ({
      step,
      at: stuckAt,
      isStuck: status === 'stuck',
      isResolved: status !== 'stuck' && decision?.action === 'resolve',
      isByHand,
      decisions: decision?.number ?? 0,
      ...corrected(decision, correction),
    }))
}

/** A saga that begins to wait for a person; no entry where it waits already. */
export function afterParking(record: SagaRecord, { step: name, at, error, cause }: ParkOrder): After {
  const isForward = at !== 'compensate'
  const step = stepOf(record, name)
  const compensation = record.compensations.find(({ step }) => step === name)
  const before = isForward ? step : (compensation ?? { step: name, status: 'pending' as const, attempts: 0 })
  const stopping = cause && record.fate === 'open' && { stopping: cause }
  if (before.status === 'stuck') return { changes: { ...stopping }, entries: [] }
  const shown = error ?? before.error ?? { type: 'Error', message: 'it cannot go on' }
  const entry = {
    service: isForward ? name : `COMPENSATE_${name}`,
    status: 'stuck',
    message: stuckMessage(record, { step: name, at, error: shown, attempts: before.attempts - (before.spent ?? 0) }),
  }
  const changes: Changes = isForward
    ? { steps: replaced(record.steps, step, { ...step, status: 'stuck', stuckAt: at, error: shown }) }
    : {
        compensations: compensation
          ? replaced(record.compensations, compensation, { ...compensation, status: 'stuck', error: shown })
          : [...record.compensations, { step: name, status: 'stuck', attempts: 0, error: shown }],
      }
  return { changes: { ...changes, ...stopping, status: 'NEEDS_ATTENTION' }, entries: [entry] }
}

function stuckMessage(
  { sagaId }: SagaRecord,
  { step, at, error, attempts }: { step: string; at: ParkOrder['at']; error: SagaError; attempts: number },
): string {
  const times = attempts === 1 ? 'once' : `${attempts} times`
  const choices = 'then decide: retry, resolve (it is done by hand) or skip (leave it)'
  const why = sentence(error)
  const messages: Record<ParkOrder['at'], string> = {
    compensate:
      error.type === FailureType.NothingToUndo
        ? `Compensating ${step} of saga ${sagaId} found nothing to undo, though the step took effect, and nobody could look for that effect. Look for it and undo it by hand, then decide: resolve, or skip (leave it).`
        : error.type === FailureType.Residue
          ? `Compensating ${step} of saga ${sagaId} left something: ${error.message}. Remove it, then decide: retry (looks again), resolve or skip.`
          : `Compensating ${step} of saga ${sagaId} failed ${times} (${why}). Remove what stands in its way, ${choices}.`,
    invoke: `Step ${step} of saga ${sagaId}, behind the point of no return, failed ${times} (${why}). Remove what stands in its way, then decide: retry or resolve (it is done by hand).`,
    settle: `Whether the pivot ${step} of saga ${sagaId} took effect can't be learnt (${why}). Bring its participant back, then decide: retry.`,
    code: `The code of saga ${sagaId} failed behind the point of no return (${why}). Put it right, then decide: retry, or resolve (the rest is done by hand).`,
  }
  return messages[at]
}

/** A saga whose run is gone, as its next one takes it up: what was stuck is tried again, with a budget of its own. */
export function afterRecovery({ fate, steps, compensations }: SagaRecord): Changes {
  const anew = <T extends StepRecord | CompensationRecord>(one: T): T => ({ ...taken(one), spent: one.attempts })
  return {
    status: fate === 'open' ? 'RUNNING' : 'COMPENSATING',
    steps: steps.map((one) => {
      const { stuckAt, ...step } = one
      if (step.status !== 'stuck') return anew(one)
      return anew({ ...step, status: step.outcome === 'applied' ? 'succeeded' : 'running' })
    }),
    compensations: compensations.map((one) => anew(one.status === 'stuck' ? { ...one, status: 'pending' } : one)),
    decidedAt: null,
  }
}

/** A run has acted on its decision. */
export function taken<T extends StepRecord | CompensationRecord>(one: T): T {
  return one.decision ? { ...one, decision: { ...one.decision, isTaken: true } } : one
}

/** Whether it is to be proved that nothing is left: something was unknown, failed, or done by a run that is gone. */
export function isDoubtful(record: SagaRecord): boolean {
  const { openings, steps, compensations } = record
  return (
    openings > (isReopened(record) ? 2 : 1) ||
    steps.some(({ outcome }) => outcome === 'unknown') ||
    compensations.some(
      ({ error, attempts, decision }) => error !== undefined || attempts > 1 || decision !== undefined,
    ) ||
    compensations.some((one) => isContradiction(record, one))
  )
}

/**
 * A step that took effect, and whose barrier has nothing to undo: the effect was made past the barrier, such as by a call of
 * another system that its transaction did not hold. A nested saga has compensated its own steps.
 */
function isContradiction({ steps }: SagaRecord, { step: name, status }: CompensationRecord): boolean {
  const step = steps.find(({ step }) => step === name)
  return status === 'empty' && step?.outcome === 'applied' && step.sagaId === undefined
}

/** What `verify` has found, by step: the texts that name what is left, or why it could not look. */
export type Finding = { left: string[] } | { failed: SagaError }
export type Findings = Map<string, Finding>

/** Rows that say so; what should be gone and is not waits for a person, unless a person has chosen to leave it. */
export function afterVerification(record: SagaRecord, findings: Findings): After {
  const entries: LogEntry[] = []
  let { compensations } = record
  const park = (step: string, known: CompensationRecord | undefined, error: SagaError) => {
    const stuck: CompensationRecord = { ...(known ?? { step, attempts: 0 }), status: 'stuck', error }
    compensations = known ? replaced(compensations, known, stuck) : [...compensations, stuck]
    const message = stuckMessage(record, { step, at: 'compensate', error, attempts: 0 })
    entries.push({ service: `COMPENSATE_${step}`, status: 'stuck', message })
  }
  for (const one of record.compensations) {
    const found = findings.get(one.step)
    const isUnchecked = found === undefined || 'failed' in found
    if (isUnchecked && !one.isVerified && isContradiction(record, one)) {
      park(one.step, one, {
        type: FailureType.NothingToUndo,
        message: 'it took effect, and its barrier has nothing to undo',
      })
    }
  }
  for (const [step, found] of findings) {
    const service = `COMPENSATE_${step}`
    const known = compensations.find((one) => one.step === step)
    // Written by a look that was repeated meanwhile; or nobody could look, and an operator has to.
    if (known?.isVerified || known?.status === 'stuck') continue
    if ('failed' in found) {
      entries.push({
        service,
        status: 'residue',
        message: `could not be checked (${sentence(found.failed)}); look for yourself`,
      })
    } else if (found.left.length > 0) {
      entries.push({ service, status: 'residue', message: `still there: ${found.left.join(', ')}` })
    } else if (known) {
      entries.push({ service, status: 'verified', message: 'nothing of the saga is left' })
    }
    const isClean = 'failed' in found || found.left.length === 0
    const isLeft = known?.status === 'skipped' || known?.status === 'resolved'
    const after: CompensationRecord = known ?? { step, status: 'done', attempts: 0 }
    if (isClean || isLeft) {
      if (known) compensations = replaced(compensations, known, { ...after, isVerified: true })
      continue
    }
    park(step, known, { type: FailureType.Residue, message: `still there: ${found.left.join(', ')}` })
  }
  const isStuck = compensations.some(({ status }) => status === 'stuck')
  return { changes: { compensations, ...(isStuck && { status: 'NEEDS_ATTENTION' }) }, entries }
}

/** An attempt of the time before a decision, or of a step that waits for one, changes nothing any more. */
function isOvertaken({ status, decision }: StepRecord | CompensationRecord, { decisions }: AttemptOrder): boolean {
  return status === 'stuck' || (decision?.number ?? 0) > decisions
}

function stepOf(record: SagaRecord, name: string): StepRecord {
  const step = record.steps.find(({ step }) => step === name)
  if (!step) throw new Error(`Step ${name} is not declared by saga ${record.sagaId}`)
  return step
}

function doubted(step: StepRecord): StepRecord {
  return { ...step, status: 'failed', outcome: 'unknown' }
}

export function withoutError<T extends { error?: SagaError }>(record: T): T {
  const { error, ...rest } = record
  return rest as T
}

export function replaced<T>(list: T[], before: T, after: T): T[] {
  return list.map((one) => (one === before ? after : one))
}

export function sentence({ type, message }: SagaError): string {
  return `${type}: ${message}`
}

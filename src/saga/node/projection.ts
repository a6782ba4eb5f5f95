import type { AttemptOrder, CompensateVerdict, Outcome, RollbackCause, SagaError } from '../types.js'
import type { CompensationRecord, SagaRecord, StepRecord } from './saga-record.js'

// What an attempt, or the beginning of a rollback, makes of a saga's record. Pure: the store locks, reads and writes.

export interface AttemptEnd {
  /** Makes a repeated write of the same attempt harmless. */
  entryId: string
  order: AttemptOrder & { reached?: boolean }
  startedAt: Date
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

/** What is to be written when an attempt has ended: nothing where there is no entry. */
interface AfterAttempt {
  attempt: number
  changes: Partial<Pick<SagaRecord, 'steps' | 'compensations'>>
  entries: LogEntry[]
}

const LATE = '(came after the step was settled; changes nothing)'

/** The log rows of an attempt that has ended, with its number, and the steps and compensations behind it. */
export function afterAttempt(record: SagaRecord, attempt: AttemptEnd): AfterAttempt {
  return attempt.order.op === 'invoke' ? afterInvoke(record, attempt) : afterCompensate(record, attempt)
}

function afterInvoke(record: SagaRecord, { entryId, order, startedAt, end }: AttemptEnd): AfterAttempt {
  const before = record.steps.find(({ step }) => step === order.step)
  if (!before) throw new Error(`Step ${order.step} is not declared by saga ${record.sagaId}`)
  const attempt = before.attempts + 1
  const late = record.fate !== 'open' || before.status === 'succeeded'
  const failed = end.kind === 'failed'
  const step: StepRecord = late
    ? { ...before, attempts: attempt }
    : {
        ...withoutError(before),
        status: failed ? 'running' : 'succeeded',
        outcome: failed ? end.outcome : 'applied',
        attempts: attempt,
        startedAt: before.startedAt ?? startedAt.toISOString(),
        endedAt: new Date().toISOString(),
        ...(failed && { error: end.error }),
      }
  const message = failed ? `${end.error.type}: ${end.error.message}` : end.message
  const entry = {
    service: order.step,
    status: failed ? 'failed' : 'success',
    message: late ? `${message} ${LATE}` : message,
    attempt,
    entryId,
  }
  return { attempt, changes: { steps: record.steps.map((one) => (one === before ? step : one)) }, entries: [entry] }
}

function afterCompensate(record: SagaRecord, { entryId, order, end }: AttemptEnd): AfterAttempt {
  const before = record.compensations.find(({ step }) => step === order.step)
  const attempt = (before?.attempts ?? 0) + 1
  const failed = end.kind === 'failed'
  // A step never reached, with nothing to compensate: no row, and no word of it.
  if (end.kind === 'compensated' && end.verdict === 'empty' && !order.reached && !before) {
    return { attempt, changes: {}, entries: [] }
  }

  const late = record.fate !== 'rollback' || before?.status === 'done' || before?.status === 'empty'
  const isUsedUp = failed && (order.budget === null || attempt >= order.budget)
  const stuck = isUsedUp && before?.status !== 'stuck'
  const status = end.kind === 'compensated' ? end.verdict : stuck || before?.status === 'stuck' ? 'stuck' : 'running'
  const after: CompensationRecord = late
    ? { ...(before ?? { step: order.step, status: 'pending' }), attempts: attempt }
    : { step: order.step, status, attempts: attempt, ...(failed && { error: end.error }) }
  const service = `COMPENSATE_${order.step}`
  const message = failed ? `${end.error.type}: ${end.error.message}` : 'message' in end ? end.message : ''
  const entries: LogEntry[] = [
    {
      service,
      status: failed ? 'failed' : end.kind === 'compensated' && end.verdict === 'empty' ? 'skipped' : 'success',
      message: late ? `${message} ${LATE}` : message,
      attempt,
      entryId,
    },
  ]
  if (stuck && !late) {
    entries.push({
      service,
      status: 'stuck',
      message: `Compensating ${order.step} failed ${attempt} times (${message}). It goes on every 10 s; remove what stands in its way.`,
    })
  }
  // It had an effect to undo, though no attempt of it left a row: its process was killed.
  const isUndone = ({ step, status }: StepRecord) =>
    step === order.step && status === 'pending' && end.kind === 'compensated' && end.verdict === 'done'
  const compensations = before
    ? record.compensations.map((one) => (one === before ? after : one))
    : [...record.compensations, after]
  const steps = record.steps.map((one) => (isUndone(one) ? doubted(one) : one))
  return { attempt, changes: { compensations, steps }, entries }
}

/** A step as it stands when the rollback begins: what was reached and did not succeed has failed, and may have had an effect. */
export function settled(
  step: StepRecord,
  { failedStep, error, reached }: RollbackCause & { reached: string[] },
): StepRecord {
  if (step.step === failedStep)
    return { ...step, status: 'failed', outcome: step.outcome ?? 'unknown', error: step.error ?? error }
  if (step.status === 'running' || (step.status === 'pending' && reached.includes(step.step))) {
    return { ...step, status: 'failed', outcome: step.outcome ?? 'unknown' }
  }
  return step
}

/** What a rollback has still to do: `reached`, in this order, and what no run is known to have reached. */
export function toCompensate(
  record: SagaRecord,
  compensations: CompensationRecord[],
): { reached: string[]; unreached: string[] } {
  const known = new Set(compensations.map(({ step }) => step))
  return {
    reached: compensations.filter(({ status }) => status !== 'done' && status !== 'empty').map(({ step }) => step),
    unreached: record.steps
      .map(({ step }) => step)
      .filter((step) => !known.has(step))
      .toReversed(),
  }
}

function doubted(step: StepRecord): StepRecord {
  return { ...step, status: 'failed', outcome: 'unknown' }
}

function withoutError(step: StepRecord): StepRecord {
  const { error: _error, ...rest } = step
  return rest
}

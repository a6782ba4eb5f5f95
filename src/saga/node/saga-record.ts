import type { Failures } from '../failure.js'
import type { CompensationSummary, Ending, Fate, Json, Outcome, RollbackCause, SagaError, Status } from '../types.js'

/** A step as readers see it. All declared steps are there, in declared order. */
export interface StepRecord {
  step: string
  service: string
  status: 'pending' | 'running' | 'succeeded' | 'failed' | 'stuck'
  outcome?: Outcome
  attempts: number
  startedAt?: string
  endedAt?: string
  error?: SagaError
}

export type CompensationRecord = CompensationSummary

export interface CancelRequest {
  reason: string
  actor: string
  at: string
}

/** The row of one saga: what has been decided of it, and the projection of its log. */
export interface SagaRecord {
  sagaId: string
  type: string
  fate: Fate
  status: Status
  view: Json
  /** Null once the saga has ended. */
  input: Json
  inputHash: string
  failures: Failures | null
  firstRunId: string | null
  openings: number
  claims: number
  cancel: CancelRequest | null
  steps: StepRecord[]
  compensations: CompensationRecord[]
  result: Json
  failedStep: string | null
  error: SagaError | null
  startedAt: Date
  endedAt: Date | null
}

/** The columns of `saga`, named as in SagaRecord. */
export const recordColumns = `saga_id AS "sagaId", type, fate, status, view, input, input_hash AS "inputHash", failures,
  first_run_id AS "firstRunId", openings, claims, cancel, steps, compensations, result, failed_step AS "failedStep", error,
  started_at AS "startedAt", ended_at AS "endedAt"`

export function causeOf({ failedStep, error }: SagaRecord): RollbackCause {
  return { failedStep, error: error ?? { type: 'Error', message: 'no reason was recorded' } }
}

export function cancelCause(cancel: CancelRequest | null): RollbackCause {
  const message = cancel
    ? `cancelled by ${cancel.actor}: ${cancel.reason}`
    : 'cancelled from outside the API, with no reason given'
  return { failedStep: null, error: { type: 'Cancelled', message } }
}

/** How the saga has ended. Only for a record whose fate is `completed` or `rolledBack`. */
export function endingOf(record: SagaRecord): Ending {
  if (record.fate === 'completed') return { fate: 'completed', result: record.result }
  return { fate: 'rolledBack', cause: causeOf(record), compensations: record.compensations }
}

/**
 * Steps and compensations as they stand now. An attempt leaves a row when it has ended; that one is under way follows
 * from the saga's fate: the first step that has not begun, the first compensation that has not.
 */
export function withRunning({
  fate,
  openings,
  steps,
  compensations,
}: SagaRecord): Pick<SagaRecord, 'steps' | 'compensations'> {
  const next = fate === 'open' && openings > 0 ? steps.find(({ status }) => status !== 'succeeded') : undefined
  const nextBack =
    fate === 'rollback' ? compensations.find(({ status }) => status !== 'done' && status !== 'empty') : undefined
  return {
    steps: steps.map((step) => (step === next && step.status === 'pending' ? { ...step, status: 'running' } : step)),
    compensations: compensations.map((one) =>
      one === nextBack && one.status === 'pending' ? { ...one, status: 'running' } : one,
    ),
  }
}

import { fieldsOf, isDue } from '../plan.js'
import type { Failures } from '../failure.js'
import type { Sealed } from './payload-keys.js'
import type {
  CompensationView,
  DecidedStep,
  Ending,
  Fate,
  Json,
  RecordedDecision,
  RollbackCause,
  SagaError,
  SagaView,
  Status,
  StepDeclarations,
  StepInputs,
  StepKind,
  StepView,
} from '../types.js'

/** What the row knows of a step or a compensation beyond what people are shown. */
interface Tally {
  /** Attempts that had ended at the last decision or recovery; the budget counts from there. */
  spent?: number
  /** The last decision on it. */
  decision?: KeptDecision
}

/** A decision as the row keeps it. */
export interface KeptDecision extends RecordedDecision {
  /** A run has acted on it. */
  isTaken: boolean
  /** Tells whether one that comes again is this one: what is kept of it has its secrets and, in the end, its input taken out. */
  digest?: string
  /** How its input is kept (SEALED). */
  sealing?: number
}

export interface StepRecord extends StepView, Tally {
  /** Left out by sagas that are older than the kinds: compensatable. */
  kind?: StepKind
  /** What it was given, secrets masked; from the end of its first attempt. */
  input?: Json
  /** Where it is stuck; `code` stays with the decision on it. */
  stuckAt?: DecidedStep['at']
  /** A person has done it, and nobody is to call it again, whatever is decided later. */
  isByHand?: boolean
}

export interface CompensationRecord extends CompensationView, Tally {
  /** The participant's `verify` has found nothing left. */
  isVerified?: boolean
}

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
  /** As it is kept; null once the saga has ended. */
  input: Json
  /** How (SEALED). */
  sealing: number
  /** What is secret of it (sealed-values.ts), as long as it can act. */
  secrets: Sealed[] | null
  inputHash: string
  failures: Failures | null
  firstRunId: string | null
  /** The workflow that carries it along with others; null: its own. */
  carriedBy: string | null
  /** The call that has started it with others, and when its turn came: its time counts from there. */
  bulkId: string | null
  begunAt: Date | null
  openings: number
  claims: number
  cancel: CancelRequest | null
  /** The saga that it is a step of. */
  parentId: string | null
  parentStep: string | null
  /** A nested saga is done, and its parent decides whether that stays. */
  handedOverAt: Date | null
  /** Why it would roll back, while its pivot can't be settled. */
  stopping: RollbackCause | null
  steps: StepRecord[]
  compensations: CompensationRecord[]
  result: Json
  failedStep: string | null
  error: SagaError | null
  startedAt: Date
  endedAt: Date | null
  decidedAt: Date | null
  /** When the row was read, by the clock of PostgreSQL, which keeps all times of a saga: clocks of workers differ. */
  readAt: Date
}

/** The columns of `saga`, named as in SagaRecord. */
export const recordColumns = `saga_id AS "sagaId", type, fate, status, view, input, sealing, secrets, input_hash AS "inputHash", failures,
  first_run_id AS "firstRunId", carried_by AS "carriedBy", bulk_id AS "bulkId", begun_at AS "begunAt", openings, claims, cancel, stopping, steps, compensations, result, failed_step AS "failedStep",
  error, parent_id AS "parentId", parent_step AS "parentStep", handed_over_at AS "handedOverAt",
  started_at AS "startedAt", ended_at AS "endedAt", decided_at AS "decidedAt",
  clock_timestamp() AS "readAt"`

/** What the workflow ids of bulks' runs begin with. */
export const BULK_RUN = 'saga-bulk-'

/** Whether the run of a bulk carries it; not, once it has left that. */
export function isInBulk({ carriedBy }: Pick<SagaRecord, 'carriedBy'>): boolean {
  return carriedBy !== null && carriedBy.startsWith(BULK_RUN)
}

export function causeOf({ failedStep, error }: Pick<SagaRecord, 'failedStep' | 'error'>): RollbackCause {
  return { failedStep, error: error ?? { type: 'Error', message: 'no reason was recorded' } }
}

export function cancelCause(cancel: CancelRequest | null): RollbackCause {
  const message = cancel
    ? `cancelled by ${cancel.actor}: ${cancel.reason}`
    : 'cancelled from outside the API, with no reason given'
  return { failedStep: null, error: { type: 'Cancelled', message } }
}

/** Why a completed saga is compensated after all. */
export function compensationCause({ actor, reason }: Pick<CancelRequest, 'actor' | 'reason'>): RollbackCause {
  const error = { type: 'CompensationRequested', message: `compensated by ${actor}: ${reason}` }
  return { failedStep: null, error }
}

/** Once it has completed it can be compensated after all, with others of its bulk: no pivot in it, and no saga of its own. */
export function canBeReopened({ bulkId, steps }: Pick<SagaRecord, 'bulkId' | 'steps'>): boolean {
  return bulkId !== null && steps.every(({ kind, sagaId }) => kind === 'compensatable' && sagaId === undefined)
}

/** It had completed, and was compensated after all, or is to be. */
export function isReopened({ fate, error }: Pick<SagaRecord, 'fate' | 'error'>): boolean {
  return (fate === 'rollback' || fate === 'rolledBack') && error?.type === 'CompensationRequested'
}

/** The steps as the saga declared them when it was written down. */
export function declaredSteps({ steps }: Pick<SagaRecord, 'steps'>): StepDeclarations {
  return Object.fromEntries(
    steps.map(({ step, service, kind = 'compensatable', sagaId }) => [
      step,
      { service, kind, ...(sagaId !== undefined && { isSaga: true }) },
    ]),
  )
}

/** Of JSON, in all: an opening answers with them, beside the saga's own input. */
const MOST_INPUTS = 200_000

/** What the steps were given, secrets masked; not of all of them, if they are large together. */
export function inputsOf({ steps }: Pick<SagaRecord, 'steps'>): StepInputs {
  let left = MOST_INPUTS
  return Object.fromEntries(
    steps.flatMap(({ step, input }) => {
      if (input === undefined) return []
      left -= JSON.stringify(input).length
      return left < 0 ? [] : [[step, input]]
    }),
  )
}

/** Whether the saga is past its point of no return. */
export function isPastPivot({ steps }: Pick<SagaRecord, 'steps'>): boolean {
  return steps.some(
    ({ kind, status, outcome }) => kind === 'pivot' && (status === 'succeeded' || outcome === 'applied'),
  )
}

/** Whether a cancel would stop the saga: it goes forward, nobody has asked for it, and it is not past its pivot. */
export function isCancellable(record: Pick<SagaRecord, 'fate' | 'cancel' | 'handedOverAt' | 'steps'>): boolean {
  return record.fate === 'open' && !record.cancel && !record.handedOverAt && !isPastPivot(record)
}

export function isEnded({ fate }: Pick<SagaRecord, 'fate'>): boolean {
  return fate === 'completed' || fate === 'rolledBack'
}

/** How the saga has ended. Only for a record whose fate is `completed` or `rolledBack`. */
export function endingOf(record: SagaRecord): Ending {
  if (record.fate === 'completed') return { fate: 'completed', result: record.result }
  const { status } = record
  return {
    fate: 'rolledBack',
    status,
    cause: causeOf(record),
    compensations: record.compensations.map(toCompensationView),
  }
}

/** The whole saga as people see it. */
export function toView(record: SagaRecord): SagaView {
  const { sagaId, status, view: input, failedStep, error, endedAt, parentId, parentStep, bulkId } = record
  const parent = parentId !== null && parentStep !== null && { sagaId: parentId, step: parentStep }
  const head = { sagaId, status, ...(parent && { parent }), input }
  return {
    ...head,
    ...fieldsOf(record.result),
    // Once more: a field of the result may have the same name.
    ...head,
    ...(failedStep !== null && { failedStep }),
    ...(error && { error }),
    startedAt: record.startedAt.toISOString(),
    ...(endedAt && { endedAt: endedAt.toISOString() }),
    ...(bulkId !== null && { bulkId }),
    steps: record.steps.map(toStepView),
    compensations: record.compensations.map(toCompensationView),
  }
}

export function toStepView({ kind, input, stuckAt, isByHand, spent, decision, ...shown }: StepRecord): StepView {
  return shown
}

export function toCompensationView({ isVerified, spent, decision, ...shown }: CompensationRecord): CompensationView {
  return shown
}

/**
 * The saga as it stands now. An attempt leaves a row when it has ended; that one is under way follows from the saga's fate:
 * the first step that has not begun, the first compensation that has not.
 */
export function withRunning<S extends SagaRecord>(record: S): S {
  const { fate, status, openings, steps, compensations } = record
  if (openings === 0 || status === 'NEEDS_ATTENTION' || isEnded(record)) return record
  const next = fate === 'open' ? steps.find(({ status }) => status !== 'succeeded') : undefined
  const nextBack = fate === 'rollback' ? compensations.find(isDue) : undefined
  const running = <T extends StepRecord | CompensationRecord>(one: T, under: unknown): T =>
    one === under && one.status === 'pending' ? { ...one, status: 'running' } : one
  return {
    ...record,
    steps: steps.map((step) => running(step, next)),
    compensations: compensations.map((one) => running(one, nextBack)),
  }
}

import { ActivityFailure, ApplicationFailure, TemporalFailure, TimeoutFailure, rootCause } from '@temporalio/common'
import type { Ending, RollbackCause, SagaError } from './types.js'

/** Failure types on the wire, by who must act next. Made by the factories below, never by subclassing. */
export const FailureType = {
  /** The service said no: nobody tries again, the saga rolls back. */
  Rejected: 'Rejected',
  /** No call was made, for something was away: try again. */
  Unavailable: 'Unavailable',
  /** A call was made and its effect is not known: try again through the barrier, or compensate. */
  OutcomeUnknown: 'OutcomeUnknown',
  /** A call came after its own compensation: nothing was done, and nothing will be. */
  LateInvoke: 'LateInvoke',
  /** A result that can't be told: too large, or no JSON that can be kept. What came with it was rolled back. */
  InvalidResult: 'InvalidResult',
  /** The input of a saga is not right: nothing ran. */
  InvalidInput: 'InvalidInput',
  /** The id belongs to another saga. */
  SagaIdTaken: 'SagaIdTaken',
  /** The saga has ended, everything it did is undone. */
  SagaCompensated: 'SagaCompensated',
  /** Somebody cancelled the saga. */
  Cancelled: 'Cancelled',
  /** The saga's time was up. */
  DeadlineExceeded: 'DeadlineExceeded',
  /** The saga had completed, and somebody wanted it compensated after all. */
  CompensationRequested: 'CompensationRequested',
  /** The saga was taken up again after its run was terminated or lost. */
  Terminated: 'Terminated',
  /** A decision that can't be taken: nothing has changed. */
  DecisionRefused: 'DecisionRefused',
  /** A run that is to decide for many finds no call that asks for it. */
  UnknownDecisions: 'UnknownDecisions',
  /** A compensation is done, and yet its participant still finds something of the saga. */
  Residue: 'Residue',
  /** A step took effect, and yet its compensation found nothing to undo. */
  NothingToUndo: 'NothingToUndo',
  /** No local activity of this worker: it has not opened the run, or can't reach PostgreSQL. A regular one may be taken by any. */
  NotHere: 'NotHere',
  /** A saga that shares a run is not to be waited for any longer: it goes on in one of its own. */
  LeavesGroup: 'LeavesGroup',
  /** Something is encrypted with a key that is not at hand: no attempt was made, and none counts, until it is. */
  UnreadablePayload: 'UnreadablePayload',
} as const
export type FailureType = (typeof FailureType)[keyof typeof FailureType]

export interface InputProblem {
  /** Where, as a JSON pointer such as "/username". */
  path: string
  message: string
}

/** A participant's refusal for business reasons. Kept by the barrier, never retried, never taken back by a later "ok". */
export function rejected(message: string): ApplicationFailure {
  return ApplicationFailure.create({ type: FailureType.Rejected, message: textOf(message), nonRetryable: true })
}

export function invalidResult(message: string): ApplicationFailure {
  return ApplicationFailure.create({ type: FailureType.InvalidResult, message, nonRetryable: true })
}

export function unavailable(message: string): ApplicationFailure {
  return ApplicationFailure.create({ type: FailureType.Unavailable, message })
}

export function notHere(why: string): ApplicationFailure {
  const message = `This worker does not do it: ${why}`
  return ApplicationFailure.create({ type: FailureType.NotHere, message, nonRetryable: true })
}

export function outcomeUnknown(message: string, { nonRetryable = false } = {}): ApplicationFailure {
  return ApplicationFailure.create({ type: FailureType.OutcomeUnknown, message, nonRetryable })
}

export function lateInvoke(call: { sagaId: string; step: string }): ApplicationFailure {
  const message = `${call.step} of saga ${call.sagaId} has been compensated already, so this call changed nothing`
  return ApplicationFailure.create({ type: FailureType.LateInvoke, message, nonRetryable: true })
}

export function invalidInput(problems: InputProblem[]): ApplicationFailure {
  const message = `The saga's input is not right: ${problems.map(({ path, message }) => `${path || 'input'} ${message}`).join('; ')}. Nothing ran; start it again, under another id, with the input put right.`
  return ApplicationFailure.create({ type: FailureType.InvalidInput, message, nonRetryable: true, details: [problems] })
}

export function sagaIdTaken(sagaId: string, why: string): ApplicationFailure {
  const message = `The id ${sagaId} is taken: ${why}. An id is used once; start again under another one.`
  return ApplicationFailure.create({ type: FailureType.SagaIdTaken, message, nonRetryable: true })
}

/** Why a saga rolls back whose time is up. */
export function deadlineExceeded({ deadlineMs }: { deadlineMs: number }): RollbackCause {
  const message = `not done within ${deadlineMs / 1_000} s, which is all the time that a saga has`
  return { failedStep: null, error: { type: FailureType.DeadlineExceeded, message } }
}

export function decisionRefused(message: string): ApplicationFailure {
  return ApplicationFailure.create({ type: FailureType.DecisionRefused, message, nonRetryable: true })
}

export function unknownDecisions(decisionsId: string): ApplicationFailure {
  const message = `There are no decisions ${decisionsId}; POST /saga/decisions makes some, and starts their run.`
  return ApplicationFailure.create({ type: FailureType.UnknownDecisions, message, nonRetryable: true })
}

/** The failure that closes a rolled back saga; its details are the whole account: cause and every compensation. */
export function sagaCompensated(sagaId: string, ending: Ending & { fate: 'rolledBack' }): ApplicationFailure {
  const { failedStep, error } = ending.cause
  const why = failedStep
    ? `step ${failedStep} failed: ${error.type}: ${error.message}`
    : `${error.type}: ${error.message}`
  return ApplicationFailure.create({
    type: FailureType.SagaCompensated,
    message: `Saga ${sagaId} was ${ending.status === 'PARTIALLY_COMPENSATED' ? 'compensated in part' : 'compensated'}: ${why}`,
    nonRetryable: true,
    details: [{ sagaId, failedStep, error, compensations: ending.compensations }],
    ...(error.type === FailureType.Cancelled && {
      cause: ApplicationFailure.create({ type: FailureType.Cancelled, message: error.message, nonRetryable: true }),
    }),
  })
}

export function isFailure(error: unknown, type: FailureType): error is ApplicationFailure {
  return error instanceof ApplicationFailure && error.type === type
}

/** What an activity failed with: a regular one's failure comes wrapped, a local one's as it is. */
export function applicationFailureOf(error: unknown): ApplicationFailure | undefined {
  const inner = error instanceof ActivityFailure ? error.cause : error
  return inner instanceof ApplicationFailure ? inner : undefined
}

/** The participant's own failure inside what an activity call threw, put in words for people. */
export function toSagaError(error: unknown): SagaError {
  const failure = applicationFailureOf(error)
  if (failure) return { type: failure.type ?? 'Error', message: cut(textOf(failure)) }
  const inner = error instanceof ActivityFailure ? (error.cause ?? error) : error
  if (inner instanceof TimeoutFailure) {
    return { type: FailureType.OutcomeUnknown, message: 'no answer in time: the process that made the call is gone' }
  }
  const root = inner instanceof TemporalFailure ? rootCause(inner) : inner
  return { type: inner instanceof Error ? nameOf(inner) : 'Error', message: cut(textOf(root)) }
}

/** It goes into a log row, into Temporal's history, and before people. */
const cut = (message: string) => (message.length > 1_000 ? `${storable(message.slice(0, 1_000))}…` : message)

/** Its name, of whatever kind the code has made that. */
function nameOf({ name }: Error): string {
  return typeof name === 'string' ? storable(name) : 'Error'
}

/** The text of whatever code has thrown, which need be no error and have no text; one that PostgreSQL and Temporal can keep. */
export function textOf(thrown: unknown): string {
  try {
    const text: unknown = typeof thrown === 'object' && thrown !== null && 'message' in thrown ? thrown.message : thrown
    if (typeof text === 'string') return storable(text)
    if (typeof thrown === 'number' || typeof thrown === 'boolean' || typeof thrown === 'bigint') return `${thrown}`
    return `${kindOf(thrown)} was thrown, with no text that says why`
  } catch {
    return 'something was thrown that has no text'
  }
}

const kindOf = (thrown: unknown) =>
  thrown === undefined || thrown === null
    ? String(thrown)
    : thrown instanceof Error
      ? nameOf(thrown)
      : `no error but something of type ${typeof thrown}`

/** Also one of another realm, such as the driver's or Node's own where this runs in a context of its own. */
function isError(thrown: unknown): thrown is Error {
  try {
    return thrown instanceof Error || Object.prototype.toString.call(thrown) === '[object Error]'
  } catch {
    return false
  }
}

/** What code has thrown as an error whose message is a text. */
export function toError(thrown: unknown): Error {
  const message = textOf(thrown)
  if (!isError(thrown)) return new Error(message, { cause: thrown })
  if (thrown.message === message) return thrown
  if (!(thrown instanceof ApplicationFailure)) return new Error(message, { cause: thrown })
  const { type, nonRetryable } = thrown
  return ApplicationFailure.create({ message, nonRetryable: nonRetryable === true, ...(type && { type }) })
}

/** A text as PostgreSQL and protobuf take it: with U+FFFD in the place of NUL and of half a surrogate pair. */
export function storable(text: string): string {
  return text.replace(/\0|\p{Cs}/gu, '\ufffd')
}

/**
 * The vocabulary of the engine.
 *
 * - saga: one run; its id is the workflow id.
 * - step: a place in a saga's declared order, such as "A".
 * - participant: a service with `invoke` and `compensate`.
 * - barrier: the rows that make an operation of a step happen at most once, in the participant's own database.
 * - attempt: one try of one operation, counted from 1 in the order in which they end.
 * - outcome: whether the effect exists.
 * - fate: what has been decided of a saga, once, by compare-and-set; its status is what people are shown.
 */

export type Json = null | boolean | number | string | Json[] | { [key: string]: Json }

export type Status =
  | 'RUNNING'
  | 'COMPLETED'
  | 'COMPENSATING'
  | 'COMPENSATED'
  | 'PARTIALLY_COMPENSATED'
  | 'NEEDS_ATTENTION'

export type Fate = 'open' | 'rollback' | 'completed' | 'rolledBack'

/** `unknown`: a time-out, a crash or a lost answer; it may have taken effect, and may still. */
export type Outcome = 'applied' | 'rejected' | 'unknown'

export type Operation = 'invoke' | 'compensate'

/** What goes wrong, as people are shown it: a failure type of errors.ts and one sentence. */
export interface SagaError {
  type: string
  message: string
}

/** A participant as its author writes it: business statements in a transaction `Tx` that the barrier opens and ends. */
export interface Participant<Input, Result, Tx = unknown> {
  /** How steps and people name it, such as "user". */
  readonly name: string
  /** Does the work. Throws `rejected(…)` to refuse for good; anything else counts as unknown and is tried again. */
  invoke(tx: Tx, call: { sagaId: string; input: Input }): Promise<Result>
  /** Takes the work back, given what the work was given and what it answered. Runs only where `invoke` was applied. */
  compensate(tx: Tx, call: { sagaId: string; input: Input; result: Result }): Promise<void>
}

// Method parameters compare bivariantly, so every participant is one of these, whatever it takes and gives.
export type AnyParticipant = Participant<never, Json | void, never>

export type InputOf<P> = P extends { invoke(tx: never, call: { sagaId: string; input: infer I }): unknown } ? I : never
export type ResultOf<P> = P extends { invoke(...args: never[]): Promise<infer R> } ? R : never

/** A declared step. `P` is the participant's type; only its name exists in the workflow. */
export interface StepDeclaration<P = unknown> {
  readonly kind: 'compensatable'
  readonly service: string
  /** Carries `P` for the compiler; never set. */
  readonly participant?: P
}

export type StepDeclarations = Record<string, StepDeclaration>

/** How often and how long a call is tried. Delays double from `firstDelayMs` up to `maxDelayMs`. */
export interface CallPolicy {
  attempts: number
  firstDelayMs: number
  maxDelayMs: number
}

/** One attempt's orders, from the workflow to the activity that makes it. */
export interface AttemptOrder {
  step: string
  service: string
  op: Operation
  /** The whole attempt, in ms, waiting for a database that is away included. */
  timeoutMs: number
  /** Attempts at most, as counted in the log; null: without end. */
  budget: number | null
}

export interface InvokeOrder extends AttemptOrder {
  op: 'invoke'
  input: Json
}

export interface CompensateOrder extends AttemptOrder {
  op: 'compensate'
  /** False for a step that no run is known to have reached: no log row where there was nothing to compensate, no injected failures. */
  reached: boolean
}

/** `empty`: there was nothing to take back, and a late invoke is refused from now on. */
export type CompensateVerdict = 'done' | 'empty'

/** What the workflow tells of itself when it opens. */
export interface OpenOrder {
  type: string
  steps: StepDeclarations
  input: Json
  firstRunId: string
}

/** How a run is to go on, decided by the saga's row. */
export type Opening =
  | { go: 'forward'; input: Json; settings: RunSettings }
  | { go: 'rollback'; cause: RollbackCause; settings: RunSettings }
  | { go: 'ended'; ending: Ending }

export interface RunSettings {
  stepTimeoutMs: number
  /** Set once a run of this saga was lost or a call of it failed: local activities leave no trace where they die. */
  regularOnly: boolean
}

/** Why a saga rolls back. */
export interface RollbackCause {
  /** Null: not a step's failure, such as a cancel. */
  failedStep: string | null
  error: SagaError
}

export interface RollbackOrder {
  cause: RollbackCause
  /** Steps that this run reached, newest first: the order in which they are compensated. */
  reached: string[]
}

/** What became of a claim: `rollback` for us to carry out, or how the saga has ended already. */
export type RollbackClaim =
  | {
      go: 'rollback'
      regularOnly: boolean
      /** To compensate, in this order. */
      reached: string[]
      /** Declared steps that no run is known to have reached; to be settled before the others. */
      unreached: string[]
    }
  | { go: 'ended'; ending: Ending }

/** What became of the attempt to complete: how the saga has ended, or why it must be rolled back. */
export type CompletionClaim = { go: 'rollback'; cause: RollbackCause } | { go: 'ended'; ending: Ending }

export type Ending =
  | { fate: 'completed'; result: Json }
  | { fate: 'rolledBack'; cause: RollbackCause; compensations: CompensationSummary[] }

export interface CompensationSummary {
  step: string
  status: 'pending' | 'running' | 'done' | 'empty' | 'stuck' | 'resolved' | 'skipped'
  attempts: number
  error?: SagaError
}

/** The engine's activities, as the workflow sees them; src/saga/node/activities.ts implements them. */
export interface SagaActivities {
  /** Checks the input and decides by the saga's row how this run goes on. Throws InvalidInput, SagaIdTaken. */
  openSaga(order: OpenOrder): Promise<Opening>
  /** One attempt of a step. Throws Rejected, LateInvoke, OutcomeUnknown, Unavailable. */
  invoke(order: InvokeOrder): Promise<{ result: Json }>
  /** One attempt to compensate a step. Throws what the participant threw, mapped to a failure type. */
  compensate(order: CompensateOrder): Promise<{ verdict: CompensateVerdict }>
  /** open → completed, by compare-and-set. */
  completeSaga(order: { result: Json }): Promise<CompletionClaim>
  /** open → rollback, by compare-and-set. */
  claimRollback(order: RollbackOrder): Promise<RollbackClaim>
  /** rollback → rolledBack; returns what was done. */
  closeRolledBack(): Promise<Ending>
}

export interface SweepActivities {
  /** Starts sagas whose row has no run yet, and repeats cancels that did not get through. */
  sweep(): Promise<{ started: number; cancelled: number }>
}

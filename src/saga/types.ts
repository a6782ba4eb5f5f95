/**
 * The vocabulary of the engine.
 *
 * - saga: one run; its id is the workflow id.
 * - step: a place in a saga's declared order, such as "A".
 * - nested saga: a saga that is a step of another one, its parent.
 * - participant: a service with `invoke` and `compensate`.
 * - barrier: the rows that make an operation of a step happen at most once, in the participant's own database.
 * - attempt: one try of one operation, counted from 1 in the order in which they end.
 * - outcome: whether the effect exists.
 * - fate: what has been decided of a saga, once, by compare-and-set; its status is what people are shown.
 */

export type Json = null | boolean | number | string | Json[] | { [key: string]: Json }

export const STATUSES = [
  'RUNNING',
  'COMPLETED',
  'COMPENSATING',
  'COMPENSATED',
  'PARTIALLY_COMPENSATED',
  'NEEDS_ATTENTION',
] as const
export type Status = (typeof STATUSES)[number]

export type Fate = 'open' | 'rollback' | 'completed' | 'rolledBack'

/** `unknown`: a time-out, a crash or a lost answer; it may have taken effect, and may still. */
export type Outcome = 'applied' | 'rejected' | 'unknown'

/**
 * `settle` asks the barrier of a pivot whether it took effect, and makes sure that it never will where it did not.
 */
export type Operation = 'invoke' | 'compensate' | 'settle'

/**
 * `compensatable`: can be undone. `pivot`: the point of no return; once it is applied the saga only goes forward.
 * `retriable`: after the pivot; tried until it succeeds, never undone.
 */
export type StepKind = 'compensatable' | 'pivot' | 'retriable'

/** What goes wrong, as people are shown it: a failure type of errors.ts and one sentence. */
export interface SagaError {
  type: string
  message: string
}

/** What a probe found: the effect with its result, or no effect so far (a call under way may still commit one). */
export type Probe<Result> = { applied: true; result: Result } | { applied: false }

/**
 * A participant of a pivot or a retriable step, which are never undone, as its author writes it: business statements in a
 * transaction `Tx` that the barrier opens and ends.
 */
export interface ForwardParticipant<Input, Result, Tx = unknown> {
  /** How steps and people name it, such as "user". */
  readonly name: string
  /** Does the work. Throws `rejected(…)` to refuse for good; anything else counts as unknown and is tried again. */
  invoke(tx: Tx, call: { sagaId: string; input: Input }): Promise<Result>
  /**
   * Does the work of many sagas with one statement or a few; the results in the order of the calls. `rejected(…)` as a result
   * refuses that call alone, for which nothing may have been done. Where it throws, or one of the calls proves to have been
   * made before, all of it is rolled back and each call is made alone: so it may do nothing but through `tx`. Used where sagas
   * share a run.
   */
  invokeMany?(tx: Tx, calls: readonly { sagaId: string; input: Input }[]): Promise<(Result | Error)[]>
  /** Looks whether the work took effect, once an attempt has ended without saying so. One indexed query. */
  probe?(tx: Tx, call: { sagaId: string; input: Input }): Promise<Probe<Result>>
  /** Names what is left of the saga, such as "table_a 7"; nothing: an empty list. One indexed query. */
  verify?(tx: Tx, call: { sagaId: string }): Promise<string[]>
}

/** A participant whose work can be taken back. */
export interface Participant<Input, Result, Tx = unknown> extends ForwardParticipant<Input, Result, Tx> {
  /** Takes the work back, given what the work was given and what it answered. Runs only where `invoke` was applied. */
  compensate(tx: Tx, call: { sagaId: string; input: Input; result: Result }): Promise<void>
  /** Takes back the work of many sagas with one statement or a few. What holds of `invokeMany` holds here. */
  compensateMany?(tx: Tx, calls: readonly { sagaId: string; input: Input; result: Result }[]): Promise<void>
}

// Every participant is one of these, whatever it takes and gives, also one with a type of its own.
export type AnyForwardParticipant = ForwardParticipant<never, Json | void, never>
export type AnyParticipant = AnyForwardParticipant & {
  compensate(tx: never, call: { sagaId: string; input: never; result: never }): Promise<void>
}

export type InputOf<P> = P extends { invoke(tx: never, call: { sagaId: string; input: infer I }): unknown } ? I : never
export type ResultOf<P> = P extends { invoke(...args: never[]): Promise<infer R> } ? R : never

/** A declared step. `P` is the participant's type; only its name exists in the workflow. */
export interface StepDeclaration<Kind extends StepKind = StepKind, P = unknown> {
  readonly kind: Kind
  /** The participant's name; of a nested saga its type. */
  readonly service: string
  readonly isSaga?: true
  /** Carries `P` for the compiler; never set. */
  readonly participant?: P
}

export type StepDeclarations = Record<string, StepDeclaration>

/** A step as people see it. All declared steps are shown, in declared order. */
export interface StepView {
  step: string
  service: string
  /** The nested saga that it is. */
  sagaId?: string
  status: 'pending' | 'running' | 'succeeded' | 'failed' | 'stuck'
  outcome?: Outcome
  attempts: number
  startedAt?: string
  endedAt?: string
  error?: SagaError
}

/** A compensation as people see it. `empty`: there was nothing to undo. */
export interface CompensationView {
  step: string
  status: 'pending' | 'running' | 'done' | 'empty' | 'stuck' | 'resolved' | 'skipped'
  attempts: number
  error?: SagaError
  /** Who decided last, and why. */
  actor?: string
  reason?: string
}

/** The whole saga as people see it; the fields of its result stand beside these. */
export interface SagaView {
  sagaId: string
  status: Status
  /** The saga that it is a step of: its outcome stays open until that one's is known. */
  parent?: Nesting
  /** Secrets masked. */
  input: Json
  failedStep?: string
  error?: SagaError
  startedAt: string
  endedAt?: string
  /** The call that has started it with others. */
  bulkId?: string
  steps: StepView[]
  compensations: CompensationView[]
}

/** Where a nested saga belongs. */
export interface Nesting {
  sagaId: string
  step: string
}

/** What a rollback would do now, in the order in which it would. */
export interface Plan {
  steps: {
    step: string
    service: string
    action: 'compensate'
    /** What the step was given, secrets masked; null until its first attempt has ended. */
    input: Json
  }[]
}

/** A person's word on what is stuck. */
export interface Decision {
  step: string
  /** Try again; it has been done by hand; leave what it did. */
  action: 'retry' | 'resolve' | 'skip'
  reason: string
  actor: string
  /** With `retry`: in the place of what the step was given. */
  input?: Json
}

/** A decision as a run hears of it: with a number it stands in the saga's row already. */
export interface ToldDecision extends Decision {
  number?: number
}

/** A decision that stands in the saga's row. */
export interface RecordedDecision extends Decision {
  /** The how manyth on its step it is, from 1. */
  number: number
}

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
  /** The nested saga that the step is: the attempt has been its run, and it is looked at what became of that. */
  nestedId?: string
  op: Operation
  /** The whole attempt, in ms, waiting for a database that is away included. */
  timeoutMs: number
  /** Attempts at most since the last decision or recovery, as counted in the log; null: the time is the limit. */
  budget: number | null
  /** Decisions on this step that the run knows of: with a new one a refusal that was kept is asked for again. */
  decisions: number
}

export interface InvokeOrder extends AttemptOrder {
  op: 'invoke'
  kind: StepKind
  input: Json
}

export interface CompensateOrder extends AttemptOrder {
  op: 'compensate' | 'settle'
  /** False for a step that no run is known to have reached: no log row where there was nothing to compensate, no injected failures. */
  reached: boolean
  /** A decision's, in the place of what the step was given. */
  input?: Json
  /** Of a pivot that is settled: why the saga rolls back where it proves not to be applied. */
  cause?: RollbackCause
}

/**
 * `empty`: there was nothing to take back, and a late invoke is refused from now on. `skipped`: of a nested saga a person
 * has left something as it is.
 */
export type CompensateVerdict = 'done' | 'empty' | 'skipped'

/** `applied`: it took effect and stays; `empty`: it did not, and never will. */
export type SettleVerdict = { verdict: 'applied'; result: Json } | { verdict: 'empty' }

/** What an attempt made of the saga, for the run's own picture of it. */
export interface Changed {
  step?: StepView & { input?: Json }
  compensation?: CompensationView
  /** Nothing was heard of the participant: whether there is anything to compensate is as open as before. */
  isSilent?: true
}

/** What the workflow tells of itself when it opens. */
export interface OpenOrder {
  type: string
  steps: StepDeclarations
  input: Json
  /** Why the input is not sent along: it is refused. */
  problem?: { path: string; message: string }
  firstRunId: string
  nestedIn?: Nesting
}

/** How a run is to go on, decided by the saga's row. */
export type Opening =
  | {
      go: 'forward'
      input: Json
      settings: RunSettings
      view: SagaView
      /** Time left until the saga's deadline. */
      leftMs: number
      /** The pivot is applied already: forward is the only way. */
      pastPivot: boolean
      decided: DecidedStep[]
      inputs: StepInputs
    }
  | {
      go: 'rollback'
      cause: RollbackCause
      settings: RunSettings
      view: SagaView
      /** The fate is decided; else the pivot, where there is one, has its say first. */
      isClaimed: boolean
      decided: DecidedStep[]
      inputs: StepInputs
    }
  | { go: 'ended'; ending: Ending; view: SagaView }

/** What earlier runs have given the steps, secrets masked. */
export type StepInputs = Record<string, Json>

export interface RunSettings {
  stepTimeoutMs: number
  /** The whole of the time that a saga has. */
  deadlineMs: number
  /** A run of this saga was lost, or a call of it failed: local activities leave no trace where they die. */
  regularOnly: boolean
  /**
   * How a run behaves, recorded with its opening, so that a history replays as it was made. Left out by workers of an earlier
   * version. From 2 on a workflow task with large answers is ended, inputs of steps have a largest size, and the namespace is
   * asked for the search attribute each time before it is set.
   */
  version?: 2
}

/** What people have decided, or are still to decide, of a step on the way forward. */
export interface DecidedStep {
  step: string
  /** `code`: not the step, but what the saga's own code does behind the point of no return. */
  at: 'invoke' | 'settle' | 'code'
  isStuck: boolean
  /** The last word on it was that it is done by hand; at `code`: all the rest. */
  isResolved: boolean
  /** A person has done the step, and nobody is to call it again, whatever is decided later. */
  isByHand: boolean
  decisions: number
  /** A decision's, in the place of what the code gives it. */
  input?: Json
}

/** What the sweep found of a saga's last run. */
export interface Loss {
  /** Such as "its run was terminated: by mistake". */
  message: string
}

/** How a saga whose run is gone is taken up again. */
export type Recovery =
  | { go: 'ended'; ending: Ending; view: SagaView }
  | {
      go: 'recover'
      type: string
      /** As it was started, failures included. */
      request: Json
      steps: StepDeclarations
      cause: RollbackCause
      settings: RunSettings
      /** The fate is decided: the rollback goes on. */
      isClaimed: boolean
      /** The pivot is applied: the saga goes on forward. */
      pastPivot: boolean
      inputs: StepInputs
      view: SagaView
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

/** A compensation that is still to be done. */
export interface DueCompensation {
  step: string
  /** As the saga's row has them; left out by workers of an earlier version. */
  service?: string
  isSaga?: true
  /** False: no run is known to have reached the step. */
  reached: boolean
  /** It waits for a person. */
  isStuck: boolean
  decisions: number
  input?: Json
}

/** What became of a claim: `rollback` for us to carry out, in the given order, or how the saga has ended already. */
export type RollbackClaim =
  | { go: 'rollback'; regularOnly: boolean; due: DueCompensation[]; view: SagaView }
  | { go: 'ended'; ending: Ending; view: SagaView }

/** What became of the attempt to complete: how the saga has ended, or why it must be rolled back. */
export type CompletionClaim =
  | { go: 'rollback'; cause: RollbackCause }
  | { go: 'ended'; ending: Ending; endedAt: string | undefined }

/** What became of the attempt to close a rollback: ended, or still to be verified, or left behind what it should not. */
export type Closing =
  | { go: 'ended'; ending: Ending; view: SagaView }
  | { go: 'verify' }
  | { go: 'on'; due: DueCompensation[]; view: SagaView }

/** A nested saga of which the rollback of its parent wants that it goes back. */
export type NestedClaim = { go: 'run'; type: string; input: Json } | { go: 'over' }

export interface ParkOrder {
  step: string
  at: 'compensate' | DecidedStep['at']
  /** Null: it waits already, says the row. */
  error: SagaError | null
  decisions: number
  /** Why the saga would roll back, could its pivot be settled. */
  cause?: RollbackCause
}

/**
 * What became of parking: waiting, or a decision that came first, or how the saga has ended meanwhile. `again`: the step is
 * done, says a row that was written late; tried again it has its answer.
 */
export type Parking =
  | { go: 'again'; view: SagaView }
  | { go: 'wait'; hasSagaStatus: boolean; view: SagaView }
  | { go: 'on'; decision: RecordedDecision; view: SagaView }
  | { go: 'ended'; ending: Ending; view: SagaView }

export type Ending =
  | { fate: 'completed'; result: Json }
  | { fate: 'rolledBack'; status: Status; cause: RollbackCause; compensations: CompensationView[] }

/** The engine's activities, as the workflow sees them; src/saga/node/activities.ts implements them. */
export interface SagaActivities {
  /** Checks the input and decides by the saga's row how this run goes on. Throws InvalidInput, SagaIdTaken. */
  openSaga(order: OpenOrder): Promise<Opening>
  /** Takes up a saga whose run is gone. Throws where it has no row. */
  openRecovery(order: { firstRunId: string; loss?: Loss }): Promise<Recovery>
  /** One attempt of a step. Throws Rejected, LateInvoke, OutcomeUnknown, Unavailable. */
  invoke(order: InvokeOrder): Promise<{ result: Json; changed: Changed }>
  /** One attempt to compensate a step. Throws what the participant threw, mapped to a failure type. */
  compensate(order: CompensateOrder): Promise<{ verdict: CompensateVerdict; changed: Changed }>
  /** Makes sure that a nested saga goes back; how to run it for that, where it is not over. */
  claimNested(order: { nestedId: string }): Promise<NestedClaim>
  /** One attempt to settle whether a pivot took effect. */
  settle(order: CompensateOrder): Promise<SettleVerdict & { changed: Changed }>
  /** open → completed, by compare-and-set. */
  completeSaga(order: { result: Json }): Promise<CompletionClaim>
  /** open → rollback, by compare-and-set. */
  claimRollback(order: RollbackOrder): Promise<RollbackClaim>
  /** Says that a step waits for a person. */
  parkSaga(order: ParkOrder): Promise<Parking>
  /** Writes a decision down, by compare-and-set on what is stuck. Throws DecisionRefused. */
  recordDecision(decision: ToldDecision): Promise<{ decision: RecordedDecision; view: SagaView }>
  /** A run has heard of a decision, and acts on it. */
  takeDecision(order: { step: string; number: number }): Promise<{ view: SagaView }>
  /** Whether the namespace has the search attribute SagaStatus: to upsert one that it lacks fails a workflow task for ever. */
  hasSagaStatus(): Promise<boolean>
  /** Asks the participants what is left of a rolled back saga, and writes it down. */
  verifyCompensations(): Promise<void>
  /** rollback → rolledBack, by compare-and-set. */
  closeRolledBack(order: { verified: boolean }): Promise<Closing>
}

/** How a group takes up one of its sagas, by its row. */
export interface MemberOrder {
  type: string
  steps: StepDeclarations
  /** Of the group's run. */
  firstRunId: string
  /** The group's workflow id. */
  carriedBy: string
}

/** What the engine does for a saga of a group. What only its own run would show, such as its view, is left out of the answers. */
export type GroupedCalls = Pick<
  SagaActivities,
  | 'invoke'
  | 'compensate'
  | 'settle'
  | 'claimNested'
  | 'completeSaga'
  | 'claimRollback'
  | 'parkSaga'
  | 'verifyCompensations'
  | 'closeRolledBack'
> & {
  /** `elsewhere`: another run has it. */
  openMember(order: MemberOrder): Promise<Opening | { go: 'elsewhere' }>
  /** Gives the saga a run of its own, which goes on from its row. */
  leaveGroup(): Promise<void>
}

/** A call that has started many sagas, by its id. */
export interface BulkCall {
  bulkId: string
}

/** A part of a bulk: every so manyth window of its sagas. */
export interface BulkLane {
  /** Counted from 0. */
  lane: number
  lanes: number
  /** The place behind which those stand whose turn has not come. */
  after: number
}

/** The next sagas of a lane that are to be run. */
export interface BulkWindow {
  /** None: those that are left are under way, or wait for the bulk to be resumed. */
  sagaIds: string[]
  /** Behind this place those that follow stand. */
  upTo: number
  /** Sagas of a window at most. */
  most: number
  /** Sagas that a lane has under way at most, those included that wait between two attempts; left out by earlier workers. */
  mostUnderWay?: number
}

/** What a lane's run asks for, under the bulk's id in the place of a saga's. */
export interface BulkCalls {
  /** Decides by the bulk's sagas whether it goes on. */
  nextWindow(order: BulkLane): Promise<BulkWindow>
}

/** The workflow's side of a bulk; src/saga/node/saga-bulk.ts implements it. */
export interface BulkActivities {
  /** `isOver`: the bulk has ended, or has paused and nothing of it is left to be run. `lanes`: how many have sagas to run. */
  bulkStanding(bulk: BulkCall): Promise<{ isOver: boolean; lanes: number }>
}

/** One call for each of many sagas. */
export interface CallBatch {
  name: keyof GroupedCalls | keyof BulkCalls
  calls: { sagaId: string; order: unknown }[]
}

export type Answer = { ok: unknown } | { failure: { type: string; message: string; nonRetryable: boolean } }

/** The workflow's side of sagas that share a run; src/saga/node/group.ts implements it. */
export interface GroupActivities {
  /** Makes the calls side by side; the answers in their order. One that fails does not hold the others. */
  callMany(batch: CallBatch): Promise<Answer[]>
}

/** The workflow's side of a call that decides for many sagas; src/saga/node/saga-decisions.ts implements it. */
export interface DecisionsActivities {
  /** Decides for some of the sagas that are left, at the call's rate; how the call stands then. */
  decideSome(call: DecisionsCall): Promise<DecisionsState>
  /** Ends a call that is not to go on. */
  stopDecisions(call: DecisionsCall & { because: string }): Promise<DecisionsState>
}

/** One call that decides for many sagas. */
export interface DecisionsCall {
  decisionsId: string
}

export interface DecisionsState {
  /** `stopped`: some of its sagas were not tried. */
  status: 'running' | 'done' | 'stopped'
  matching: number
  decided: number
  failed: number
}

export interface SweepActivities {
  /** Looks after every saga whose row is unfinished and which nobody has in hand. */
  sweep(): Promise<Swept>
}

/** How many sagas a sweep found, by what it did for them. */
export interface Swept {
  started: number
  cancelled: number
  recovered: number
  decided: number
  /** Not sagas, but calls that decide for many of them, or have started them, whose run was gone. */
  decisions: number
  bulks: number
  /** Whose log lacked attempts of a lost worker. */
  mirrored: number
  /** Whose run is open, but which have not moved for ten minutes. */
  withoutProgress: number
}

import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { activityInfo } from '@temporalio/activity'
import { ApplicationFailure } from '@temporalio/common'
import type { Logger } from 'pino'
import { awayMessage, isDatabaseAway, isLockedOut, isPassing, refusedStatement, whileAway } from './db.js'
import {
  FailureType,
  decisionRefused,
  notHere,
  outcomeUnknown,
  storable,
  textOf,
  toError,
  toSagaError,
  unavailable,
} from '../errors.js'
import type { Changed, CompensateOrder, InvokeOrder, Json, OpenOrder, Outcome, SagaActivities } from '../types.js'
import { NotTogether, type BarredParticipant, type Call } from './barrier.js'
import { loggedError } from './logged-error.js'
import type { Slots } from './gathering.js'
import { nestedSaga } from './nested-saga.js'
import { UnreadablePayload } from './payload-keys.js'
import { InjectedCrash, type Injection } from './failure-injection.js'
import type { AttemptEnd, Finding, Findings } from './projection.js'
import { declaredSteps, toView } from './saga-record.js'
import type { AttemptStart, Decided, SagaStore, Times } from './saga-store.js'
import { masked, redacted } from './secrets.js'

export interface SagaActivityOptions extends Times {
  store: SagaStore
  /** The participant of that name, with these failures injected into its calls (none where `injection` is undefined). */
  participant: (service: string, injection: Injection | undefined) => BarredParticipant
  /** Whether the namespace has the search attribute SagaStatus. */
  hasSagaStatus: () => Promise<boolean>
  /** Calls of participants that are under way at once; left out: as many as are asked for. */
  slots?: Slots
  logger: Logger
}

/** How long an attempt waits for the saga's row when PostgreSQL is away, and for its own log row at the end. */
const BEGIN_WAIT_MS = 4_000
const END_WAIT_MS = 1_500
/** How long a participant may look whether a call took effect, and what is left of a saga. */
const PROBE_MS = 1_000
const VERIFY_MS = 4_000

/** What the engine does for a saga, by the saga's id. */
export type SagaCalls = {
  [Name in keyof SagaActivities]: (
    sagaId: string,
    ...order: Parameters<SagaActivities[Name]>
  ) => ReturnType<SagaActivities[Name]>
}

/**
 * How long a local activity is tried here before it is left to another worker, in ms: enough for a PostgreSQL that restarts.
 * Temporal's own schedule-to-close time-out does not end a local activity that waits between two tries
 * (sdk-core, local_activities.rs).
 */
const LOCAL_MS = 5_000

/** The engine's activities of sagas that run alone: the saga is the workflow that calls them. `onCall` is told of each call. */
export function makeSagaActivities(calls: SagaCalls, onCall = () => {}): SagaActivities {
  const openedHere = new RunsOpenedHere()
  /** Work on the saga's row. */
  const onRow = async <T>(call: (sagaId: string) => Promise<T>): Promise<T> => {
    onCall()
    const { workflowExecution, isLocal, scheduledTimestampMs } = activityInfo()
    try {
      return await call(workflowExecution?.workflowId ?? '')
    } catch (error) {
      if (error instanceof ApplicationFailure || !isLocal || Date.now() - scheduledTimestampMs < LOCAL_MS) throw error
      throw notHere('it has tried for some seconds')
    }
  }
  const opening = async <T>(call: (sagaId: string) => Promise<T>): Promise<T> => {
    const answer = await onRow(call)
    openedHere.add(activityInfo().workflowExecution?.runId)
    return answer
  }
  /** A call of a participant. */
  const calling = <T>(call: (sagaId: string) => Promise<T>): Promise<T> => {
    onCall()
    const { workflowExecution, isLocal } = activityInfo()
    if (isLocal && !openedHere.has(workflowExecution?.runId)) throw notHere('another process has opened the run')
    return call(workflowExecution?.workflowId ?? '')
  }
  return {
    openSaga: (order) => opening((sagaId) => calls.openSaga(sagaId, order)),
    openRecovery: (order) => opening((sagaId) => calls.openRecovery(sagaId, order)),
    invoke: (order) => calling((sagaId) => calls.invoke(sagaId, order)),
    compensate: (order) => calling((sagaId) => calls.compensate(sagaId, order)),
    settle: (order) => calling((sagaId) => calls.settle(sagaId, order)),
    claimNested: (order) => onRow((sagaId) => calls.claimNested(sagaId, order)),
    completeSaga: (order) => onRow((sagaId) => calls.completeSaga(sagaId, order)),
    claimRollback: (order) => onRow((sagaId) => calls.claimRollback(sagaId, order)),
    parkSaga: (order) => onRow((sagaId) => calls.parkSaga(sagaId, order)),
    recordDecision: (decision) => onRow((sagaId) => calls.recordDecision(sagaId, decision)),
    takeDecision: (order) => onRow((sagaId) => calls.takeDecision(sagaId, order)),
    hasSagaStatus: () => onRow((sagaId) => calls.hasSagaStatus(sagaId)),
    verifyCompensations: () => onRow((sagaId) => calls.verifyCompensations(sagaId)),
    closeRolledBack: (order) => onRow((sagaId) => calls.closeRolledBack(sagaId, order)),
  }
}

/**
 * The runs that this process has opened, of which it alone makes local calls. A local call that kills its process leaves
 * nothing in Temporal's history; the next process has not opened the run, so it makes the call as a regular activity, which
 * the server counts.
 */
class RunsOpenedHere {
  static readonly #MOST = 10_000
  readonly #runs = new Set<string | undefined>()

  add(runId: string | undefined): void {
    this.#runs.add(runId)
    // The oldest goes; should it still be open, its calls are regular ones.
    const [oldest] = this.#runs
    if (this.#runs.size > RunsOpenedHere.#MOST) this.#runs.delete(oldest)
  }

  has(runId: string | undefined): boolean {
    return this.#runs.has(runId)
  }
}

export function makeSagaCalls(options: SagaActivityOptions): SagaCalls {
  const { store, participant, hasSagaStatus, slots, stepTimeoutMs, deadlineMs, logger } = options
  const times = { stepTimeoutMs, deadlineMs }

  /**
   * One attempt, from the reading of the saga's row to the writing of its log row. It keeps the time itself: Temporal's
   * time-out is only for a process that is gone. A call that goes on behind a time-out is left to the barrier.
   */
  async function attempt<T>(
    sagaId: string,
    order: InvokeOrder | CompensateOrder,
    call: (as: BarredParticipant, key: Call) => Promise<{ end: AttemptEnd['end']; report: T }>,
  ): Promise<T & { changed: Changed }> {
    const key = { sagaId, step: order.step }
    let startedAt = new Date()
    let begun = performance.now()
    let givenUp: AbortController | undefined
    let secrets: string[] = []
    let seen: AttemptStart['seen'] | undefined
    const prepare = async () => {
      const start = await whileAway(BEGIN_WAIT_MS, () => store.beginAttempt(key.sagaId, order))
      secrets = start.secrets
      seen = start.seen
      startedAt = seen.readAt
      begun = performance.now()
      // Whose fate is decided its pivot was settled before; the claim that follows says how it stands.
      if (order.op === 'settle' && start.fate !== 'open') throw new SettledBefore()
      refuseStart(start, order, { isShared: slots !== undefined })
      // Steps never reached are not called, only settled: nothing is injected there.
      const isReached = order.op === 'invoke' || order.reached
      const injection = isReached ? { ...start.injection, timeoutMs: order.timeoutMs } : undefined
      const as =
        order.nestedId === undefined ? participant(order.service, injection) : nestedSaga(store, order.nestedId)
      const together = slots && order.op !== 'settle' && as.together?.[order.op]
      const numbered = { ...key, attempt: start.ended + 1, secrets }
      return {
        alone: () => {
          givenUp = new AbortController()
          return call(as, { ...numbered, signal: givenUp.signal })
        },
        ...(together && { together: () => call({ ...as, ...as.together }, numbered) }),
      }
    }
    const write = (end: AttemptEnd['end']) => {
      const input = order.op === 'invoke' ? { input: masked(order.input, secrets) } : {}
      const endedAt = new Date(startedAt.getTime() + performance.now() - begun)
      return writeEnd(key.sagaId, { entryId: randomUUID(), order, startedAt, endedAt, ...input, end }, seen)
    }
    try {
      const inTime = (work: ReturnType<typeof call>) =>
        withinTime(order.timeoutMs, work, (end) => {
          const late = end instanceof Error ? toFailure(end, secrets, sagaId).message : end
          logger.info({ sagaId: key.sagaId, step: order.step, op: order.op, late }, 'A call ended after its time-out')
        })
      const { end, report } = slots ? await shared(slots, prepare(), inTime) : await inTime(prepare().then(alone))
      const changed = await write(end)
      if (!changed) {
        throw new NotAnAttempt(unavailable('the attempt could not be written down'))
      }
      return { ...report, changed }
    } catch (error) {
      if (error instanceof NotAnAttempt) throw error.failure
      if (error instanceof UnreadablePayload) throw error
      if (error instanceof SettledBefore)
        return { verdict: 'empty', changed: {} } as unknown as T & { changed: Changed }
      const failure = toFailure(error, secrets, sagaId)
      const canBeProbed = order.op === 'invoke' && order.nestedId === undefined && !(error instanceof InjectedCrash)
      if (outcomeOf(failure) === 'unknown' && canBeProbed) {
        const found = await probe(order, key, secrets)
        if (found?.applied) {
          const message = `applied, as its probe found; the call itself: ${failure.message}`
          const changed = await write({ kind: 'applied', message })
          if (!changed) throw unavailable('the attempt could not be written down')
          return { result: found.result, changed } as unknown as T & { changed: Changed }
        }
        if (found) failure.message += '; its probe finds nothing so far'
      }
      const changed = await write({
        kind: 'failed',
        outcome: outcomeOf(failure),
        error: { type: failure.type ?? FailureType.OutcomeUnknown, message: failure.message },
      })
      if (error instanceof InjectedCrash) process.kill(process.pid, 'SIGKILL')
      const isSilent = seen !== undefined && (error instanceof NoAnswer || failure.type === FailureType.Unavailable)
      throw withChanged(failure, changed && { ...changed, ...(isSilent && { isSilent }) })
    } finally {
      givenUp?.abort(OVER)
    }
  }

  /** Asks the participant whether a call took effect that did not say so. Undefined where it has no probe, or no answer. */
  async function probe({ service, input }: InvokeOrder, key: { sagaId: string; step: string }, secrets: string[]) {
    try {
      return await withinTime(PROBE_MS, participant(service, undefined).probe({ ...key, input }), () => {})
    } catch (error) {
      logger.warn({ ...key, err: loggedError(error, secrets) }, 'A probe gave no answer')
      return undefined
    }
  }

  /** Writes an attempt's row. Undefined where that can't be done now: the writing then goes on behind the attempt. */
  async function writeEnd(
    sagaId: string,
    end: AttemptEnd,
    seen: AttemptStart['seen'] | undefined,
  ): Promise<Changed | undefined> {
    try {
      return await whileAway(END_WAIT_MS, () => store.endAttempt(sagaId, end, seen))
    } catch (error) {
      if (!isDatabaseAway(error))
        logger.error({ sagaId, step: end.order.step, err: error }, 'An attempt could not be written')
      void writeLater(sagaId, end)
      return undefined
    }
  }

  async function writeLater(sagaId: string, end: AttemptEnd): Promise<void> {
    for (;;) {
      try {
        await sleep(1_000)
        await store.endAttempt(sagaId, end)
        return
      } catch (error) {
        if (!store.isOpen || !isPassing(error)) {
          logger.error({ sagaId, step: end.order.step, err: error }, 'The row of an attempt was lost')
          return
        }
      }
    }
  }

  /** What the participants of a saga find left of it, by step; those that can't look are left out. */
  async function findResidue(id: string): Promise<Findings> {
    const record = await store.get(id)
    if (!record) return new Map()
    const secrets = await store.secretsOf(record)
    const declared = declaredSteps(record)
    const verified = new Set(record.compensations.filter((one) => one.isVerified).map(({ step }) => step))
    const known = record.compensations.map(({ step }) => step)
    const asked = [...new Set([...known, ...record.steps.map(({ step }) => step)])].filter(
      // A nested saga has looked for itself.
      (step) => !verified.has(step) && declared[step]?.kind !== 'retriable' && !declared[step]?.isSaga,
    )
    const look = async (step: string): Promise<[string, Finding | undefined]> => {
      try {
        const verifying = participant(declared[step]?.service ?? step, undefined).verify({ sagaId: id, step })
        const left = await withinTime(VERIFY_MS, verifying, () => {})
        return [step, left && { left: left.map((one) => redacted(one, secrets, [id])) }]
      } catch (error) {
        if (isDatabaseAway(error)) throw error
        return [step, { failed: toSagaError(toFailure(error, secrets, id)) }]
      }
    }
    const found = await Promise.all(asked.map(look))
    return new Map(found.filter((one): one is [string, Finding] => one[1] !== undefined))
  }

  /**
   * What an operator has done by hand, or left, must not be done once more by a call that is still on its way, be it an invoke
   * or a compensation: its barrier is told so, if it can be reached. An operator may have decided just because it can't.
   */
  async function guardDecided(sagaId: string, steps: Decided[]): Promise<void> {
    if (steps.length === 0) return
    const record = await store.get(sagaId)
    const declared = record ? declaredSteps(record) : {}
    const secrets = record ? await store.secretsOf(record) : []
    const guard = async ({ step, op }: Decided) => {
      const key = { sagaId, step }
      try {
        const as = participant(declared[step]?.service ?? step, undefined)
        // What took effect on the way forward stays, and answers a call that is made again.
        const tell = () => withinTime<unknown>(VERIFY_MS, op === 'invoke' ? as.settle(key) : as.forbid(key), () => {})
        // The call may hold its row. It was given up 5 s ago at most, and is ended after 10 s in all: twice 3 s outlast it.
        await tell().catch((error: unknown) => (isLockedOut(error) ? tell() : Promise.reject(error)))
      } catch (error) {
        const err = loggedError(error, secrets)
        logger.warn({ ...key, err }, 'A call that is still on its way may take effect behind a decision')
      }
    }
    await Promise.all(steps.filter(({ step }) => !declared[step]?.isSaga).map(guard))
  }

  /** Before anything runs: a step that nobody can call would be found out behind others, some of them not to be undone. */
  function refuseIncomplete({ type, steps }: OpenOrder): void {
    for (const [step, { service, isSaga }] of Object.entries(steps)) {
      if (!isSaga) participant(service, undefined)
      else if (!store.knows(service)) {
        throw new Error(
          `Step ${step} of ${type} is a ${service}, a saga type that this worker has not; add it to its list`,
        )
      }
    }
  }

  return {
    async openSaga(sagaId, order) {
      refuseIncomplete(order)
      return store.open(sagaId, order, times)
    },
    openRecovery: (sagaId, order) => store.recover(sagaId, order, times),
    completeSaga: (sagaId, { result }) => store.complete(sagaId, result),
    claimRollback: (sagaId, order) => store.claimRollback(sagaId, order),
    claimNested: (sagaId, order) => store.claimNested(sagaId, order),
    async closeRolledBack(sagaId, order) {
      for (let isBarred = false; ; isBarred = true) {
        const closing = await store.closeRolledBack(sagaId, { ...order, isBarred })
        if (closing.go !== 'bar') return closing
        await guardDecided(sagaId, closing.steps)
      }
    },

    async verifyCompensations(sagaId) {
      await store.endVerification(sagaId, await findResidue(sagaId))
    },

    hasSagaStatus,

    async parkSaga(sagaId, order) {
      const parking = await store.park(sagaId, order)
      if (parking.go !== 'wait') return parking
      logger.warn({ sagaId: sagaId, step: order.step, at: order.at }, 'A saga needs attention')
      return { ...parking, hasSagaStatus: await hasSagaStatus() }
    },

    async recordDecision(sagaId, decision) {
      const answer = await store.decide(sagaId, decision)
      if (answer.kind === 'unknown') throw decisionRefused(`There is no saga ${sagaId}.`)
      if (answer.kind === 'refused') throw decisionRefused(answer.why)
      return { decision: answer.decision, view: toView(answer.record) }
    },

    async takeDecision(sagaId, order) {
      const taken = await store.takeDecision(sagaId, order)
      await guardDecided(
        sagaId,
        taken.byHand.filter(({ step }) => step === order.step),
      )
      return { view: taken.view }
    },

    invoke: (sagaId, order) =>
      attempt<{ result: Json }>(sagaId, order, async (as, key) => {
        const { verdict, result } = await as.invoke({ ...key, input: order.input, decisions: order.decisions })
        const message =
          verdict === 'applied' ? `applied${bySaga(order)}` : 'was applied by an earlier attempt; its result was kept'
        return { end: { kind: 'applied', message }, report: { result } }
      }),

    compensate: (sagaId, order) =>
      attempt(sagaId, order, async (as, key) => {
        const verdict = await as.compensate({ ...key, ...(order.input !== undefined && { input: order.input }) })
        // An operator has had the last word, says the barrier: this attempt is late, and its row changes nothing.
        if (verdict === 'forbidden') {
          const end = {
            kind: 'compensated',
            verdict: 'skipped',
            message: 'left to an operator, who has decided',
          } as const
          return { end, report: { verdict: end.verdict } }
        }
        const words = { done: 'undone', empty: 'nothing to undo', skipped: 'left in part as it is' }
        const message = `${words[verdict]}${bySaga(order)}`
        return { end: { kind: 'compensated', verdict, message }, report: { verdict } }
      }),

    settle: (sagaId, order) =>
      attempt(sagaId, order, async (as, key) => {
        const report = await as.settle(key)
        const end: AttemptEnd['end'] =
          report.verdict === 'applied'
            ? { kind: 'applied', message: 'applied, says its barrier' }
            : { kind: 'compensated', verdict: 'empty', message: 'did not happen, and never will' }
        return { end, report }
      }),
  }
}

/** Made once: an abort without a reason makes an error with a stack each time. */
const OVER = new Error('nobody waits for the answer any more')

/** The ways to make a call that is prepared. */
interface Ways<T> {
  alone: () => Promise<T>
  together?: () => Promise<T>
}

const alone = <T>(ways: Ways<T>): Promise<T> => ways.alone()

/** With those of other sagas where that is possible; else one that waits for theirs has the whole time of its own call. */
async function shared<T>(
  slots: Slots,
  prepared: Promise<Ways<T>>,
  inTime: (work: Promise<T>) => Promise<T>,
): Promise<T> {
  const { alone, together } = await prepared
  try {
    if (together) return await inTime(together())
  } catch (error) {
    if (!(error instanceof NotTogether)) throw error
  }
  return slots.hold(() => inTime(alone()))
}

const bySaga = ({ nestedId }: InvokeOrder | CompensateOrder) => (nestedId === undefined ? '' : ` by saga ${nestedId}`)

/** Nothing is left to settle. */
class SettledBefore extends Error {}

/** Ends an activity without a row of its own: no call was made, or the row comes later. */
class NotAnAttempt extends Error {
  constructor(readonly failure: ApplicationFailure) {
    super(failure.message)
  }
}

function refuseStart(
  { fate, isCancelled, ended }: AttemptStart,
  order: InvokeOrder | CompensateOrder,
  { isShared }: { isShared: boolean },
): void {
  const { step, op, budget } = order
  const expected = op === 'compensate' ? 'rollback' : 'open'
  if (fate !== expected) {
    const what = op === 'invoke' ? 'is not called any more' : 'is not to be compensated'
    throw new NotAnAttempt(outcomeUnknown(`${step} ${what}: the saga is ${fate}`, { nonRetryable: true }))
  }
  // Behind a pivot there would be no way back, and somebody was told that the saga stops. A run that is shared is not
  // cancelled for one of its sagas: it learns of it here.
  if (order.op === 'invoke' && (isShared || order.kind === 'pivot') && isCancelled) {
    throw new NotAnAttempt(
      ApplicationFailure.create({ type: FailureType.Cancelled, message: 'cancelled', nonRetryable: true }),
    )
  }
  // Counted in the log and not by Temporal: a process that its own call kills leaves no trace in history.
  if (budget !== null && ended >= budget) {
    const message = `no answer: all ${budget} attempts to ${op} ${step} have failed`
    throw new NotAnAttempt(outcomeUnknown(message, { nonRetryable: true }))
  }
}

/** What the attempt made of the saga travels with its failure, for the run's own picture of it. */
function withChanged(failure: ApplicationFailure, changed: Changed | undefined): ApplicationFailure {
  const { type, message, nonRetryable } = failure
  return ApplicationFailure.create({
    type: type ?? FailureType.OutcomeUnknown,
    message,
    nonRetryable: nonRetryable === true,
    details: changed ? [changed] : [],
  })
}

/** The time of a call was up. */
class NoAnswer extends Error {}

/** Rejects with NoAnswer where the work takes longer; it then goes on behind, and `onLate` is told its end. */
async function withinTime<T>(timeoutMs: number, work: Promise<T>, onLate: (end: string | Error) => void): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  let timedOut = false
  const timeout = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      timedOut = true
      reject(new NoAnswer(`no answer within ${timeoutMs} ms`))
    }, timeoutMs)
  })
  work.then(
    () => timedOut && onLate('it was answered'),
    (error: unknown) => timedOut && onLate(toError(error)),
  )
  try {
    return await Promise.race([work, timeout])
  } finally {
    clearTimeout(timer)
  }
}

/** What a participant threw, as a typed failure whose words may be shown: no text of the database's, no secret. */
function toFailure(error: unknown, secrets: string[], sagaId: string): ApplicationFailure {
  if (error instanceof InjectedCrash || error instanceof NoAnswer) return outcomeUnknown(error.message)
  if (isDatabaseAway(error)) return unavailable(awayMessage(error))
  const refused = refusedStatement(error)
  if (refused) return outcomeUnknown(refused)
  const isTyped = error instanceof ApplicationFailure
  // Far more than is kept of it: a secret must not be cut in two before it is found.
  const safe = storable(redacted(textOf(error).slice(0, 10_000), secrets, [sagaId]).slice(0, 500))
  return ApplicationFailure.create({
    type: (isTyped && error.type) || FailureType.OutcomeUnknown,
    message: safe,
    nonRetryable: isTyped && error.nonRetryable === true,
  })
}

function outcomeOf({ type }: ApplicationFailure): Outcome {
  return type === FailureType.Rejected ? 'rejected' : 'unknown'
}

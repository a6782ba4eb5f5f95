import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { activityInfo } from '@temporalio/activity'
import { ApplicationFailure } from '@temporalio/common'
import type { Logger } from 'pino'
import { isDatabaseAway, whileAway } from '../../db.js'
import { FailureType, outcomeUnknown, unavailable } from '../errors.js'
import type { AttemptOrder, Outcome, SagaActivities } from '../types.js'
import type { BarredParticipant } from './barrier.js'
import { InjectedCrash, type Injection } from './failure-injection.js'
import type { AttemptEnd } from './projection.js'
import { redacted, type AttemptStart, type SagaStore } from './saga-store.js'

export interface SagaActivityOptions {
  store: SagaStore
  /** The participant of that name, with these failures injected into its calls (none where `injection` is undefined). */
  participant: (service: string, injection: Injection | undefined) => BarredParticipant
  stepTimeoutMs: number
  logger: Logger
}

/** How long an attempt waits for the saga's row when PostgreSQL is away, and for its own log row at the end. */
const BEGIN_WAIT_MS = 4_000
const END_WAIT_MS = 1_500

/** The engine's activities. The saga is the workflow that calls them. */
export function makeSagaActivities({ store, participant, stepTimeoutMs, logger }: SagaActivityOptions): SagaActivities {
  const sagaId = () => activityInfo().workflowExecution?.workflowId ?? ''

  /**
   * One attempt, from the reading of the saga's row to the writing of its log row. It keeps the time itself: Temporal's
   * time-out is only for a process that is gone. A call that goes on behind a time-out is left to the barrier.
   */
  async function attempt<T>(
    order: AttemptOrder & { reached?: boolean },
    call: (
      as: BarredParticipant,
      key: { sagaId: string; step: string },
    ) => Promise<{ end: AttemptEnd['end']; report: T }>,
  ): Promise<T> {
    const key = { sagaId: sagaId(), step: order.step }
    const startedAt = new Date()
    let secrets: string[] = []
    const work = async () => {
      const start = await whileAway(BEGIN_WAIT_MS, () => store.beginAttempt(key.sagaId, order))
      secrets = start.secrets
      refuseStart(start, order)
      // Steps never reached are not called, only settled: nothing is injected there.
      const injection = order.reached === false ? undefined : { ...start.injection, timeoutMs: order.timeoutMs }
      return call(participant(order.service, injection), key)
    }
    const write = (end: AttemptEnd['end']) => writeEnd(key.sagaId, { entryId: randomUUID(), order, startedAt, end })
    try {
      const { end, report } = await withinTime(order.timeoutMs, work(), (end) => {
        const late = end instanceof Error ? toFailure(end, secrets).message : end
        logger.info({ sagaId: key.sagaId, step: order.step, op: order.op, late }, 'A call ended after its time-out')
      })
      if (!(await write(end))) {
        throw new NotAnAttempt(unavailable('the attempt could not be written down'))
      }
      return report
    } catch (error) {
      if (error instanceof NotAnAttempt) throw error.failure
      const failure = toFailure(error, secrets)
      await write({
        kind: 'failed',
        outcome: outcomeOf(failure),
        error: { type: failure.type ?? FailureType.OutcomeUnknown, message: failure.message },
      })
      if (error instanceof InjectedCrash) process.kill(process.pid, 'SIGKILL')
      throw failure
    }
  }

  /** Writes an attempt's row. False where that can't be done now: the writing then goes on behind the attempt. */
  async function writeEnd(sagaId: string, end: AttemptEnd): Promise<boolean> {
    try {
      await whileAway(END_WAIT_MS, () => store.endAttempt(sagaId, end))
      return true
    } catch (error) {
      if (!isDatabaseAway(error))
        logger.error({ sagaId, step: end.order.step, err: error }, 'An attempt could not be written')
      void writeLater(sagaId, end)
      return false
    }
  }

  async function writeLater(sagaId: string, end: AttemptEnd): Promise<void> {
    for (;;) {
      try {
        await sleep(1_000)
        await store.endAttempt(sagaId, end)
        return
      } catch (error) {
        if (!store.isOpen) {
          logger.error({ sagaId, step: end.order.step, err: error }, 'The row of an attempt was lost')
          return
        }
      }
    }
  }

  return {
    openSaga: (order) => store.open(sagaId(), order, stepTimeoutMs),
    completeSaga: ({ result }) => store.complete(sagaId(), result),
    claimRollback: (order) => store.claimRollback(sagaId(), order),
    closeRolledBack: () => store.closeRolledBack(sagaId()),

    invoke: (order) =>
      attempt(order, async (as, key) => {
        const { verdict, result } = await as.invoke({ ...key, input: order.input })
        const message = verdict === 'applied' ? 'applied' : 'was applied by an earlier attempt; its result was kept'
        return { end: { kind: 'applied', message }, report: { result } }
      }),

    compensate: (order) =>
      attempt(order, async (as, key) => {
        const verdict = await as.compensate(key)
        const message = verdict === 'done' ? 'undone' : 'nothing to undo'
        return { end: { kind: 'compensated', verdict, message }, report: { verdict } }
      }),
  }
}

/** Ends an activity without a row of its own: no call was made, or the row comes later. */
class NotAnAttempt extends Error {
  constructor(readonly failure: ApplicationFailure) {
    super(failure.message)
  }
}

function refuseStart({ fate, ended }: AttemptStart, { step, op, budget }: AttemptOrder): void {
  if (op === 'invoke' && fate !== 'open') {
    throw new NotAnAttempt(
      outcomeUnknown(`${step} is not called any more: the saga is ${fate}`, { nonRetryable: true }),
    )
  }
  // Counted in the log and not by Temporal: a process that its own call kills leaves no trace in history.
  if (budget !== null && ended >= budget) {
    const message = `no answer: all ${budget} attempts to ${op} ${step} have failed`
    throw new NotAnAttempt(outcomeUnknown(message, { nonRetryable: true }))
  }
}

async function withinTime<T>(timeoutMs: number, work: Promise<T>, onLate: (end: string | Error) => void): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  let timedOut = false
  const timeout = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      timedOut = true
      reject(outcomeUnknown(`no answer within ${timeoutMs} ms`))
    }, timeoutMs)
  })
  work.then(
    () => timedOut && onLate('it was answered'),
    (error: Error) => timedOut && onLate(error),
  )
  try {
    return await Promise.race([work, timeout])
  } finally {
    clearTimeout(timer)
  }
}

/** What a participant threw, as a typed failure whose words may be shown: no text of the database's, no secret. */
function toFailure(error: unknown, secrets: string[]): ApplicationFailure {
  if (error instanceof InjectedCrash) return outcomeUnknown(error.message)
  if (isDatabaseAway(error)) return unavailable('PostgreSQL was away')
  const sqlState = (error as { code?: unknown; severity?: unknown }).severity
    ? (error as { code: string }).code
    : undefined
  if (sqlState) {
    const { table } = error as { table?: string }
    return outcomeUnknown(`the database refused the statement (SQLSTATE ${sqlState}${table ? ` on ${table}` : ''})`)
  }
  const isTyped = error instanceof ApplicationFailure
  const message = error instanceof Error ? error.message : String(error)
  const safe = redacted({ type: '', message }, secrets).message.slice(0, 500)
  return ApplicationFailure.create({
    type: (isTyped && error.type) || FailureType.OutcomeUnknown,
    message: safe,
    nonRetryable: isTyped && error.nonRetryable === true,
  })
}

function outcomeOf({ type }: ApplicationFailure): Outcome {
  return type === FailureType.Rejected ? 'rejected' : 'unknown'
}

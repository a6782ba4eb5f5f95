import { setTimeout as sleep } from 'node:timers/promises'
import type { ApplicationFailure } from '@temporalio/common'
import type { Logger } from 'pino'
import { applicationFailureOf, FailureType, toSagaError } from '../errors.js'
import type { Answer, BulkLane, CallBatch, GroupActivities, MemberOrder } from '../types.js'
import type { SagaCalls } from './activities.js'
import { isPassing } from './db.js'
import type { SagaBulks } from './saga-bulk.js'
import type { SagaStarter } from './saga-starter.js'
import type { SagaStore, Times } from './saga-store.js'

const AGAIN_MS = { first: 100, most: 2_000 }

export interface GroupOptions {
  store: SagaStore
  starter: SagaStarter
  bulks: SagaBulks
  calls: SagaCalls
  times: Times
  logger: Logger
}

/** The engine's activities of sagas that share a run. */
export function makeGroupActivities({ store, starter, bulks, calls, times, logger }: GroupOptions): GroupActivities {
  const all = {
    ...calls,
    nextWindow: (bulkId: string, lane: BulkLane) => bulks.nextWindow(bulkId, lane),
    openMember: (sagaId: string, order: MemberOrder) => store.openMember(sagaId, order, times),
    async leaveGroup(sagaId: string) {
      const record = await store.release(sagaId)
      if (!record) return
      await starter.startByRow(record, store.requestOf(record)).catch((error: Error) => {
        logger.warn({ sagaId, err: error }, 'Temporal did not take the saga; the sweep will start it')
      })
    },
  }

  /** As a saga's own run would: a database that is away is waited for, however long. */
  async function answer(name: CallBatch['name'], { sagaId, order }: CallBatch['calls'][number]): Promise<Answer> {
    for (let againMs = AGAIN_MS.first; ; againMs = Math.min(againMs * 2, AGAIN_MS.most)) {
      try {
        return { ok: withoutView(await all[name](sagaId, order as never)) }
      } catch (error) {
        const failure = applicationFailureOf(error)
        if (failure) return { failure: sent(failure) }
        if (!isPassing(error)) {
          logger.error({ sagaId, err: error }, 'A saga can not go on in its group')
          return { failure: { ...toSagaError(error), nonRetryable: true } }
        }
      }
      await sleep(againMs)
    }
  }

  return {
    // At once, so that what they read and write is gathered.
    callMany: ({ name, calls }) =>
      untilStragglers(
        calls.map((call) => answer(name, call)),
        (i) => {
          logger.info({ sagaId: calls[i]?.sagaId, name }, 'A saga leaves its group, for its call takes much longer')
          return leaves
        },
      ),
  }
}

const sent = ({ type, message, nonRetryable }: ApplicationFailure) => ({
  type: type ?? 'Error',
  message,
  nonRetryable: nonRetryable === true,
})

/** Of what a call answers, what the saga's code and its course need. */
function withoutView(answer: unknown): unknown {
  if (typeof answer !== 'object' || answer === null) return answer
  const { view, changed, inputs, ...rest } = answer as Record<string, unknown>
  return rest
}

/** The saga's own run makes the call again, and its barrier has the answer of this one. */
const leaves: Answer = {
  failure: {
    type: FailureType.LeavesGroup,
    message: 'its call takes much longer than those of the others',
    nonRetryable: true,
  },
}

/** A call may take so much longer than half of the others, in ms at least and in all. */
const STRAGGLING = { leastMs: 1_000, times: 4 }

/** The answers, in their order; of those that nobody should wait for what `leave` says in their place. None rejects. */
async function untilStragglers<T>(all: Promise<T>[], leave: (i: number) => T): Promise<T[]> {
  const answers = new Map<number, T>()
  const began = Date.now()
  let timer: NodeJS.Timeout | undefined
  let waitNoLonger = () => {}
  const straggling = new Promise<void>((resolve) => (waitNoLonger = resolve))
  const answered = all.map(async (one, i) => {
    answers.set(i, await one)
    if (timer || answers.size * 2 < all.length) return
    const took = Date.now() - began
    timer = setTimeout(waitNoLonger, Math.max(STRAGGLING.leastMs, STRAGGLING.times * took) - took)
  })
  try {
    await Promise.race([Promise.all(answered), straggling])
  } finally {
    clearTimeout(timer)
  }
  return all.map((_, i) => answers.get(i) ?? leave(i))
}

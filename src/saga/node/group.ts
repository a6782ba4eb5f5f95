import { setTimeout as sleep } from 'node:timers/promises'
import { ApplicationFailure } from '@temporalio/common'
import type { Logger } from 'pino'
import { applicationFailureOf, toSagaError } from '../errors.js'
import type { Answer, CallBatch, GroupActivities, GroupedCalls, MemberOrder, SagaActivities } from '../types.js'
import { isPassing } from './db.js'
import type { SagaRecord } from './saga-record.js'
import type { SagaStarter } from './saga-starter.js'
import type { SagaStore, Times } from './saga-store.js'

const AGAIN_MS = { first: 100, most: 2_000 }

export interface GroupOptions {
  store: SagaStore
  starter: SagaStarter
  callsOf: (sagaId: string) => SagaActivities
  times: Times
  logger: Logger
}

/** The engine's activities of sagas that share a run. */
export function makeGroupActivities({ store, starter, callsOf, times, logger }: GroupOptions): GroupActivities {
  const of = (sagaId: string): GroupedCalls => ({
    ...callsOf(sagaId),
    openMember: (order: MemberOrder) => store.openMember(sagaId, order, times),
  })

  /** As a saga's own run would: a database that is away is waited for, however long. */
  async function answer(name: CallBatch['name'], { sagaId, order }: CallBatch['calls'][number]): Promise<Answer> {
    for (let againMs = AGAIN_MS.first; ; againMs = Math.min(againMs * 2, AGAIN_MS.most)) {
      try {
        const call = of(sagaId)[name] as (order: unknown) => Promise<unknown>
        return { ok: withoutView(await call(order)) }
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
    callMany: ({ name, calls }) => Promise.all(calls.map((call) => answer(name, call))),

    async releaseSagas({ sagaIds }) {
      const released = await store.release(sagaIds)
      const each = async (record: SagaRecord) => {
        await starter.start(record, store.requestOf(record)).catch((error: Error) => {
          logger.warn({ sagaId: record.sagaId, err: error }, 'Temporal did not take the saga; the sweep will start it')
        })
      }
      await Promise.all(released.map(each))
    },
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

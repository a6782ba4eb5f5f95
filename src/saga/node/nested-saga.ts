import { outcomeUnknown, rejected } from '../errors.js'
import type { BarredParticipant } from './barrier.js'
import type { SagaStore } from './saga-store.js'

/**
 * A nested saga as the participant that its parent's step has. The work is its own run's, which the parent's workflow has
 * waited for; here its row says what became of it. So it needs no barrier: its row is one.
 */
export function nestedSaga(store: SagaStore, nestedId: string): BarredParticipant {
  return {
    async invoke({ sagaId }) {
      const record = await store.get(nestedId)
      if (record && record.parentId !== sagaId) throw rejected(`the id ${nestedId} belongs to another saga`)
      if (record?.handedOverAt || record?.fate === 'completed') return { verdict: 'applied', result: record.result }
      if (record?.fate !== 'rolledBack') {
        throw outcomeUnknown(`saga ${nestedId} was not brought to its end`, { nonRetryable: true })
      }
      const why = `saga ${nestedId} is ${record.status}: ${record.error?.type}: ${record.error?.message}`
      throw record.status === 'COMPENSATED' ? rejected(why) : outcomeUnknown(why, { nonRetryable: true })
    },
    async compensate({ sagaId }) {
      const record = await store.get(nestedId)
      if (record?.parentId !== sagaId) return 'empty'
      if (record.fate !== 'rolledBack') throw outcomeUnknown(`saga ${nestedId} is still to be rolled back`)
      if (record.status === 'PARTIALLY_COMPENSATED') return 'skipped'
      return record.compensations.some(({ status }) => status === 'done' || status === 'resolved') ? 'done' : 'empty'
    },
    settle: () => Promise.reject(new Error(`Saga ${nestedId} is nested and no pivot`)),
    // What a nested saga decides stands in its own row.
    forbid: () => Promise.resolve(),
    probe: () => Promise.resolve(undefined),
    verify: () => Promise.resolve(undefined),
  }
}

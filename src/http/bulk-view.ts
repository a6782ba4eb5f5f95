import type { Bulk as BulkRow, BulkFailure, BulkProgress } from '../saga/node/saga-bulk.js'
import type { Bulk, BulkAccepted, BulkSummary } from './schemas/bulk.js'

/** A call that was accepted, as the API answers it. */
export function toBulkAccepted({ bulkId, total, rejected, rejections }: BulkRow): BulkAccepted {
  const told = rejections.length > 0 && { rejections }
  return { bulkId, accepted: total, rejected, ...told, links: linksOf(bulkId) }
}

/** A bulk as it stands in the list. */
export function toBulkSummary(bulk: BulkProgress): BulkSummary {
  const { bulkId, type, status, pausedBecause, total, rejected, startedAt, endedAt, statuses } = bulk
  const needsAttention = statuses.NEEDS_ATTENTION ?? 0
  const stuck = needsAttention > 0 && { stuck: `/saga?bulk=${bulkId}&status=NEEDS_ATTENTION` }
  return {
    bulkId,
    type,
    status: ({ running: 'RUNNING', paused: 'PAUSED', ended: 'ENDED' } as const)[status],
    ...(pausedBecause !== null && { pausedBecause }),
    total,
    completed: statuses.COMPLETED ?? 0,
    compensated: statuses.COMPENSATED ?? 0,
    partiallyCompensated: statuses.PARTIALLY_COMPENSATED ?? 0,
    needsAttention,
    running: (statuses.RUNNING ?? 0) + (statuses.COMPENSATING ?? 0),
    compensating: statuses.COMPENSATING ?? 0,
    rejected,
    startedAt: startedAt.toISOString(),
    ...(endedAt && { endedAt: endedAt.toISOString() }),
    links: { ...linksOf(bulkId), ...stuck },
  }
}

/** The whole bulk. */
export function toBulk(bulk: BulkProgress, failures: BulkFailure[], cancellable: number): Bulk {
  return {
    ...toBulkSummary(bulk),
    cancellable,
    rejections: bulk.rejections,
    failures: failures.map(({ step, ...one }) => ({ ...(step !== null && { step }), ...one })),
  }
}

const linksOf = (bulkId: string) => ({
  self: `/saga/bulk/${bulkId}`,
  events: `/saga/bulk/${bulkId}/events`,
  sagas: `/saga?bulk=${bulkId}`,
})

import { withRunning, type SagaRecord } from '../saga/node/saga-record.js'
import type { Saga, SagaAccepted } from './schemas/saga.js'

/** Where sagas are to be seen; `temporalUi` is the base of Temporal's Web UI and its namespace. */
export interface LinkOptions {
  temporalUiUrl: string
  namespace: string
}

/** The whole saga as the API answers it. */
export function toSaga(record: SagaRecord, links: LinkOptions): Saga {
  const { result, failedStep, error, endedAt } = record
  const userId = (result as { userId?: number } | null)?.userId
  return {
    sagaId: record.sagaId,
    status: record.status,
    input: record.view as Saga['input'],
    ...(userId !== undefined && { userId }),
    ...(failedStep !== null && { failedStep }),
    ...(error && { error }),
    startedAt: record.startedAt.toISOString(),
    ...(endedAt && { endedAt: endedAt.toISOString() }),
    ...withRunning(record),
    links: toLinks(record.sagaId, links),
  }
}

export function toAccepted({ sagaId, status }: SagaRecord, links: LinkOptions): SagaAccepted {
  return { sagaId, status, links: toLinks(sagaId, links) }
}

function toLinks(sagaId: string, { temporalUiUrl, namespace }: LinkOptions): Saga['links'] {
  const id = encodeURIComponent(sagaId)
  return {
    self: `/saga/${id}`,
    logs: `/logs?saga=${id}`,
    events: `/saga/${id}/events`,
    temporal: `${temporalUiUrl}/namespaces/${encodeURIComponent(namespace)}/workflows/${id}`,
  }
}

export const isEnded = ({ status }: SagaRecord): boolean =>
  status === 'COMPLETED' || status === 'COMPENSATED' || status === 'PARTIALLY_COMPENSATED'

import {
  declaredSteps,
  inputsOf,
  isCancellable,
  toView,
  withRunning,
  type SagaRecord,
} from '../saga/node/saga-record.js'
import { planOf } from '../saga/plan.js'
import type { Plan } from '../saga/types.js'
import type { Saga, SagaAccepted } from './schemas/saga.js'

/** Where sagas are to be seen; `temporalUi` is the base of Temporal's Web UI and its namespace. */
export interface LinkOptions {
  temporalUiUrl: string
  namespace: string
}

/** The whole saga as the API answers it. */
export function toSaga(record: SagaRecord, links: LinkOptions): Saga {
  const { userId, ...saga } = toView(withRunning(record)) as Omit<Saga, 'links' | 'userId'> & UserId
  return {
    ...saga,
    // A number in sagas that completed before ids were strings.
    ...(userId !== undefined && { userId: String(userId) }),
    links: {
      ...toLinks(record, links),
      ...(isCancellable(record) && { cancel: `/saga/${encodeURIComponent(record.sagaId)}/cancel` }),
    },
  }
}

interface UserId {
  userId?: string | number
}

/** What a rollback would do now. */
export function toPlan(record: SagaRecord): Plan {
  const now = withRunning(record)
  return planOf(now, declaredSteps(record), inputsOf(record))
}

export function toAccepted(record: SagaRecord, links: LinkOptions): SagaAccepted {
  return { sagaId: record.sagaId, status: record.status, links: toLinks(record, links) }
}

/** Where Temporal's Web UI shows a workflow. */
export function temporalLink(workflowId: string, { temporalUiUrl, namespace }: LinkOptions): string {
  return `${temporalUiUrl}/namespaces/${encodeURIComponent(namespace)}/workflows/${encodeURIComponent(workflowId)}`
}

function toLinks({ sagaId, carriedBy }: SagaRecord, links: LinkOptions): Saga['links'] {
  const id = encodeURIComponent(sagaId)
  return {
    self: `/saga/${id}`,
    logs: `/logs?saga=${id}`,
    events: `/saga/${id}/events`,
    temporal: temporalLink(carriedBy ?? sagaId, links),
  }
}

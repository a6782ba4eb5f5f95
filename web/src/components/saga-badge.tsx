import type { SagaStatus } from '../api'
import { shownSaga } from '../saga-words'
import { Shape } from './shape'

/** The saga's status. */
export function SagaBadge({ status }: { status: SagaStatus }) {
  const { word, kind } = shownSaga({ status })
  return (
    <span className="badge" data-testid="saga-status" data-status={status} data-kind={kind}>
      <Shape kind={kind} />
      {word}
    </span>
  )
}

import type { BulkSummary } from '../api'
import { shownBulk } from '../bulk-words'
import { Shape } from './shape'

/** How a bulk stands. */
export function BulkBadge({ bulk }: { bulk: BulkSummary }) {
  const { word, kind } = shownBulk(bulk)
  return (
    <span className="badge" data-testid="bulk-status" data-status={bulk.status} data-kind={kind}>
      <Shape kind={kind} />
      {word}
    </span>
  )
}

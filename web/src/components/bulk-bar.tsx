import type { BulkSummary } from '../api'
import { doneOf } from '../bulk-pace'
import { parts, sayParts } from '../bulk-words'
import { numeral } from '../figures'
import './bulk-bar.css'

/** How the sagas of a bulk stand, as one bar; in words for a screen reader. */
export function BulkBar({ bulk, label = 'Sagas that run no more' }: { bulk: BulkSummary; label?: string }) {
  const done = doneOf(bulk)
  return (
    <div
      className="bulk-bar"
      role="progressbar"
      aria-label={label}
      aria-valuemin={0}
      aria-valuemax={bulk.total}
      aria-valuenow={done}
      aria-valuetext={`${numeral(done)} of ${numeral(bulk.total)}: ${sayParts(bulk)}`}
    >
      {parts.map(
        ({ name, kind }) =>
          bulk[name] > 0 && <span key={name} data-kind={kind} data-part={name} style={{ flexGrow: bulk[name] }} />,
      )}
    </div>
  )
}

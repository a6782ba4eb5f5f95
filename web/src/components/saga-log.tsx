import { memo, useEffect, useLayoutEffect, useRef } from 'react'
import type { LogRow } from '../api'
import { counted } from '../figures'
import { logKind } from '../saga-words'
import { Copy } from './copy'
import { Moment } from './moment'
import { Shape } from './shape'

interface Props {
  sagaId: string
  rows: LogRow[]
  isFailedOnly: boolean
  onFailedOnly: (isFailedOnly: boolean) => void
  /** The row that is pointed at in the timeline; `led` counts how often one was asked to be led there. */
  chosen: bigint | undefined
  led: number
}

/** What went wrong, and what waits for a person because of it. */
const isFailure = ({ status }: LogRow): boolean => status === 'failed' || status === 'stuck' || status === 'residue'

/** The log of one saga, newest last, kept at its end while that is in sight. */
export function SagaLog({ sagaId, rows, isFailedOnly, onFailedOnly, chosen, led }: Props) {
  const box = useRef<HTMLDivElement>(null)
  const isAtEnd = useRef(true)
  const shown = isFailedOnly ? rows.filter(isFailure) : rows
  const failures = rows.filter(isFailure).length

  useLayoutEffect(() => {
    if (box.current && isAtEnd.current) box.current.scrollTop = box.current.scrollHeight
  })

  useEffect(() => {
    if (led > 0) box.current?.querySelector('[data-chosen]')?.scrollIntoView({ block: 'nearest' })
  }, [led])

  return (
    <section className="saga-log" aria-labelledby="saga-log-title">
      <header>
        <h3 id="saga-log-title">Log</h3>
        <span className="quiet-text">{counted(rows.length, 'row')}</span>
        <Copy name="Copy log" text={() => rows.map(asText).join('\n')} />
      </header>
      <label className="check">
        <input type="checkbox" checked={isFailedOnly} onChange={(event) => onFailedOnly(event.target.checked)} />
        Only what failed ({failures})
      </label>
      <div
        className="saga-log-box"
        ref={box}
        tabIndex={0}
        role="region"
        aria-label={`Log rows of saga ${sagaId}`}
        onScroll={({ currentTarget: { scrollTop, scrollHeight, clientHeight } }) => {
          isAtEnd.current = scrollTop + clientHeight >= scrollHeight - 24
        }}
      >
        {shown.length === 0 ? (
          <p className="blank">
            {isFailedOnly
              ? 'Nothing has failed so far.'
              : 'No row yet: the saga is written down, and a worker will begin it.'}
          </p>
        ) : (
          <ol>
            {shown.map((row) => (
              <Row key={row.id} row={row} isChosen={row.id === chosen} />
            ))}
          </ol>
        )}
      </div>
    </section>
  )
}

const Row = memo(function Row({ row, isChosen }: { row: LogRow; isChosen: boolean }) {
  const { id, service, status, message, attempt, createdAt } = row
  const kind = logKind(row)
  return (
    <li data-row={id} data-service={service} data-status={status} data-kind={kind} data-chosen={isChosen || undefined}>
      <Shape kind={kind} />
      <code>{service}</code>
      <span className="row-status">
        {status}
        {attempt !== null && <span className="quiet-text"> attempt {attempt}</span>}
      </span>
      <Moment iso={createdAt} />
      <p>{message}</p>
    </li>
  )
})

const asText = ({ createdAt, service, status, attempt, message }: LogRow): string =>
  [createdAt, service, status, ...(attempt === null ? [] : [attempt]), message].join('\t')

import { Link, useNavigate, useSearch } from '@tanstack/react-router'
import { useWindowVirtualizer } from '@tanstack/react-virtual'
import { useEffect, useLayoutEffect, useRef, useState } from 'react'
import { logPath, type LogRow } from '../api'
import { getByCurl } from '../commands'
import { Copy } from '../components/copy'
import { LogFilters } from '../components/log-filters'
import { Moment } from '../components/moment'
import { Shape } from '../components/shape'
import { counted } from '../figures'
import { logKind } from '../saga-words'
import { useLogTail, type LogSearch } from '../use-log-tail'
import { useLogin } from '../use-login'
import './log.css'

/** What the address says of the view. */
export const logSearch = (search: Record<string, unknown>): LogSearch => ({
  ...word('saga', search),
  ...word('service', search),
  ...word('status', search),
})

function word(name: keyof LogSearch, search: Record<string, unknown>): LogSearch {
  const value = search[name]
  return typeof value === 'string' && value !== '' ? { [name]: value } : {}
}

/** The saga log of all sagas as it grows. */
export function LogPage() {
  const search = useSearch({ from: '/log' })
  const navigate = useNavigate({ from: '/log' })
  return (
    <main className="log-page">
      <h2 id="log-title">Saga log</h2>
      <LogFilters
        search={search}
        onChange={(name, value) =>
          void navigate({
            search: ({ [name]: _, ...others }) => ({ ...others, ...word(name, { [name]: value }) }),
            replace: true,
          })
        }
        onClear={() => void navigate({ search: {}, replace: true })}
      />
      <Tail key={JSON.stringify(search)} search={search} />
    </main>
  )
}

const COLUMNS = ['Time', 'Saga id', 'Service', 'Status', 'Message', 'Attempt']

function Tail({ search }: { search: LogSearch }) {
  const [isPaused, setPaused] = useState(false)
  const isReading = useIsReading()
  const isHeld = isPaused || isReading
  const { log, trouble, readOlder, olderTrouble } = useLogTail(search, { isHeld })
  const held = useHeld(log?.rows, isHeld)
  const pause = useRef<HTMLButtonElement>(null)

  function follow() {
    setPaused(false)
    window.scrollTo(0, 0)
    // From a row that is about to move away.
    pause.current?.focus({ preventScroll: true })
  }

  return (
    <>
      <div className="log-bar">
        <button
          type="button"
          ref={pause}
          className="toggle"
          aria-pressed={isPaused}
          onClick={() => (isPaused ? follow() : setPaused(true))}
        >
          {isPaused ? 'Go on' : 'Pause'}
        </button>
        <p className="log-state" role="status" data-held={isHeld || undefined}>
          {isPaused
            ? 'Paused.'
            : isReading
              ? 'Paused while you read further down.'
              : 'Live: new rows come in at the top.'}
        </p>
        {isHeld && (held.newer > 0 || log?.isBehind) && (
          <button type="button" className="log-newer" onClick={follow}>
            {log?.isBehind ? 'Many new rows' : counted(held.newer, 'new row')}: show
          </button>
        )}
        <CopyLog rows={held.rows} search={search} />
      </div>
      {log === undefined ? (
        <Blank search={search} trouble={trouble} />
      ) : held.rows.length === 0 ? (
        <Empty search={search} />
      ) : (
        <>
          <Rows rows={held.rows} knownId={isHeld ? undefined : log.knownId} onEnd={readOlder} hasOlder={log.hasOlder} />
          <p className="log-end hint">
            {olderTrouble ? (
              <>
                Older rows can’t be read: {olderTrouble.message}{' '}
                <button type="button" onClick={readOlder}>
                  Try again
                </button>
              </>
            ) : log.hasOlder ? (
              'Reading older rows…'
            ) : (
              'This is where the log begins.'
            )}
          </p>
        </>
      )}
    </>
  )
}

function CopyLog({ rows, search }: { rows: LogRow[]; search: LogSearch }) {
  const [login] = useLogin()
  return (
    <div className="log-copy">
      {rows.length > 0 && (
        <Copy name={`Copy ${counted(rows.length, 'row')}`} text={() => rows.map(asText).join('\n')} />
      )}
      <Copy name="Copy as curl" text={() => getByCurl(logPath({ ...search, limit: 500 }), login?.login === true)} />
    </div>
  )
}

const asText = ({ createdAt, sagaId, service, status, attempt, message }: LogRow): string =>
  [createdAt, sagaId, service, status, attempt ?? '', message].join('\t')

function Blank({ search, trouble }: { search: LogSearch; trouble: Error | null }) {
  return (
    <p className="blank" role="status">
      {trouble
        ? `The log can’t be read: ${trouble.message} ${Object.keys(search).length > 0 ? 'Trying again; another filter may do.' : 'Trying again every 2 seconds.'}`
        : 'Reading the log…'}
    </p>
  )
}

function Empty({ search }: { search: LogSearch }) {
  return (
    <p className="blank" role="status">
      {Object.keys(search).length > 0 ? (
        <>
          No row is like that{search.saga !== undefined && '; a saga is named by its whole id'}.{' '}
          <Link to="/log" search={{}}>
            Show all of them
          </Link>
          , or leave this open: what comes is shown.
        </>
      ) : (
        <>
          The log is empty. <Link to="/">Start a saga</Link>, and everything that happens to it is written here.
        </>
      )}
    </p>
  )
}

interface RowsProps {
  rows: LogRow[]
  /** Rows with a greater id are new; undefined: none is. */
  knownId: bigint | undefined
  hasOlder: boolean
  onEnd: () => void
}

function Rows({ rows, knownId, hasOlder, onEnd }: RowsProps) {
  const body = useRef<HTMLDivElement>(null)
  const [top, setTop] = useState(0)
  // What stands above may change its height at any time.
  useLayoutEffect(() => {
    const measure = () => {
      if (body.current) setTop(Math.round(body.current.getBoundingClientRect().top + window.scrollY))
    }
    measure()
    const observer = new ResizeObserver(measure)
    observer.observe(document.body)
    return () => observer.disconnect()
  }, [])
  const virtualizer = useWindowVirtualizer({
    count: rows.length,
    estimateSize: () => 33,
    getItemKey: (index) => rows[index]?.id ?? BigInt(index),
    scrollMargin: top,
    overscan: 12,
  })
  const shown = virtualizer.getVirtualItems()
  const isAtEnd = hasOlder && (shown.at(-1)?.index ?? 0) >= rows.length - 20
  useEffect(() => {
    if (isAtEnd) onEnd()
    // Once more for each page that has come, and is not enough.
    // oxlint-disable-next-line react/exhaustive-deps
  }, [isAtEnd, rows.length])

  return (
    <div
      className="log-table"
      role="table"
      aria-labelledby="log-title"
      aria-rowcount={hasOlder ? -1 : rows.length + 1}
      data-rows={rows.length}
    >
      <div role="rowgroup" className="log-head">
        <div role="row" aria-rowindex={1}>
          {COLUMNS.map((name) => (
            <span key={name} role="columnheader">
              {name}
            </span>
          ))}
        </div>
      </div>
      <div role="rowgroup" className="log-rows" ref={body} style={{ height: virtualizer.getTotalSize() }}>
        {shown.map(({ index, key, start }) => {
          const row = rows[index]
          return (
            row && (
              <div
                key={key}
                ref={virtualizer.measureElement}
                data-index={index}
                className="log-row"
                role="row"
                aria-rowindex={index + 2}
                data-saga-id={row.sagaId}
                data-service={row.service}
                data-status={row.status}
                data-new={(knownId !== undefined && row.id > knownId) || undefined}
                style={{ transform: `translateY(${start - top}px)` }}
              >
                <Cells row={row} />
              </div>
            )
          )
        })}
      </div>
    </div>
  )
}

function Cells({ row }: { row: LogRow }) {
  const { sagaId, service, status, message, attempt, createdAt } = row
  const kind = logKind(row)
  return (
    <>
      <span role="cell" className="log-time">
        <Moment iso={createdAt} />
      </span>
      <span role="cell" className="log-saga">
        <Link to="/saga/$sagaId" params={{ sagaId }} title={sagaId}>
          {sagaId}
        </Link>
      </span>
      <span role="cell" className="log-service">
        {service}
      </span>
      <span role="cell" className="log-status" data-kind={kind}>
        <Shape kind={kind} />
        {status}
      </span>
      <span role="cell" className="log-message">
        {message}
      </span>
      <span role="cell" className="log-attempt">
        {attempt}
      </span>
    </>
  )
}

/** While it is held the rows that were there stay as they are, and those that come are counted. */
function useHeld(rows: LogRow[] = [], isHeld: boolean): { rows: LogRow[]; newer: number } {
  const [heldId, setHeldId] = useState<bigint>()
  if (isHeld && heldId === undefined) setHeldId(rows[0]?.id ?? 0n)
  if (!isHeld && heldId !== undefined) setHeldId(undefined)
  if (!isHeld || heldId === undefined) return { rows, newer: 0 }
  const older = rows.filter(({ id }) => id <= heldId)
  return { rows: older, newer: rows.length - older.length }
}

/** Whether someone reads further down, or is on a row with the keyboard: no row shall move away under them. */
function useIsReading(): boolean {
  const [isReading, setReading] = useState(false)
  useEffect(() => {
    const look = () => setReading(window.scrollY > 8 || document.activeElement?.closest('.log-rows') instanceof Element)
    // Behind the event, when the focus has arrived.
    const lookSoon = () => setTimeout(look)
    const events = ['scroll', 'focusin', 'focusout'] as const
    for (const event of events) document.addEventListener(event, lookSoon, { passive: true })
    return () => {
      for (const event of events) document.removeEventListener(event, lookSoon)
    }
  }, [])
  return isReading
}

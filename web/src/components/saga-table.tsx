import { Link } from '@tanstack/react-router'
import { defaultRangeExtractor, useWindowVirtualizer, type Range } from '@tanstack/react-virtual'
import { memo, useCallback, useEffect, useState } from 'react'
import { flushSync } from 'react-dom'
import { troubleOf } from '../saga-trouble'
import { counted, duration, lasting } from '../figures'
import { useNow } from '../use-now'
import { useSagaList, type ListedSaga, type SagaFilter, type SagaList } from '../use-saga-list'
import { Copy } from './copy'
import { MomentAgo } from './moment'
import { SagaBadge } from './saga-badge'
import './saga-table.css'

const columns = ['Status', 'Saga id', 'Username', 'Step', 'Error', 'Started', 'Took']
/** Rows that are read before they are on view. */
const AHEAD = 40
/** Scrolled so far, the reader is in the list, and it keeps still. */
const SCROLLED_PX = 40

interface SagaTableProps {
  filter: SagaFilter
  /** What to show in the place of the table where it has no rows. */
  renderEmpty: (list: SagaList) => React.ReactNode
  onSteps: (steps: string[]) => void
}

/** The sagas of a filter, live, however many they are: only the rows on view are in the page. */
export function SagaTable({ filter, renderEmpty, onSteps }: SagaTableProps) {
  const [isScrolled, setScrolled] = useState(false)
  const [hasPointer, setPointer] = useState(false)
  const [pagesOnView, setPagesOnView] = useState<number[]>([0])
  const list = useSagaList(filter, { isHeld: isScrolled || hasPointer, pagesOnView })
  const { rows, hasMore, readMore, arrived } = list
  const [body, setBody] = useState<HTMLElement | null>(null)
  const top = useTopOf(body)
  // Where the table goes away under the pointer, the pointer does not leave it.
  const attach = useCallback((element: HTMLElement | null) => {
    setBody(element)
    if (!element) setPointer(false)
  }, [])
  const [activeId, setActiveId] = useState<string>()
  const activeIndex = activeId === undefined ? -1 : rows.findIndex(({ saga }) => saga.sagaId === activeId)

  // The row with the focus stays, for the focus would be lost with it.
  const rangeExtractor = useCallback(
    (range: Range) => {
      const indexes = defaultRangeExtractor(range)
      if (activeIndex < 0 || indexes.includes(activeIndex)) return indexes
      return [...indexes, activeIndex].toSorted((a, b) => a - b)
    },
    [activeIndex],
  )
  const isNarrow = useIsNarrow()
  // What the rule fears is a compiler that memoizes what the virtualizer answers; there is none here.
  // oxlint-disable-next-line react/incompatible-library
  const virtualizer = useWindowVirtualizer({
    count: rows.length,
    estimateSize: () => (isNarrow ? 112 : 45),
    getItemKey: (index) => rows[index]?.saga.sagaId ?? index,
    overscan: 8,
    scrollMargin: top,
    scrollPaddingStart: 44,
    scrollPaddingEnd: 12,
    rangeExtractor,
    useFlushSync: false,
  })
  const { startIndex = 0, endIndex = 0 } = virtualizer.range ?? {}
  const onView = [rows[startIndex]?.page ?? 0, rows[endIndex]?.page ?? 0]
  if (onView.join() !== pagesOnView.join()) setPagesOnView(onView)
  const isNowScrolled = (virtualizer.scrollOffset ?? 0) > SCROLLED_PX
  if (isNowScrolled !== isScrolled) setScrolled(isNowScrolled)

  useEffect(() => {
    if (hasMore && endIndex + AHEAD >= rows.length) readMore()
  }, [hasMore, endIndex, rows.length, readMore])

  const steps = [...new Set(rows.flatMap(({ saga }) => saga.steps.map(({ step }) => step)))].toSorted().join('\n')
  useEffect(() => onSteps(steps ? steps.split('\n') : []), [steps, onSteps])

  useEffect(() => {
    function move(event: KeyboardEvent) {
      const by = stepOf(event, body)
      if (by === 0 || rows.length === 0) return
      event.preventDefault()
      const from = activeIndex < 0 ? startIndex - (by > 0 ? 1 : 0) : activeIndex
      const index = Math.min(Math.max(from + by, 0), rows.length - 1)
      // Rendered at once, wherever it is, so that it is there to take the focus.
      flushSync(() => setActiveId(rows[index]?.saga.sagaId))
      body?.querySelector<HTMLElement>(`[data-index="${index}"] .row-link`)?.focus({ preventScroll: true })
      virtualizer.scrollToIndex(index, { align: 'auto' })
    }
    document.addEventListener('keydown', move)
    return () => document.removeEventListener('keydown', move)
  }, [rows, body, activeIndex, startIndex, virtualizer])

  if (rows.length === 0) return renderEmpty(list)
  return (
    <section className="sagas" aria-label="Sagas" aria-busy={list.isReading}>
      <div className="arrived" role="status">
        {(arrived.count > 0 || arrived.isMore) && (
          <button
            type="button"
            onClick={() => {
              list.showArrived()
              scrollTo({ top: 0 })
            }}
          >
            {arrived.isMore ? `More than ${arrived.count} new sagas` : counted(arrived.count, 'new saga')}
          </button>
        )}
      </div>
      <div role="table" aria-label="Sagas, newest first" aria-rowcount={hasMore ? -1 : rows.length + 1}>
        <div role="rowgroup" className="sagas-head">
          <div role="row" aria-rowindex={1}>
            {columns.map((name) => (
              <span key={name} role="columnheader">
                {name}
              </span>
            ))}
          </div>
        </div>
        <div
          role="rowgroup"
          className="sagas-body"
          ref={attach}
          style={{ height: virtualizer.getTotalSize() }}
          onPointerEnter={({ pointerType }) => setPointer(pointerType === 'mouse')}
          onPointerLeave={() => setPointer(false)}
          onFocus={({ target }) => setActiveId(target.closest<HTMLElement>('[data-saga-id]')?.dataset['sagaId'])}
        >
          {virtualizer.getVirtualItems().map(({ key, index, start }) => {
            const row = rows[index]
            return (
              row && (
                <div
                  key={key}
                  role="row"
                  aria-rowindex={index + 2}
                  data-index={index}
                  data-saga-id={row.saga.sagaId}
                  data-status={row.saga.status}
                  data-gone={row.isGone || undefined}
                  ref={virtualizer.measureElement}
                  style={{ transform: `translateY(${start - top}px)` }}
                >
                  <Cells row={row} />
                </div>
              )
            )
          })}
        </div>
      </div>
      <p className="hint sagas-end" role="status">
        {hasMore
          ? list.trouble
            ? `What comes next can’t be read: ${list.trouble} Trying again.`
            : 'Reading more…'
          : `That is all: ${counted(rows.length, 'saga')}.`}
      </p>
    </section>
  )
}

const Cells = memo(({ row: { saga, isGone } }: { row: ListedSaga }) => {
  const { sagaId, status, parent, input, startedAt, endedAt } = saga
  const trouble = troubleOf(saga)
  return (
    <>
      <span role="cell" className="cell-status">
        <SagaBadge status={status} />
      </span>
      <span role="cell" className="cell-id">
        <Link to="/saga/$sagaId" params={{ sagaId }} className="row-link" title={sagaId}>
          {sagaId}
        </Link>
        <Copy text={() => sagaId} label={`Copy saga id ${sagaId}`} />
        {parent && (
          <span className="cell-parent">
            step {parent.step} of{' '}
            <Link to="/saga/$sagaId" params={{ sagaId: parent.sagaId }} title={parent.sagaId}>
              {parent.sagaId}
            </Link>
          </span>
        )}
      </span>
      <span role="cell" className="cell-name" title={input.username}>
        {input.username}
      </span>
      <span role="cell" className="cell-step" data-kind={trouble?.isStuck ? 'warning' : undefined}>
        {trouble?.words}
      </span>
      <span role="cell" className="cell-error" title={saga.error?.message}>
        {trouble?.errorType}
      </span>
      <span role="cell" className="cell-started">
        <MomentAgo iso={startedAt} />
      </span>
      <span role="cell" className="cell-took">
        {isGone ? 'moved on' : endedAt ? duration(startedAt, endedAt) : <SoFar iso={startedAt} />}
      </span>
    </>
  )
})
Cells.displayName = 'Cells'

/** How long it has been under way. */
function SoFar({ iso }: { iso: string }) {
  const nowMs = useNow()
  const s = Math.floor((nowMs - Date.parse(iso)) / 1_000)
  return <span title="Under way for so long">{lasting(Math.max(1, s) * 1_000)}…</span>
}

/** Which way a key leads: j and k wherever nothing is written, the arrows where the focus is in the list. */
function stepOf(event: KeyboardEvent, body: HTMLElement | null): number {
  const { key, target } = event
  if (event.ctrlKey || event.metaKey || event.altKey || !(target instanceof HTMLElement)) return 0
  if (target.closest('input, select, textarea')) return key === 'ArrowDown' && target.matches('[type="search"]') ? 1 : 0
  if (key === 'j') return 1
  if (key === 'k') return -1
  if (!body?.contains(target)) return 0
  return key === 'ArrowDown' ? 1 : key === 'ArrowUp' ? -1 : 0
}

/** Where an element begins on the page; it moves when what is above it grows. */
function useTopOf(element: HTMLElement | null): number {
  const [top, setTop] = useState(0)
  useEffect(() => {
    if (!element) return undefined
    const observer = new ResizeObserver(() => setTop(Math.round(element.getBoundingClientRect().top + scrollY)))
    observer.observe(document.body)
    return () => observer.disconnect()
  }, [element])
  return top
}

const narrow = matchMedia('(max-width: 760px)')

function useIsNarrow(): boolean {
  const [isNarrow, setNarrow] = useState(narrow.matches)
  useEffect(() => {
    const onChange = () => setNarrow(narrow.matches)
    narrow.addEventListener('change', onChange)
    return () => narrow.removeEventListener('change', onChange)
  }, [])
  return isNarrow
}

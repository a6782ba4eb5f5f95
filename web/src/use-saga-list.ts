import { replaceEqualDeep, useQueries, useQueryClient, type QueryClient } from '@tanstack/react-query'
import { useCallback, useState } from 'react'
import { getSagas, messageOf, type Saga, type Sagas } from './api'

const PAGE_SIZE = 100
const POLL_MS = 2_000

/** As GET /saga takes it; what is left out does not filter. */
export interface SagaFilter {
  status?: string
  step?: string
  q?: string
  bulk?: string
}

export interface ListedSaga {
  saga: Saga
  page: number
  /** The filter does not fit it any more. It stays where it is as long as the reader is at the list. */
  isGone: boolean
}

export interface SagaList {
  /** Newest first; those of the filter before until the new one is answered, or can't be read. */
  rows: ListedSaga[]
  isReading: boolean
  /** Why the last read failed; undefined where it did not. */
  trouble: string | undefined
  /** How many have come and are held back; `isMore`: at least so many. */
  arrived: { count: number; isMore: boolean }
  showArrived: () => void
  hasMore: boolean
  readMore: () => void
}

/** A page as it is kept: what was read of it, one answer laid over the other. */
interface Page extends Sagas {
  /** The newest page, where so many have come that it does not reach the older ones any more. */
  ahead?: Sagas
}

interface Seen {
  key: string
  pages: (Page | undefined)[]
  rows: ListedSaga[]
  arrived: { count: number; isMore: boolean }
}

const nothing = { count: 0, isMore: false }

/**
 * All sagas of a filter, a page at a time, newest first. The newest page and the pages on view are read again every two
 * seconds while the tab is visible. `isHeld`: somebody is at the list, so that no row may move; what comes waits, and what
 * has left the filter stays. Pages that are not on view are as old as when they were.
 */
export function useSagaList(
  filter: SagaFilter,
  { isHeld, pagesOnView }: { isHeld: boolean; pagesOnView: number[] },
): SagaList {
  const queries = useQueryClient()
  const key = JSON.stringify(filter)
  const queryKey = (cursor: string) => ['sagas', key, cursor]
  const [begun, setBegun] = useState(() => ({ key, cursors: knownCursors(queries, key) }))
  if (begun.key !== key) setBegun({ key, cursors: knownCursors(queries, key) })
  const { cursors } = begun

  const results = useQueries({
    queries: cursors.map((cursor, page) => {
      const isLive = page === 0 || pagesOnView.includes(page)
      // Alone and with nobody at it, it needs no memory of what was there before.
      const isPlain = page === 0 && cursors.length === 1 && !isHeld
      return {
        queryKey: queryKey(cursor),
        queryFn: (): Promise<Page> => getSagas({ ...filter, limit: `${PAGE_SIZE}`, ...(cursor && { cursor }) }),
        structuralSharing: (was: unknown, now: unknown) =>
          replaceEqualDeep(was, was && !isPlain ? laidOver(was as Page, now as Sagas, { page, isHeld }) : now),
        ...(isLive ? { refetchInterval: POLL_MS } : { staleTime: Infinity }),
      }
    }),
  })
  const pages = results.map(({ data }) => data)
  // The list has become shorter, or so much has come that it begins anew: what was read behind is of another time.
  const end = pages.findIndex(
    (one, i) => one !== undefined && i + 1 < cursors.length && one.nextCursor !== cursors[i + 1],
  )
  if (end >= 0) setBegun({ key, cursors: cursors.slice(0, end + 1) })

  const [seen, setSeen] = useState<Seen>({ key: '', pages: [], rows: [], arrived: nothing })
  const isSame =
    seen.key === key && seen.pages.length === pages.length && pages.every((one, i) => one === seen.pages[i])
  const isWaiting = !isHeld && (seen.arrived.count > 0 || seen.rows.some(({ isGone }) => isGone))
  if (pages[0] && (!isSame || isWaiting)) {
    setSeen({ key, pages, ...look(pages, seen.key === key && isHeld ? seen.rows : undefined) })
  }

  const showArrived = useCallback(() => {
    const newest = queries.getQueryData<Page>(['sagas', key, ''])
    if (!newest?.ahead) return setSeen((was) => ({ ...was, ...look(was.pages, undefined) }))
    // There is a gap between what came and what was read before, so it begins anew.
    queries.setQueryData(['sagas', key, ''], newest.ahead)
    setBegun({ key, cursors: [''] })
    setSeen({ key, pages: [], rows: [], arrived: nothing })
  }, [queries, key, setBegun, setSeen])
  const last = results.at(-1)
  const next = last?.data?.nextCursor
  const readMore = useCallback(() => {
    if (next) setBegun((was) => (was.cursors.includes(next) ? was : { ...was, cursors: [...was.cursors, next] }))
  }, [next, setBegun])

  const failed = results.find(({ failureReason }) => failureReason)
  const isReading = seen.key !== key
  return {
    rows: isReading && failed ? [] : seen.rows,
    isReading,
    trouble: failed && messageOf(failed.failureReason),
    arrived: seen.key === key ? seen.arrived : nothing,
    showArrived,
    hasMore: last?.isPending === true || (next !== null && next !== undefined),
    readMore,
  }
}

/** Where a list that was left a while ago was read to, so that coming back finds the same place. */
function knownCursors(queries: QueryClient, key: string): string[] {
  const cursors = ['']
  for (;;) {
    const next = queries.getQueryData<Page>(['sagas', key, cursors.at(-1)])?.nextCursor
    if (!next || queries.getQueryData(['sagas', key, next]) === undefined) return cursors
    cursors.push(next)
  }
}

/**
 * A new answer over what was known of the page. What the answer reaches is as it says; what is older stays, for newer sagas
 * have pushed it out of the answer and not out of the list. The cursor stays: the next page follows what was there first.
 */
function laidOver(was: Page, now: Sagas, { page, isHeld }: { page: number; isHeld: boolean }): Page {
  const oldest = now.sagas.at(-1)
  if (!oldest || now.nextCursor === null) return now
  const ids = new Set(now.sagas.map(({ sagaId }) => sagaId))
  if (page === 0 && was.sagas.length > 0 && !was.sagas.some(({ sagaId }) => ids.has(sagaId))) {
    return isHeld ? { sagas: was.sagas, nextCursor: was.nextCursor, ahead: now } : now
  }
  const behind = was.sagas.filter(({ sagaId, startedAt }) => startedAt <= oldest.startedAt && !ids.has(sagaId))
  return { sagas: [...now.sagas, ...behind], nextCursor: was.nextCursor ?? now.nextCursor }
}

/** What is to be shown of the pages; `held`: these rows in their places, and only what is older behind them. */
function look(pages: (Page | undefined)[], held: ListedSaga[] | undefined): Pick<Seen, 'rows' | 'arrived'> {
  const latest = new Map<string, ListedSaga>()
  for (const [page, one] of pages.entries()) {
    for (const saga of one?.sagas ?? []) {
      if (!latest.has(saga.sagaId)) latest.set(saga.sagaId, { saga, page, isGone: false })
    }
  }
  if (!held || held.length === 0) return { rows: [...latest.values()], arrived: nothing }
  const rows = held.map((row) => latest.get(row.saga.sagaId) ?? { ...row, isGone: true })
  const shown = new Set(rows.map(({ saga }) => saga.sagaId))
  const all = [...latest.values()]
  const end = all.findLastIndex(({ saga }) => shown.has(saga.sagaId))
  const arrived = all.slice(0, end).filter(({ saga }) => !shown.has(saga.sagaId)).length
  const ahead = pages[0]?.ahead?.sagas.length ?? 0
  return {
    rows: [...rows, ...all.slice(end + 1)],
    arrived: ahead > 0 ? { count: arrived + ahead, isMore: true } : { count: arrived, isMore: false },
  }
}

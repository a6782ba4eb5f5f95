import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query'
import { useEffect, useRef } from 'react'
import { getLogs, ServerAway, type LogFilter, type LogRow } from './api'

export type LogSearch = Pick<LogFilter, 'saga' | 'service' | 'status'>

const POLL_MS = 2_000
const PAGE = 200
/** Pages of a poll that has to catch up. */
const CATCH_UP_PAGES = 10
/** Of a tail that is followed; older rows are read again when somebody scrolls there. */
const KEPT = 5_000
/** Ids are given out before rows are committed, so a row may turn up behind newer ones: for no longer than this. */
const SETTLED_MS = 10_000

interface Log {
  /** Newest first, without a gap. */
  rows: LogRow[]
  /** Rows with a greater id came with the last poll. */
  knownId: bigint
  /** The newest id as it was at each read of late, oldest first: the first of them is settled. */
  reads: { at: number; id: bigint }[]
  /** More rows came than a poll catches up with: they are left out until the tail is followed again. */
  isBehind: boolean
  hasOlder: boolean
}

/**
 * The saga log as it grows, newest first, read every two seconds while the page is visible, and its older rows as they are
 * asked for. While it `isHeld`, nothing that has been read is given up.
 */
export function useLogTail(search: LogSearch, { isHeld }: { isHeld: boolean }) {
  const client = useQueryClient()
  const key = ['log', search] as const
  const held = useRef(isHeld)
  const { data, error, failureReason, refetch } = useQuery({
    queryKey: key,
    queryFn: async () => {
      const known = client.getQueryData<Log>(key)
      if (known?.isBehind && held.current) return known
      const fresh = await readFresh(search, known)
      // Older rows may have been added meanwhile.
      return joined(fresh, client.getQueryData<Log>(key), held.current)
    },
    refetchInterval: POLL_MS,
    structuralSharing: false,
  })

  useEffect(() => {
    held.current = isHeld
    if (!isHeld) void refetch({ cancelRefetch: false })
  }, [isHeld, refetch])

  const older = useMutation({
    mutationFn: (before: bigint) => getLogs({ ...search, limit: PAGE, before }),
    retry: (_failures, error) => error instanceof ServerAway,
    retryDelay: POLL_MS,
    onSuccess: (page, before) =>
      client.setQueryData<Log>(key, (was) => {
        if (was?.rows.at(-1)?.id !== before) return was
        return { ...was, rows: [...was.rows, ...page], hasOlder: page.length === PAGE }
      }),
  })

  return {
    log: data,
    trouble: error ?? failureReason,
    readOlder: () => {
      const oldest = data?.rows.at(-1)
      if (oldest && data?.hasOlder && !older.isPending) older.mutate(oldest.id)
    },
    olderTrouble: older.error,
  }
}

interface Fresh {
  rows: LogRow[]
  isFullPage: boolean
}

/** The newest rows, down to what is known and settled, as far as that is not too far. */
async function readFresh(search: LogSearch, known: Log | undefined): Promise<Fresh> {
  const rows = await getLogs({ ...search, limit: PAGE })
  let isFullPage = rows.length === PAGE
  const settled = known?.reads[0]?.id ?? Infinity
  for (let pages = 1; isFullPage && oldestOf(rows) > settled && pages < CATCH_UP_PAGES; pages++) {
    const page = await getLogs({ ...search, limit: PAGE, before: oldestOf(rows) })
    rows.push(...page)
    isFullPage = page.length === PAGE
  }
  return { rows, isFullPage }
}

const oldestOf = (rows: LogRow[]): bigint => rows.at(-1)?.id ?? 0n

function joined({ rows, isFullPage }: Fresh, known: Log | undefined, isHeld: boolean): Log {
  const at = performance.now()
  const newest = { at, id: rows[0]?.id ?? 0n }
  const knownId = known ? (known.rows[0]?.id ?? 0n) : newest.id
  const hasGap = known !== undefined && isFullPage && oldestOf(rows) > knownId
  if (hasGap && isHeld) return { ...known, isBehind: true }
  // A row of the first page may have been overtaken by all of the others.
  const first = { at: -Infinity, id: oldestOf(rows) }
  if (!known || hasGap) return { rows, knownId, reads: [first, newest], isBehind: false, hasOlder: isFullPage }
  const rest = known.rows.filter(({ id }) => id < oldestOf(rows))
  const all = [...rows, ...rest]
  const kept = isHeld ? all : all.slice(0, KEPT)
  const settled = known.reads.findLastIndex((read) => read.at < at - SETTLED_MS)
  return {
    rows: kept,
    knownId,
    reads: [...known.reads.slice(Math.max(0, settled)), newest],
    isBehind: false,
    hasOlder: kept.length < all.length || (rest.length > 0 ? known.hasOlder : isFullPage),
  }
}

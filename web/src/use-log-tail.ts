import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query'
import { useEffect, useRef } from 'react'
import { getLogs, ServerAway, type LogFilter, type LogRow } from './api'

export type LogSearch = Pick<LogFilter, 'saga' | 'service' | 'status'>

const POLL_MS = 2_000
const PAGE = 200
/** Pages of a poll that has to catch up. */
const CATCH_UP_PAGES = 10
/** Ids are given out before rows are committed, so a row may turn up behind newer ones: for no longer than this. */
const SETTLED_MS = 10_000

interface Log {
  /** Newest first, without a gap. */
  rows: LogRow[]
  /** Rows with a greater id came with the last poll. */
  knownId: number
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
  useEffect(() => {
    held.current = isHeld
  })

  const { data, error, failureReason, refetch } = useQuery({
    queryKey: key,
    queryFn: async () => {
      const fresh = await readFresh(search, client.getQueryData<Log>(key))
      // Older rows may have been added meanwhile.
      return joined(fresh, client.getQueryData<Log>(key), held.current)
    },
    refetchInterval: POLL_MS,
    structuralSharing: false,
  })

  const older = useMutation({
    mutationFn: (before: number) => getLogs({ ...search, limit: PAGE, before }),
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
    /** Reads on at once. */
    readOn: () => void refetch(),
    readOlder: () => {
      const oldest = data?.rows.at(-1)
      if (oldest && data?.hasOlder && !older.isPending) older.mutate(oldest.id)
    },
    olderTrouble: older.error,
  }
}

interface Fresh {
  rows: LogRow[]
  /** Whether they reach down to what was known. */
  isJoined: boolean
  isFullPage: boolean
}

async function readFresh(search: LogSearch, known: Log | undefined): Promise<Fresh> {
  const rows = await getLogs({ ...search, limit: PAGE })
  let isFullPage = rows.length === PAGE
  if (!known) return { rows, isJoined: true, isFullPage }
  const reach = settledId(known.rows)
  const isThere = () => !isFullPage || (rows.at(-1)?.id ?? 0) <= reach
  for (let pages = 1; !isThere() && pages < CATCH_UP_PAGES; pages++) {
    const page = await getLogs({ ...search, limit: PAGE, before: rows.at(-1)?.id })
    rows.push(...page)
    isFullPage = page.length === PAGE
  }
  return { rows, isJoined: isThere(), isFullPage }
}

/** The newest row behind which none turns up any more. */
function settledId(rows: LogRow[]): number {
  const newest = Date.parse(rows[0]?.createdAt ?? '')
  return (rows.find(({ createdAt }) => Date.parse(createdAt) < newest - SETTLED_MS) ?? rows.at(-1))?.id ?? 0
}

function joined({ rows, isJoined, isFullPage }: Fresh, known: Log | undefined, isHeld: boolean): Log {
  const knownId = known?.rows[0]?.id ?? rows[0]?.id ?? 0
  if (!known || (!isJoined && !isHeld)) return { rows, knownId, isBehind: false, hasOlder: isFullPage }
  if (!isJoined) return { ...known, isBehind: true }
  const oldest = rows.at(-1)?.id ?? Infinity
  const rest = known.rows.filter(({ id }) => id < oldest)
  return {
    rows: [...rows, ...rest],
    knownId,
    isBehind: false,
    hasOlder: rest.length > 0 ? known.hasOlder : isFullPage,
  }
}

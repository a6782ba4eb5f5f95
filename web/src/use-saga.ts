import { useEffect, useState } from 'react'
import { getSaga, getSagaLog, readLog, sagaEvents, type LogRow, type Saga, type SagaStatus } from './api'
import { follow, type StreamState } from './follow'

/** Rows come before the saga that they belong to; where it has not changed they are shown without. */
const ROWS_ALONE_MS = 40
/** What a killed process owes to the log is added within so long of the saga's end, and looked for so often. */
const MIRRORED_MS = 120_000
const MIRROR_POLL_MS = 15_000

export interface WatchedSaga {
  /** As last heard; undefined until the first answer. */
  saga: Saga | undefined
  /** Its log, oldest first. */
  rows: LogRow[]
  /** Where it is refused, `detail` says why. */
  stream: StreamState
  detail?: string
  /** The HTTP status with which it was refused. */
  code?: number
  /** How far the reader's clock is ahead of the server's, as far as the page can know. */
  clockAheadMs: number
}

export const isEnded = (status: SagaStatus): boolean =>
  status === 'COMPLETED' || status === 'COMPENSATED' || status === 'PARTIALLY_COMPENSATED'

/**
 * Follows one saga by its events until it has ended. Everything shown of it comes from this one stream, and rows are shown
 * together with the saga that they made, so no part is ever older than another.
 */
export function useSaga(sagaId: string): WatchedSaga {
  const [watched, setWatched] = useState<WatchedSaga>({ saga: undefined, rows: [], stream: 'open', clockAheadMs: 0 })

  useEffect(() => {
    let alone: ReturnType<typeof setTimeout> | undefined
    let mirror: ReturnType<typeof setTimeout> | undefined
    let isGone = false
    let isLive = false
    let waiting: LogRow[] = []
    let ahead = Infinity

    /** Shows what has come: rows once each, whatever a new stream repeats. */
    function show(more: Partial<WatchedSaga> = {}) {
      clearTimeout(alone)
      alone = undefined
      const came = waiting
      waiting = []
      setWatched((was) => ({
        ...was,
        ...more,
        rows: withNew(was.rows, came),
        clockAheadMs: ahead === Infinity ? was.clockAheadMs : ahead,
      }))
    }

    const following = follow({
      open: () => {
        isLive = false
        return sagaEvents(sagaId)
      },
      on: {
        log(data) {
          const row = readLog(data) as LogRow
          waiting.push(row)
          // One that was written while we look; older ones tell nothing of the clocks, but that none is of the future.
          const lag = Date.now() - Date.parse(row.createdAt)
          if (isLive || lag < 0) ahead = Math.min(ahead, lag)
          alone ??= setTimeout(show, ROWS_ALONE_MS)
        },
        status(data) {
          const saga: Saga = JSON.parse(data)
          isLive = true
          show({ saga })
          if (!isEnded(saga.status)) return
          following.end()
          if (saga.endedAt && Date.parse(saga.endedAt) - Date.parse(saga.startedAt) > 3_000) lookForMore(saga.endedAt)
        },
      },
      ask: () => getSaga(sagaId),
      onState(stream, refusal) {
        isLive = isLive && stream === 'open'
        setWatched((was) => ({
          ...was,
          stream,
          ...(refusal && { detail: refusal.message, code: refusal.problem.status }),
        }))
      },
    })

    /** Behind the end the stream is closed, yet rows of attempts that were killed may still be added. */
    function lookForMore(endedAt: string) {
      if (Date.now() - Date.parse(endedAt) > MIRRORED_MS) return
      mirror = setTimeout(() => {
        void readMore(endedAt)
      }, MIRROR_POLL_MS)
    }

    async function readMore(endedAt: string) {
      waiting.push(...(await getSagaLog(sagaId).catch(() => [])))
      if (isGone) return
      show()
      lookForMore(endedAt)
    }

    return () => {
      isGone = true
      clearTimeout(alone)
      clearTimeout(mirror)
      following.end()
    }
  }, [sagaId])

  return watched
}

/** Ids of one saga rise in the order in which its rows were written. */
function withNew(rows: LogRow[], came: LogRow[]): LogRow[] {
  const all = [...rows]
  for (const row of came) if (row.id > (all.at(-1)?.id ?? 0n)) all.push(row)
  return all.length > rows.length ? all : rows
}

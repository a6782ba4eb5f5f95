import { useEffect, useRef, useState } from 'react'
import { bulkEvents, getBulk, type ApiError, type Bulk } from './api'
import { begun, withSeen, type Pace } from './bulk-pace'
import { follow, type StreamState } from './follow'

/** Behind its end a bulk still changes when a person decides, or undoes what has completed; looked for so often. */
const ENDED_POLL_MS = 3_000

export interface WatchedBulk {
  /** As last heard; undefined until the first answer. */
  bulk: Bulk | undefined
  stream: StreamState
  /** Why it was refused. */
  refusal?: ApiError
  pace: Pace
}

/** Follows a bulk by its events. The function is told of an answer that is newer than the last event. */
export function useBulk(bulkId: string): [WatchedBulk, (bulk: Bulk) => void] {
  const [watched, setWatched] = useState<WatchedBulk>({ bulk: undefined, stream: 'open', pace: begun })
  const tell = useRef<(bulk: Bulk) => void>(() => {})

  useEffect(() => {
    let poll: ReturnType<typeof setTimeout> | undefined
    let isGone = false
    let isFollowing = true

    function show(bulk: Bulk) {
      setWatched((was) => ({ ...was, bulk, pace: withSeen(was.pace, bulk, Date.now()) }))
      if (bulk.status === 'ENDED') {
        following.end()
        isFollowing = false
        clearTimeout(poll)
        poll = setTimeout(() => void look(), ENDED_POLL_MS)
      } else if (!isFollowing) {
        isFollowing = true
        following.again()
      }
    }

    async function look() {
      const bulk = await getBulk(bulkId).catch(() => undefined)
      if (isGone || isFollowing) return
      if (bulk) show(bulk)
      else poll = setTimeout(() => void look(), ENDED_POLL_MS)
    }

    const following = follow({
      open: () => bulkEvents(bulkId),
      on: { bulk: (data) => show(JSON.parse(data)) },
      ask: () => getBulk(bulkId),
      onState: (stream, refusal) => setWatched((was) => ({ ...was, stream, ...(refusal && { refusal }) })),
    })
    tell.current = show
    return () => {
      isGone = true
      clearTimeout(poll)
      following.end()
    }
  }, [bulkId])

  return [watched, (bulk) => tell.current(bulk)]
}

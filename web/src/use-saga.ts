import { useEffect, useState } from 'react'
import { ApiError, getSaga, sagaEvents, type LogRow, type Saga, type SagaStatus } from './api'

const RECONNECT_MS = 2_000

export interface WatchedSaga {
  /** As last heard; undefined until the first answer. */
  saga: Saga | undefined
  /** Its log, oldest first. */
  rows: LogRow[]
  /** `away`: the stream is broken and will be taken up again; `refused`: there is nothing to watch, `detail` says why. */
  stream: 'open' | 'away' | 'refused'
  detail?: string
}

export const isEnded = (status: SagaStatus): boolean =>
  status === 'COMPLETED' || status === 'COMPENSATED' || status === 'PARTIALLY_COMPENSATED'

/**
 * Follows one saga by its events until it has ended. Everything shown of it comes from this one stream, so no part is
 * ever older than another.
 */
export function useSaga(sagaId: string): WatchedSaga {
  const [watched, setWatched] = useState<WatchedSaga>({ saga: undefined, rows: [], stream: 'open' })

  useEffect(() => {
    let events: EventSource
    let timer: ReturnType<typeof setTimeout> | undefined
    let isGone = false

    function connect() {
      events = sagaEvents(sagaId)
      events.addEventListener('open', () => setWatched((was) => ({ ...was, stream: 'open' })))
      events.addEventListener('log', ({ data }: MessageEvent<string>) => {
        const row: LogRow = JSON.parse(data)
        setWatched((was) => (was.rows.some(({ id }) => id === row.id) ? was : { ...was, rows: [...was.rows, row] }))
      })
      events.addEventListener('status', ({ data }: MessageEvent<string>) => {
        const saga: Saga = JSON.parse(data)
        setWatched((was) => ({ ...was, saga }))
        // Left open it would connect again, and be told the same again.
        if (isEnded(saga.status)) events.close()
      })
      events.addEventListener('error', () => {
        setWatched((was) => ({ ...was, stream: 'away' }))
        if (events.readyState === EventSource.CLOSED) void askWhy()
      })
    }

    // An answer that is no stream ends an EventSource for good, and only a plain request tells what it was.
    async function askWhy() {
      const reason: unknown = await getSaga(sagaId).catch((error: unknown) => error)
      if (isGone) return
      if (reason instanceof ApiError && reason.problem.status < 500) {
        setWatched((was) => ({ ...was, stream: 'refused', detail: reason.message }))
      } else {
        timer = setTimeout(connect, RECONNECT_MS)
      }
    }

    connect()
    return () => {
      isGone = true
      clearTimeout(timer)
      events.close()
    }
  }, [sagaId])

  return watched
}

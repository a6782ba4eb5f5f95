import { ApiError, server } from './api'

const RECONNECT_MS = 2_000

/** `away`: the stream is broken and will be taken up again; `refused`: there is nothing to follow. */
export type StreamState = 'open' | 'away' | 'refused'

interface Followed {
  open: () => EventSource
  /** What each event does, by its name. */
  on: Record<string, (data: string) => void>
  /** A plain request for the same, whose answer tells why there is no stream. */
  ask: () => Promise<unknown>
  /** `refusal` comes with `refused`. */
  onState: (state: StreamState, refusal?: ApiError) => void
}

export interface Following {
  /** Nothing more is to come: left open it would connect again, and be told the same again. */
  end: () => void
  /** Connects anew, where the stream has ended or may be dead. */
  again: () => void
}

/** Follows a stream of events and takes it up again wherever it breaks, until it is ended. */
export function follow({ open, on, ask, onState }: Followed): Following {
  let events: EventSource
  let reconnect: ReturnType<typeof setTimeout> | undefined
  let isOver = false

  function connect() {
    events = open()
    events.addEventListener('open', () => {
      server.tell()
      onState('open')
    })
    for (const [name, tell] of Object.entries(on)) {
      events.addEventListener(name, ({ data }: MessageEvent<string>) => tell(data))
    }
    events.addEventListener('error', () => {
      onState('away')
      if (events.readyState === EventSource.CLOSED) void askWhy()
    })
  }

  // An answer that is no stream ends an EventSource for good, and only a plain request tells what it was.
  async function askWhy() {
    const broken = events
    const reason: unknown = await ask().catch((error: unknown) => error)
    if (isOver || events !== broken) return
    if (reason instanceof ApiError && reason.problem.status < 500 && reason.problem.status !== 429) {
      onState('refused', reason)
    } else {
      reconnect = setTimeout(connect, RECONNECT_MS)
    }
  }

  function again() {
    end()
    isOver = false
    addEventListener('online', again)
    connect()
  }

  function end() {
    isOver = true
    clearTimeout(reconnect)
    removeEventListener('online', again)
    events?.close()
  }

  // After a sleep the connection may be dead without a word of it.
  addEventListener('online', again)
  connect()
  return { end, again }
}

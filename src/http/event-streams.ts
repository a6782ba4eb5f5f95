import { finished } from 'node:stream'
import type { SSEMessage } from '@fastify/sse'
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Metrics } from '../temporal.js'
import { HttpProblem } from './problem.js'

/** Streams at once, of this process: each reads PostgreSQL at every change of what it follows. */
const MAX_STREAMS = 500

/** A stream waits so long for PostgreSQL before it begins: browsers do not come again after an answer that is no 200. */
export const OPENING_WAIT_MS = 5_000

/** As long as a timer can be: a saga that waits for a person may be watched for days. */
const STREAM_TIMEOUT_MS = 2 ** 31 - 1

/** The options of a route that answers with a stream. */
export const streaming = {
  sse: 'only',
  handlerTimeout: STREAM_TIMEOUT_MS,
  onRequest: async ({ headers: { accept = '*/*' } }: FastifyRequest) => {
    // Before the stream's own look at it, whose refusal is no problem document.
    if (!/text\/event-stream|text\/\*|\*\/\*/.test(accept)) {
      throw new HttpProblem(406, 'This is a stream: accept text/event-stream.')
    }
  },
} as const

/** The streams of server-sent events that are open in this process. */
export class EventStreams {
  readonly #open
  #readers = 0

  constructor(metrics: Metrics | undefined) {
    this.#open = metrics?.meter.createGauge(
      'saga_event_readers',
      'int',
      undefined,
      'Open streams of server-sent events.',
    )
    this.#count(0)
  }

  /** Answers with what `events` yields until the reader has gone; `self`: what else there is to be read. */
  async send(
    request: FastifyRequest,
    reply: FastifyReply,
    self: string,
    events: (gone: AbortSignal) => AsyncGenerator<SSEMessage>,
  ): Promise<void> {
    if (request.method === 'HEAD') return reply.type('text/event-stream').send()
    if (this.#readers >= MAX_STREAMS) {
      const detail = `${MAX_STREAMS} streams are open here; try again later, or read GET ${self}.`
      throw new HttpProblem(503, detail, { headers: { 'retry-after': '5' } })
    }
    this.#count(1)
    // Also of one whose reader has gone meanwhile, which closes no more.
    finished(reply.raw, () => this.#count(-1))
    const gone = new AbortController()
    reply.sse.onClose(() => gone.abort())
    // The stream ends when this has returned: to wait for the reply here would be to wait for ever.
    return reply.sse.send(events(gone.signal))
  }

  #count(change: 0 | 1 | -1): void {
    this.#open?.set((this.#readers += change))
  }
}

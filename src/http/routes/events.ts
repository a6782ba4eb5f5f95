import { finished } from 'node:stream'
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { SSEMessage } from '@fastify/sse'
import type { FastifyRequest } from 'fastify'
import { followLog } from '../../saga/node/saga-log.js'
import type { AppContext } from '../app.js'
import { HttpProblem, problems } from '../problem.js'
import { Changes } from '../saga-feed.js'
import { isEnded } from '../../saga/node/saga-record.js'
import { toSaga } from '../saga-view.js'
import { answers, text } from '../openapi.js'
import { EventHeaders, SagaParams } from '../schemas/common.js'

/** Log rows that a stream holds at most: its reader may be slow, or not read at all. */
const ROWS_AT_ONCE = 100

/** Streams at once, of this process: each reads PostgreSQL at every change of its saga. */
const MAX_STREAMS = 500

/** As long as a timer can be: a saga that waits for a person may be watched for days. */
const STREAM_TIMEOUT_MS = 2 ** 31 - 1

/** GET /saga/{id}/events: log rows and changes of a saga as server-sent events, until it has ended. */
export const eventRoutes =
  ({ pool, store, feed, links, metrics }: AppContext): FastifyPluginAsyncTypebox =>
  async (app) => {
    const open = metrics?.meter.createGauge(
      'saga_event_readers',
      'int',
      undefined,
      'Open streams of server-sent events.',
    )
    let readers = 0
    const countReader = (change: 0 | 1 | -1) => open?.set((readers += change))
    countReader(0)
    const onRequest = async ({ headers: { accept = '*/*' } }: FastifyRequest) => {
      // Before the stream's own look at it, whose refusal is no problem document.
      if (!/text\/event-stream|text\/\*|\*\/\*/.test(accept)) {
        throw new HttpProblem(406, 'This is a stream: accept text/event-stream.')
      }
    }
    const schema = {
      tags: ['sagas'],
      summary: 'Its log rows and changes as they come, until it has ended (server-sent events)',
      params: SagaParams,
      headers: EventHeaders,
      response: answers(
        { 200: text('text/event-stream', '`event: log`: a row of the log, under its id; `event: status`: the saga.') },
        ...[400, 404, 406],
      ),
    }
    app.get(
      '/saga/:id/events',
      { schema, sse: 'only', onRequest, handlerTimeout: STREAM_TIMEOUT_MS },
      async (request, reply) => {
        const { id } = request.params
        if (!(await store.get(id))) throw problems.unknownSaga(id)
        if (request.method === 'HEAD') return reply.type('text/event-stream').send()
        if (readers >= MAX_STREAMS) {
          const detail = `${MAX_STREAMS} streams are open here; try again later, or read GET /saga/${id}.`
          throw new HttpProblem(503, detail, { headers: { 'retry-after': '5' } })
        }
        countReader(1)
        // Also of one whose reader has gone meanwhile, which closes no more.
        finished(reply.raw, () => countReader(-1))
        const gone = new AbortController()
        reply.sse.onClose(() => gone.abort())
        const lastEventId = Number(reply.sse.lastEventId)
        // The stream ends when this has returned: to wait for the reply here would be to wait for ever.
        return reply.sse.send(sagaEvents(id, Number.isSafeInteger(lastEventId) ? lastEventId : 0, gone.signal))
      },
    )

    /** Behind every change: the log rows that are new, then the saga where its answer differs from the last one sent. */
    async function* sagaEvents(sagaId: string, afterId: number, signal: AbortSignal): AsyncGenerator<SSEMessage> {
      const changes = new Changes(feed, sagaId)
      // A reader who went away while the stream waited for them never lets it come to its end.
      signal.addEventListener('abort', () => changes.close(), { once: true })
      let sent = ''
      try {
        while (!signal.aborted) {
          // The saga before its log: rows written between the two are sent early, never missed behind the end.
          const record = await store.get(sagaId)
          if (!record) return
          let rows
          do {
            rows = await followLog(pool, { sagaId, afterId, limit: ROWS_AT_ONCE })
            for (const row of rows) {
              afterId = row.id
              yield { id: String(row.id), event: 'log', data: row }
            }
          } while (rows.length === ROWS_AT_ONCE)
          const saga = toSaga(record, links)
          if (JSON.stringify(saga) !== sent) {
            sent = JSON.stringify(saga)
            yield { event: 'status', data: saga }
          }
          if (isEnded(record)) return
          await changes.next(signal)
        }
      } finally {
        changes.close()
      }
    }
  }

import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { SSEMessage } from '@fastify/sse'
import { whileAway } from '../../saga/node/db.js'
import { isEnded } from '../../saga/node/saga-record.js'
import { followLog, logRowToJson, readLogId } from '../../saga/node/saga-log.js'
import type { AppContext } from '../app.js'
import { OPENING_WAIT_MS, streaming, type EventStreams } from '../event-streams.js'
import { answers, text } from '../openapi.js'
import { problems } from '../problem.js'
import { Changes, lookAgainMs } from '../saga-feed.js'
import { toSaga } from '../saga-view.js'
import { EventHeaders, SagaParams } from '../schemas/common.js'

/** Log rows that a stream holds at most: its reader may be slow, or not read at all. */
const ROWS_AT_ONCE = 100

/** GET /saga/{id}/events: log rows and changes of a saga as server-sent events, until it has ended. */
export const eventRoutes =
  ({ pool, store, feed, links }: AppContext, streams: EventStreams): FastifyPluginAsyncTypebox =>
  async (app) => {
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
    app.get('/saga/:id/events', { schema, ...streaming }, async (request, reply) => {
      const { id } = request.params
      if (!(await whileAway(OPENING_WAIT_MS, () => store.get(id)))) throw problems.unknownSaga(id)
      return streams.send(request, reply, `/saga/${id}`, (gone) => {
        return sagaEvents(id, readLogId(reply.sse.lastEventId ?? '') ?? 0n, gone)
      })
    })

    /** Behind every change: the log rows that are new, then the saga where its answer differs from the last one sent. */
    async function* sagaEvents(sagaId: string, afterId: bigint, signal: AbortSignal): AsyncGenerator<SSEMessage> {
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
              yield { id: String(row.id), event: 'log', data: logRowToJson(row) }
            }
          } while (rows.length === ROWS_AT_ONCE)
          const saga = toSaga(record, links)
          if (JSON.stringify(saga) !== sent) {
            sent = JSON.stringify(saga)
            yield { event: 'status', data: saga }
          }
          if (isEnded(record)) return
          await changes.next(signal, lookAgainMs(record))
        }
      } finally {
        changes.close()
      }
    }
  }

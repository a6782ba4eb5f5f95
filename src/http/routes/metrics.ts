import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { AppContext } from '../app.js'
import type { Metrics } from '../../temporal.js'
import { answers, text } from '../openapi.js'

/** GET /metrics: the SDK's figures and ours, in Prometheus' text format. Those of all sagas are read when they are asked for. */
export const metricRoutes =
  ({ store, feed }: AppContext, { meter, url }: Metrics): FastifyPluginAsyncTypebox =>
  async (app) => {
    const gauge = (name: string, what: string) => meter.createGauge(name, 'float', undefined, what)
    const unfinished = gauge('saga_unfinished', 'Sagas that have not ended, by status.')
    const debt = gauge('saga_needs_attention_oldest_seconds', 'How long the oldest that waits for a person does.')
    const still = gauge('saga_without_progress', 'Sagas that go on without a person and have not moved for 10 minutes.')
    const watchers = gauge('saga_watchers', 'Readers of events, and callers that wait for a saga.')

    const schema = {
      tags: ['health'],
      summary: 'Figures for Prometheus',
      response: answers({ 200: text('text/plain', 'In Prometheus’ text format.') }),
    }
    app.get('/metrics', { schema }, async (_request, reply) => {
      watchers.set(feed.watchers.size)
      // Where PostgreSQL is away the others are told all the same, and these stay as they were.
      const standing = await store.unfinished.standing().catch(() => undefined)
      if (standing) {
        for (const [status, count] of Object.entries(standing.unfinished)) unfinished.set(count, { status })
        debt.set(standing.oldestWaitingS)
        still.set(standing.withoutProgress)
      }
      const figures = await fetch(url, { signal: AbortSignal.timeout(3_000) })
      return reply.type('text/plain; version=0.0.4; charset=utf-8').send(await figures.text())
    })
  }

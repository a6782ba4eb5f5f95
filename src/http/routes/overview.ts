import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { readOverview } from '../../saga/node/saga-overview.js'
import type { AppContext } from '../app.js'
import { answers } from '../openapi.js'
import { Overview, OverviewQuery } from '../schemas/overview.js'

/** Many pages that look at once cost no more than one. */
const KEPT_MS = 2_000

/** GET /overview: how sagas do now, and have done of late. */
export const overviewRoutes =
  ({ pool, store }: AppContext): FastifyPluginAsyncTypebox =>
  async (app) => {
    const kept = new Map<number, { until: number; overview: Promise<Overview> }>()

    const read = async (minutes: number): Promise<Overview> => {
      const { at, points, ...rest } = await readOverview(pool, store, minutes)
      return {
        at: at.toISOString(),
        ...rest,
        points: points.map((point) => ({ ...point, at: point.at.toISOString() })),
      }
    }

    const schema = {
      tags: ['health'],
      summary: 'How sagas do now, and have done of late',
      querystring: OverviewQuery,
      response: answers({ 200: Overview }, 400),
    }
    app.get('/overview', { schema }, async (request) => {
      const { minutes = 60 } = request.query
      const now = Date.now()
      for (const [key, { until }] of kept) if (until <= now) kept.delete(key)
      const known = kept.get(minutes)
      if (known) return known.overview
      const overview = read(minutes)
      kept.set(minutes, { until: now + KEPT_MS, overview })
      // The next one shall not be told that it failed, but find out.
      overview.catch(() => kept.delete(minutes))
      return overview
    })
  }

import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { listLog } from '../../saga/node/saga-log.js'
import type { AppContext } from '../app.js'
import { LogsQuery } from '../schemas/log.js'

/** GET /logs: the saga log, newest first. */
export const logRoutes =
  ({ pool }: AppContext): FastifyPluginAsyncTypebox =>
  async (app) => {
    app.get('/logs', { schema: { querystring: LogsQuery } }, async (request) => ({
      logs: await listLog(pool, request.query),
    }))
  }

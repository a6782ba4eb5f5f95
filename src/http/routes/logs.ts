import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { listLog } from '../../saga/node/saga-log.js'
import type { AppContext } from '../app.js'
import { answers } from '../openapi.js'
import { Logs, LogsQuery } from '../schemas/log.js'

/** GET /logs: the saga log, newest first. */
export const logRoutes =
  ({ pool }: AppContext): FastifyPluginAsyncTypebox =>
  async (app) => {
    const logs = {
      tags: ['log'],
      summary: 'The saga log, newest first',
      querystring: LogsQuery,
      response: answers({ 200: Logs }, 400),
    }
    app.get('/logs', { schema: logs }, async (request) => ({
      logs: await listLog(pool, request.query),
    }))
  }

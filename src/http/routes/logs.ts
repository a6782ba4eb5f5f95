import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { listLog, logRowToJson, readLogId } from '../../saga/node/saga-log.js'
import type { AppContext } from '../app.js'
import { answers } from '../openapi.js'
import { invalidBody } from '../problem.js'
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
    const serializerCompiler =
      ({ httpStatus }: { httpStatus?: string | undefined }) =>
      (answer: unknown) =>
        httpStatus === '200' ? toJson(answer as Logs) : JSON.stringify(answer)
    app.get('/logs', { schema: logs, serializerCompiler }, async ({ query: { before: given, ...filter } }) => {
      const before = given === undefined ? undefined : readLogId(given)
      if (given !== undefined && before === undefined) {
        throw invalidBody([{ path: '/before', message: 'is no id that there can be' }], 'querystring')
      }
      return { logs: await listLog(pool, { ...filter, before }) }
    })
  }

const toJson = ({ logs }: Logs) => `{"logs":[${logs.map(logRowToJson).join()}]}`

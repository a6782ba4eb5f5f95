import { createHash } from 'node:crypto'
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from 'typebox'
import { countStuck, listSagas, type SagaFilter, type SagaPosition } from '../../saga/node/saga-list.js'
import { makeCheck } from '../../validation.js'
import type { AppContext } from '../app.js'
import { answers } from '../openapi.js'
import { HttpProblem } from '../problem.js'
import { toSaga } from '../saga-view.js'
import { Sagas, SagasQuery, STATUSES, Stuck } from '../schemas/saga-list.js'

/** GET /saga: all sagas, newest first, a page at a time. GET /stuck: how many wait for a person, and on what. */
export const sagaListRoutes =
  ({ pool, links }: AppContext): FastifyPluginAsyncTypebox =>
  async (app) => {
    const schema = {
      tags: ['sagas'],
      summary: 'All sagas, newest first',
      querystring: SagasQuery,
      response: answers({ 200: Sagas }, 400),
    }
    app.get(
      '/saga',
      {
        schema,
        preValidation: async (request) => {
          const query = request.query as { status?: string | string[] }
          // However it is given: several times, with commas, or both. What is too long is refused, not looked at.
          if (query.status !== undefined)
            query.status = [query.status]
              .flat()
              .join(',')
              .split(',', STATUSES + 1)
        },
      },
      async (request) => {
        const { status: statuses, step, q, bulk, limit, cursor } = request.query
        const list: List = { statuses: statuses?.toSorted(), step, q, bulk }
        const after = cursor === undefined ? undefined : readCursor(cursor, list)
        const { sagas, next } = await listSagas(pool, { statuses, step, q, bulk, limit, after })
        return { sagas: sagas.map((saga) => toSaga(saga, links)), nextCursor: next ? writeCursor(next, list) : null }
      },
    )

    const stuck = {
      tags: ['sagas'],
      summary: 'How many sagas wait for a person, by the step that is stuck and its error',
      response: answers({ 200: Stuck }),
    }
    app.get('/stuck', { schema: stuck }, async () => ({ stuck: await countStuck(pool) }))
  }

/** What a cursor belongs to. */
type List = Pick<SagaFilter, 'statuses' | 'step' | 'q' | 'bulk'>

/** A position, and a digest that tells whether it has come back whole, and to its own list. */
function writeCursor({ startedAtMicros, sagaId }: SagaPosition, list: List): string {
  const digest = createHash('sha256')
    .update(JSON.stringify([startedAtMicros, sagaId, list]))
    .digest('base64url')
  return Buffer.from(JSON.stringify({ startedAtMicros, sagaId, digest: digest.slice(0, 10) })).toString('base64url')
}

/** The digest is no secret: somebody may have made the cursor, but then it is a position as good as any. */
const checkPosition = makeCheck(
  Type.Object({
    startedAtMicros: Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER }),
    sagaId: Type.String({ format: 'unbroken-text' }),
  }),
)

function readCursor(cursor: string, list: List): SagaPosition {
  const position = parse(Buffer.from(cursor, 'base64url').toString()) as SagaPosition
  if (checkPosition(position).length > 0 || writeCursor(position, list) !== cursor) {
    throw new HttpProblem(400, 'The cursor is not one of this list. Begin without one.', {
      errors: [{ path: '/cursor', message: 'must be the nextCursor of a page with the same status, step, q and bulk' }],
    })
  }
  return position
}

function parse(json: string): unknown {
  try {
    return JSON.parse(json)
  } catch {
    return undefined
  }
}

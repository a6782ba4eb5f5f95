import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { FastifyRequest } from 'fastify'
import { cancelBulk, compensateBulk, type EndAnswer } from '../../saga/node/bulk-ending.js'
import { trimmed } from '../../workflows/create-user-input.js'
import type { AppContext } from '../app.js'
import { answers } from '../openapi.js'
import { HttpProblem, problems } from '../problem.js'
import { Bulk, BulkEndRequest } from '../schemas/bulk.js'
import { ref, SagaParams } from '../schemas/common.js'
import { isBulkId, readBulk, unknownBulk } from './bulk.js'

/** Sagas with a run of their own that are told at once that they are cancelled. */
const AT_ONCE = 8

/** POST /saga/bulk/{id}/cancel and …/compensate. */
export const bulkEndRoutes =
  ({ pool, store, bulks, starter, temporalHealth }: AppContext): FastifyPluginAsyncTypebox =>
  async (app) => {
    const route = (summary: string, description: string) => ({
      config: { role: 'operator' } as const,
      schema: {
        tags: ['bulk'],
        summary,
        description,
        params: SagaParams,
        body: BulkEndRequest,
        response: answers({ 202: ref(Bulk) }, 400, 404, 409, 413, 415),
      },
      preValidation: async (request: FastifyRequest) => {
        request.body = trimmed(request.body)
      },
    })

    const cancel = route(
      'Cancel what has not ended of a bulk',
      'Every saga that could still be cancelled alone stops, and what it has done is compensated.',
    )
    app.post('/saga/bulk/:id/cancel', cancel, async (request, reply) => {
      const { id } = request.params
      const { actor = 'anonymous', ...order } = request.body
      if (temporalHealth.isAway) throw problems.away('Temporal')
      const answer = isBulkId(id) ? await cancelBulk(pool, store, { bulkId: id, actor, ...order }) : unknown
      const ending = done(answer, id, `${order.expected} of its sagas to cancel`)
      void tell(request, ending.alone)
      await run(request, id, ending)
      return reply.code(202).send(await readBulk(pool, bulks, id))
    })

    const compensate = route(
      'Compensate what has completed of a bulk',
      'Every saga that is COMPLETED, and has no point of no return, is compensated after all.',
    )
    app.post('/saga/bulk/:id/compensate', compensate, async (request, reply) => {
      const { id } = request.params
      const { actor = 'anonymous', ...order } = request.body
      if (temporalHealth.isAway) throw problems.away('Temporal')
      const answer = isBulkId(id) ? await compensateBulk(pool, store, { bulkId: id, actor, ...order }) : unknown
      await run(request, id, done(answer, id, `${order.expected} completed sagas to compensate`))
      return reply.code(202).send(await readBulk(pool, bulks, id))
    })

    /** One that has ended, or paused, has no run any more. */
    async function run(request: FastifyRequest, bulkId: string, { type, shared }: Done): Promise<void> {
      if (shared === 0) return
      await starter.startBulk({ bulkId, type }).catch((error: Error) => {
        request.log.warn({ bulkId, err: error }, 'Temporal did not take the bulk; the sweep will start it')
      })
    }

    /** Those with a run of their own, which may be long in a call. What Temporal does not take the sweep repeats. */
    async function tell(request: FastifyRequest, sagaIds: string[]): Promise<void> {
      const left = [...sagaIds]
      const lane = async () => {
        for (let sagaId = left.shift(); sagaId !== undefined; sagaId = left.shift()) {
          await starter.cancel(sagaId).catch((error: Error) => {
            request.log.warn({ sagaId, err: error }, 'Temporal did not take the cancel; the sweep will repeat it')
          })
        }
      }
      await Promise.all(Array.from({ length: AT_ONCE }, lane))
    }
  }

type Done = EndAnswer & { kind: 'done' }

const unknown = { kind: 'unknown' } as const

/** Throws where nothing was done; `what` was expected. */
function done(answer: EndAnswer, id: string, what: string): Done {
  if (answer.kind === 'done') return answer
  if (answer.kind === 'unknown') throw unknownBulk(id)
  const { matching } = answer
  throw new HttpProblem(
    409,
    `Bulk ${id} was expected to have ${what}, and it would be ${matching}. Nothing was changed.`,
    {
      matching,
    },
  )
}

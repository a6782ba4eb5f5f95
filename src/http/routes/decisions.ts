import { randomUUID } from 'node:crypto'
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { whileAway } from '../../saga/node/db.js'
import type { SagaDecisions } from '../../saga/node/saga-decisions.js'
import { decisionsRunId } from '../../saga/node/saga-starter.js'
import { trimmed } from '../../workflows/create-user-input.js'
import type { AppContext } from '../app.js'
import { answers } from '../openapi.js'
import { HttpProblem, problems } from '../problem.js'
import { temporalLink } from '../saga-view.js'
import { DecisionsAccepted, DecisionsParams, DecisionsProgress, DecisionsRequest } from '../schemas/decisions.js'

type Order = Parameters<SagaDecisions['write']>[0]

/** As long as a start: with the connection's own time-out it stays within 5 s. */
const WRITE_WAIT_MS = 1_500

/**
 * POST /saga/decisions and GET /saga/decisions/{id}. A saga whose id is "decisions" is found at GET /saga/decisions like any
 * other, and can be cancelled and decided; its events and its plan can't be asked for, for they stand where calls do.
 */
export const decisionRoutes =
  ({ decisions, starter, temporalHealth, links }: AppContext): FastifyPluginAsyncTypebox =>
  async (app) => {
    const linksOf = (decisionsId: string) => ({
      self: `/saga/decisions/${decisionsId}`,
      temporal: temporalLink(decisionsRunId(decisionsId), links),
    })

    app.post(
      '/saga/decisions',
      {
        config: { role: 'operator' },
        schema: {
          tags: ['sagas'],
          summary: 'Decide for all sagas that are stuck on a step',
          body: DecisionsRequest,
          response: answers(
            {
              202: {
                ...DecisionsAccepted,
                headers: { location: { type: 'string', description: 'Where its progress is.' } },
              },
            },
            ...[400, 409, 413, 415],
          ),
        },
        preValidation: async (request) => {
          request.body = withTrimmedFilter(trimmed(request.body))
        },
      },
      async (request, reply) => {
        if (temporalHealth.isAway) throw problems.away('Temporal')
        const { perSecond = 10, stopAfterFailures = 10, ...body } = request.body
        const order = { decisionsId: randomUUID(), ...body, perSecond, stopAfterFailures } as Order
        // Again under the same id where the connection broke, for it may be written.
        const answer = await whileAway(WRITE_WAIT_MS, () => decisions.write(order))
        if (answer.kind === 'refused') throw otherNumber(request.body, answer)
        const { decisionsId, matching, status } = answer.call
        if (status === 'running') {
          await starter.startDecisions(decisionsId).catch((error: Error) => {
            app.log.warn({ decisionsId, err: error }, 'Temporal did not take the decisions; the sweep will start them')
          })
        }
        const accepted = { decisionsId, matching, links: linksOf(decisionsId) }
        return reply.code(202).header('location', accepted.links.self).send(accepted)
      },
    )

    const progress = {
      tags: ['sagas'],
      summary: 'How far a decision for many sagas has come',
      params: DecisionsParams,
      response: answers({ 200: DecisionsProgress }, 400, 404),
    }
    app.get('/saga/decisions/:id', { schema: progress }, async (request) => {
      const { id } = request.params
      const found = await decisions.get(id)
      if (!found) throw new HttpProblem(404, `There are no decisions ${id}.`)
      const { startedAt, endedAt, ...rest } = found
      return {
        ...rest,
        startedAt: startedAt.toISOString(),
        ...(endedAt && { endedAt: endedAt.toISOString() }),
        links: linksOf(id),
      }
    })
  }

function otherNumber({ filter, expected }: DecisionsRequest, { matching }: { matching: number }): HttpProblem {
  const error = filter.errorType === undefined ? '' : ` with ${filter.errorType}`
  return new HttpProblem(
    409,
    `${expected} sagas were expected to be stuck on ${filter.step}${error}, and it would be ${matching}. Nothing was decided.`,
    { matching },
  )
}

function withTrimmedFilter<T>(body: T): T {
  const { filter } = (body ?? {}) as { filter?: unknown }
  // Whatever is no object, such as a list, which has a method of that name, is left to the check.
  return typeof filter === 'object' ? { ...body, filter: trimmed(filter) } : body
}

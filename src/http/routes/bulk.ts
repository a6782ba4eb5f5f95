import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import type { SSEMessage } from '@fastify/sse'
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { FastifyRequest } from 'fastify'
import type { Bulk as BulkRow, BulkOrder, SagaBulks } from '../../saga/node/saga-bulk.js'
import { countCancellable } from '../../saga/node/bulk-ending.js'
import { whileAway, type Pool } from '../../saga/node/db.js'
import { createUserSaga } from '../../workflows/create-user.js'
import { createUser } from '../../workflows/create-user-input.js'
import { coercing, strict } from '../../validation.js'
import type { AppContext } from '../app.js'
import { refuseLarge } from '../body.js'
import { BulkIntake } from '../bulk-intake.js'
import { toBulk, toBulkAccepted, toBulkSummary } from '../bulk-view.js'
import { OPENING_WAIT_MS, streaming, type EventStreams } from '../event-streams.js'
import { acceptNdjson } from '../ndjson.js'
import { answers, text } from '../openapi.js'
import { HttpProblem, problems } from '../problem.js'
import { ref, SagaParams } from '../schemas/common.js'
import {
  Bulk,
  BULK_BYTES,
  BulkAccepted,
  bulkBody,
  BulkHeaders,
  BulkQuery,
  Bulks,
  BulksQuery,
  MOST_SAGAS,
} from '../schemas/bulk.js'

/** As long as a single start; the writing itself takes up to 2 s. */
const WRITE_WAIT_MS = 1_500

/** How often a stream looks how far its bulk has come. */
const LOOK_MS = 1_000

/**
 * POST /saga/bulk, GET /saga/bulk, and what there is of each. A saga whose id is "bulk" is found in lists and can be
 * cancelled and decided, but not be asked for alone: bulks stand there.
 */
export const bulkRoutes =
  ({ config, pool, bulks, starter, temporalHealth }: AppContext, streams: EventStreams): FastifyPluginAsyncTypebox =>
  async (app) => {
    acceptNdjson(app, BULK_BYTES)

    app.post(
      '/saga/bulk',
      {
        config: { role: 'starter', bodyProblems: MOST_SAGAS },
        schema: {
          tags: ['bulk'],
          summary: 'Start many createUserSagas',
          description: 'All of them, or with `onInvalid=skip` all that are right, or none.',
          body: bulkBody,
          querystring: BulkQuery,
          headers: BulkHeaders,
          response: answers({ 202: ref(BulkAccepted, { headers: accepted }) }, 400, 413, 415, 422),
        },
        bodyLimit: BULK_BYTES,
        preParsing: refuseLarge(BULK_BYTES),
        // Its sagas are looked at one by one, as they come.
        validatorCompiler: ({ schema, httpPart }) =>
          httpPart === 'body' ? () => true : (httpPart === 'querystring' ? coercing : strict).compile(schema as object),
      },
      async (request, reply) => {
        if (temporalHealth.isAway) throw problems.away('Temporal')
        const intake = new BulkIntake(request, config, { isSkipping: request.query.onInvalid === 'skip' })
        const { inputs, ...rejected } = await intake.read()
        const order: BulkOrder = {
          bulkId: randomUUID(),
          type: createUser.type,
          sagas: inputs.map((one) => ({ sagaId: randomUUID(), saga: createUser, steps: createUserSaga.steps, ...one })),
          ...rejected,
          idempotencyKey: request.headers['idempotency-key'],
        }
        // Again under the same id where the connection broke, for it may be written.
        const answer = await whileAway(WRITE_WAIT_MS, () => bulks.write(order))
        if (answer.kind === 'mismatch') {
          throw new HttpProblem(
            422,
            'This Idempotency-Key belongs to a bulk of other sagas. Use a new key for a new bulk.',
          )
        }
        if (answer.kind === 'replayed') reply.header('idempotent-replayed', 'true')
        if (answer.bulk.status === 'running') await start(request, answer.bulk)
        const body = toBulkAccepted(answer.bulk)
        return reply.code(202).header('location', body.links.self).send(body)
      },
    )

    /** What Temporal does not take the sweep starts. */
    async function start(request: FastifyRequest, bulk: BulkRow): Promise<void> {
      await starter.startBulk(bulk).catch((error: Error) => {
        request.log.warn({ bulkId: bulk.bulkId, err: error }, 'Temporal did not take the bulk; the sweep will start it')
      })
    }

    const list = {
      tags: ['bulk'],
      summary: 'Bulks, newest first',
      querystring: BulksQuery,
      response: answers({ 200: Bulks }, 400),
    }
    app.get('/saga/bulk', { schema: list }, async (request) => ({
      bulks: (await bulks.list(request.query.limit ?? 20)).map(toBulkSummary),
    }))

    const one = {
      tags: ['bulk'],
      summary: 'How far a bulk has come',
      params: SagaParams,
      response: answers({ 200: ref(Bulk) }, 400, 404),
    }
    app.get('/saga/bulk/:id', { schema: one }, (request) => read(request.params.id))

    const read = (id: string) => readBulk(pool, bulks, id)

    const events = {
      tags: ['bulk'],
      summary: 'How far it comes, until it has ended (server-sent events)',
      params: SagaParams,
      response: answers(
        { 200: text('text/event-stream', '`event: bulk`: the bulk, when it has changed, once a second at most.') },
        ...[400, 404, 406],
      ),
    }
    app.get('/saga/bulk/:id/events', { schema: events, ...streaming }, async (request, reply) => {
      const { id } = request.params
      await whileAway(OPENING_WAIT_MS, () => read(id))
      return streams.send(request, reply, `/saga/bulk/${id}`, (gone) => bulkEvents(id, gone))
    })

    async function* bulkEvents(id: string, gone: AbortSignal): AsyncGenerator<SSEMessage> {
      for (let sent = ''; !gone.aborted;) {
        const bulk = await read(id)
        if (JSON.stringify(bulk) !== sent) {
          sent = JSON.stringify(bulk)
          yield { event: 'bulk', data: bulk }
        }
        if (bulk.status === 'ENDED') return
        await sleep(LOOK_MS, undefined, { signal: gone }).catch(() => {})
      }
    }

    const resume = {
      tags: ['bulk'],
      summary: 'Let a bulk that has paused go on',
      params: SagaParams,
      response: answers({ 202: ref(Bulk) }, 400, 404, 409),
    }
    app.post('/saga/bulk/:id/resume', { config: { role: 'operator' }, schema: resume }, async (request, reply) => {
      const { id } = request.params
      if (temporalHealth.isAway) throw problems.away('Temporal')
      const answer = isBulkId(id) ? await bulks.resume(id) : ({ kind: 'unknown' } as const)
      if (answer.kind === 'unknown') throw unknownBulk(id)
      if (answer.kind === 'refused') {
        const how = answer.bulk.status === 'ended' ? 'has ended' : 'is under way'
        throw new HttpProblem(409, `Bulk ${id} ${how}; there is nothing to resume.`)
      }
      await start(request, answer.bulk)
      return reply.code(202).send(await read(id))
    })
  }

const accepted = {
  location: { type: 'string', description: 'Where its progress is.' },
  'idempotent-replayed': { type: 'string', description: 'true: this key has started its bulk before.' },
}

/** Throws where there is none. */
export async function readBulk(pool: Pool, bulks: SagaBulks, id: string): Promise<Bulk> {
  const bulk = isBulkId(id) ? await bulks.get(id) : undefined
  if (!bulk) throw unknownBulk(id)
  const cancellable = bulk.statuses.RUNNING || bulk.statuses.NEEDS_ATTENTION ? await countCancellable(pool, id) : 0
  return toBulk(bulk, await bulks.failures(id), cancellable)
}

export const unknownBulk = (id: string) => new HttpProblem(404, `There is no bulk ${id}.`)

export const isBulkId = (id: string) => /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(id)

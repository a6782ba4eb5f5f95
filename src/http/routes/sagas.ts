import { randomUUID } from 'node:crypto'
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { whileAway } from '../../saga/node/db.js'
import { SagaGrouper } from '../../saga/node/saga-grouper.js'
import { isEnded, isPastPivot, type SagaRecord } from '../../saga/node/saga-record.js'
import type { Standing } from '../../saga/node/saga-row.js'
import type { Decision } from '../../saga/types.js'
import { createUserSaga } from '../../workflows/create-user.js'
import { createUser, trimmed, type CreateUserRequest as Request } from '../../workflows/create-user-input.js'
import { requireRole } from '../access.js'
import type { AppContext } from '../app.js'
import { answers } from '../openapi.js'
import { HttpProblem, problems } from '../problem.js'
import { concern } from '../request-log.js'
import { readUntil } from '../saga-feed.js'
import { toAccepted, toPlan, toSaga } from '../saga-view.js'
import { ref, SagaParams } from '../schemas/common.js'
import {
  CancelRequest,
  CreateUserRequest,
  DecisionRequest,
  Saga,
  SagaAccepted,
  SagaPlan,
  StartHeaders,
  StartQuery,
} from '../schemas/saga.js'

/** How long a start waits for a database that is away; with the connection's own time-out it stays within 5 s. */
const INTENT_WAIT_MS = 1_500

const started = {
  location: { type: 'string', description: 'Where the saga is.' },
  'idempotent-replayed': { type: 'string', description: 'true: this key has started its saga before.' },
  'preference-applied': { type: 'string' },
}

/** POST /saga, GET /saga/{id}, its plan, POST /saga/{id}/cancel and …/decision. */
export const sagaRoutes =
  ({ config, store, starter, feed, temporalHealth, links }: AppContext): FastifyPluginAsyncTypebox =>
  async (app) => {
    const grouper = config.isGrouping ? new SagaGrouper(starter, store, feed) : undefined
    /** Starts its run; the saga with the workflow that carries it. */
    async function start(saga: SagaRecord): Promise<SagaRecord> {
      if (grouper) return { ...saga, carriedBy: await grouper.start(saga) }
      await starter.start(saga, store.requestOf(saga))
      return saga
    }

    app.post(
      '/saga',
      {
        config: { role: 'starter' },
        schema: {
          tags: ['sagas'],
          summary: 'Start a createUserSaga',
          body: CreateUserRequest,
          querystring: StartQuery,
          headers: StartHeaders,
          response: answers(
            {
              200: ref(Saga, {
                description: 'It has ended, or waits for a person, within the time given.',
                headers: started,
              }),
              202: ref(SagaAccepted, { headers: started }),
            },
            ...[400, 413, 415, 422],
          ),
        },
        bodyLimit: 64 * 1024,
        preValidation: async (request) => {
          request.body = trimmed(request.body)
        },
      },
      async (request, reply) => {
        if (request.body.failures) requireRole(request, 'operator')
        if (request.body.failures && !config.failureInjection) {
          throw new HttpProblem(403, 'Failure injection is off here; leave `failures` out.')
        }
        const record = await accept(request.body, request.headers['idempotency-key'])
        concern(request, record.saga.sagaId)
        const replayed = record.replayed
        if (replayed) reply.header('idempotent-replayed', 'true')

        const preferred = waitPreference(request.headers.prefer)
        const waitSeconds = request.query.wait ?? preferred ?? 0
        if (request.query.wait === undefined && preferred !== undefined)
          reply.header('preference-applied', `wait=${preferred}`)
        const decided = request.query.until === 'decided'
        const isEnough = (saga: Standing) =>
          isEnded(saga) || saga.status === 'NEEDS_ATTENTION' || (decided && saga.fate !== 'open')
        const saga = waitSeconds === 0 ? record.saga : await wait(record.saga, waitSeconds, isEnough, reply.raw)

        reply.header('location', `/saga/${saga.sagaId}`)
        if (waitSeconds > 0 && isEnough(saga)) return reply.code(200).send(toSaga(saga, links))
        return reply.code(202).send(toAccepted(saga, links))
      },
    )

    /** The row first, then Temporal: once it is committed the saga runs, if not by this call then by the sweep. */
    async function accept(body: Request, idempotencyKey: string | undefined) {
      if (temporalHealth.isAway) throw problems.away('Temporal')
      const parsed = createUser.parse(body)
      if ('problems' in parsed) throw new HttpProblem(400, 'The body is not right.', { errors: parsed.problems })
      const intent = {
        sagaId: randomUUID(),
        saga: createUser,
        steps: createUserSaga.steps,
        ...parsed,
        idempotencyKey,
        maxOpen: config.maxOpenSagas,
      }
      // Again under the same id where the connection broke, for the row may be there.
      const answer = await whileAway(INTENT_WAIT_MS, () => store.writeIntent(intent))
      if (answer.kind === 'mismatch') {
        throw new HttpProblem(
          422,
          'This Idempotency-Key belongs to a saga with another body. Use a new key for a new saga.',
        )
      }
      if (answer.kind === 'full') {
        throw new HttpProblem(
          503,
          `${config.maxOpenSagas} sagas are unfinished; nothing was written. Try again later.`,
          {
            headers: { 'retry-after': '5' },
          },
        )
      }
      let { record: saga } = answer
      if (saga.firstRunId === null && saga.carriedBy === null && saga.fate === 'open') {
        try {
          saga = await start(saga)
        } catch (error) {
          app.log.warn({ sagaId: saga.sagaId, err: error }, 'Temporal did not take the saga; the sweep will start it')
        }
      }
      return { saga, replayed: answer.kind === 'replayed' }
    }

    /** Waits by PostgreSQL's announcements alone; a caller who has gone waits no longer. */
    async function wait(
      saga: SagaRecord,
      seconds: number,
      enough: (saga: Standing) => boolean,
      connection: NodeJS.EventEmitter,
    ): Promise<SagaRecord> {
      const over = new AbortController()
      const end = () => over.abort('over')
      connection.once('close', end)
      const timer = setTimeout(end, seconds * 1_000)
      let last = saga
      // What is acknowledged stays so: a database that goes away meanwhile is waited for like the outcome.
      const read = async () => (last = (await store.get(saga.sagaId).catch(() => undefined)) ?? last)
      try {
        return await readUntil(feed, saga.sagaId, { read, enough, signal: over.signal })
      } finally {
        clearTimeout(timer)
        connection.off('close', end)
      }
    }

    const one = {
      tags: ['sagas'],
      summary: 'The whole saga',
      params: SagaParams,
      response: answers({ 200: ref(Saga) }, 400, 404),
    }
    app.get('/saga/:id', { schema: one }, async (request) => {
      const record = await store.get(request.params.id)
      if (!record) throw problems.unknownSaga(request.params.id)
      return toSaga(record, links)
    })

    app.post(
      '/saga/:id/cancel',
      {
        config: { role: 'operator' },
        schema: {
          tags: ['sagas'],
          summary: 'Stop it, and undo what it has done',
          params: SagaParams,
          body: CancelRequest,
          response: answers({ 202: ref(SagaAccepted) }, 400, 404, 409, 413, 415),
        },
        preValidation: async (request) => {
          request.body = trimmed(request.body)
        },
      },
      async (request, reply) => {
        const { id } = request.params
        const { reason, actor = 'anonymous' } = request.body
        if (temporalHealth.isAway) throw problems.away('Temporal')
        const record = await store.requestCancel(id, { reason, actor })
        if (!record) throw problems.unknownSaga(id)
        if (isEnded(record))
          throw new HttpProblem(409, `Saga ${id} has ended as ${record.status}; there is nothing to cancel.`)
        if (record.handedOverAt)
          throw new HttpProblem(
            409,
            `Saga ${id} is done, and what becomes of it is up to saga ${record.parentId}; cancel that one.`,
          )
        if (record.fate === 'open' && isPastPivot(record))
          throw new HttpProblem(409, `Saga ${id} is past its point of no return; it only goes forward from here.`)
        if (record.fate === 'open') {
          await starter.cancel(id).catch((error: Error) => {
            app.log.warn({ sagaId: id, err: error }, 'Temporal did not take the cancel; the sweep will repeat it')
          })
        }
        const now = (await store.get(id).catch(() => undefined)) ?? record
        return reply
          .code(202)
          .header('location', `/saga/${encodeURIComponent(id)}`)
          .send(toAccepted(now, links))
      },
    )

    const plan = {
      tags: ['sagas'],
      summary: 'What a rollback would do now',
      params: SagaParams,
      response: answers({ 200: ref(SagaPlan) }, 400, 404),
    }
    app.get('/saga/:id/plan', { schema: plan }, async (request) => {
      const record = await store.get(request.params.id)
      if (!record) throw problems.unknownSaga(request.params.id)
      return toPlan(record)
    })

    app.post(
      '/saga/:id/decision',
      {
        config: { role: 'operator' },
        schema: {
          tags: ['sagas'],
          summary: 'Decide on a step that is stuck',
          params: SagaParams,
          body: DecisionRequest,
          response: answers({ 200: ref(Saga) }, 400, 404, 409, 413, 415),
        },
        preValidation: async (request) => {
          request.body = trimmed(request.body, { but: 'input' })
        },
      },
      async (request) => {
        const { id } = request.params
        if (temporalHealth.isAway) throw problems.away('Temporal')
        const answer = await store.decide(id, request.body as Decision)
        if (answer.kind === 'unknown') throw problems.unknownSaga(id)
        if (answer.kind === 'refused') throw new HttpProblem(409, answer.why)
        // It stands in the row: where Temporal does not take it now, the sweep repeats it. Nobody waits for the worker.
        void starter.decide(id, answer.decision).catch((error: Error) => {
          app.log.warn({ sagaId: id, err: error }, 'Temporal did not take the decision; the sweep will repeat it')
        })
        return toSaga(answer.record, links)
      },
    )
  }

/** The seconds of `Prefer: wait=…` (RFC 7240): more than 60 count as 60; nonsense, and `respond-async`, mean none. */
function waitPreference(header: string | undefined): number | undefined {
  const preferences = (header ?? '')
    .split(',')
    .map((preference) => preference.split(';')[0]?.trim().toLowerCase() ?? '')
  if (preferences.includes('respond-async')) return undefined
  const seconds = preferences
    .map((preference) => /^wait\s*=\s*"?(\d{1,9})"?$/.exec(preference)?.[1])
    .find((found) => found)
  return seconds === undefined ? undefined : Math.min(60, Number(seconds))
}

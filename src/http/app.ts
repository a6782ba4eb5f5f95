import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { fastifySSE } from '@fastify/sse'
import fastifyStatic from '@fastify/static'
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import fastify, { LogController, type FastifyBaseLogger, type FastifyInstance, type FastifyRequest } from 'fastify'
import type { Config } from '../config.js'
import type { Pool } from '../saga/node/db.js'
import type { SagaBulks } from '../saga/node/saga-bulk.js'
import type { SagaDecisions } from '../saga/node/saga-decisions.js'
import type { SagaStarter } from '../saga/node/saga-starter.js'
import type { SagaStore } from '../saga/node/saga-store.js'
import type { Metrics } from '../temporal.js'
import type { Tracing } from '../tracing.js'
import { coercing, strict } from '../validation.js'
import { forAnyone, guardAccess, limitRates, Logins } from './access.js'
import { clientErrorHandler, frameworkErrors, refuseWithProblems } from './broken-requests.js'
import { guardHosts, protectPages } from './guards.js'
import { documentApi } from './openapi.js'
import { readJson } from './body.js'
import { EventStreams } from './event-streams.js'
import { handleError, HttpProblem, send } from './problem.js'
import { logRequests } from './request-log.js'
import { bulkRoutes } from './routes/bulk.js'
import { bulkEndRoutes } from './routes/bulk-end.js'
import { codecRoutes } from './routes/codec.js'
import { decisionRoutes } from './routes/decisions.js'
import { eventRoutes } from './routes/events.js'
import { failureRoutes } from './routes/failures.js'
import { healthRoutes } from './routes/health.js'
import { loginRoutes } from './routes/login.js'
import { logRoutes } from './routes/logs.js'
import { metricRoutes } from './routes/metrics.js'
import { overviewRoutes } from './routes/overview.js'
import { sagaListRoutes } from './routes/saga-list.js'
import { sagaTypeRoutes } from './routes/saga-types.js'
import { sagaRoutes } from './routes/sagas.js'
import type { SagaFeed } from './saga-feed.js'
import type { LinkOptions } from './saga-view.js'
import type { TemporalHealth } from './temporal-health.js'

/** What the routes work with. */
export interface AppContext {
  config: Config
  pool: Pool
  store: SagaStore
  decisions: SagaDecisions
  bulks: SagaBulks
  starter: SagaStarter
  feed: SagaFeed
  temporalHealth: TemporalHealth
  links: LinkOptions
  /** Left out: there is no /metrics. */
  metrics?: Metrics
  /** Left out: no traces. */
  tracing?: Pick<Tracing, 'traceRequests'>
}

const webRoot = fileURLToPath(new URL('../../web/dist', import.meta.url))

/** The API and the web page, not yet listening. */
export async function makeApp(context: AppContext, logger: FastifyBaseLogger): Promise<FastifyInstance> {
  const app = fastify({
    loggerInstance: logger,
    logController: new LogController({ disableRequestLogging: true }),
    bodyLimit: 64 * 1024,
    // A request must have come in whole within 30 s, the 5 s between two looks included; an answer may wait 60 s, and a
    // stream, whose route has a time of its own, has its heartbeat.
    requestTimeout: 25_000,
    handlerTimeout: 90_000,
    connectionTimeout: 90_000,
    keepAliveTimeout: 10_000,
    forceCloseConnections: true,
    routerOptions: { maxParamLength: 2_048 },
    frameworkErrors,
    clientErrorHandler,
    http: {
      // Node refuses it with an empty answer; guardHosts does so with a problem.
      requireHostHeader: false,
      // Left at 60 s, more than requestTimeout, Node would take it for the time of the whole request.
      headersTimeout: 25_000,
      connectionsCheckingInterval: 5_000,
    },
  }).withTypeProvider<TypeBoxTypeProvider>()

  app.setValidatorCompiler(({ schema, httpPart }) =>
    (httpPart === 'querystring' ? coercing : strict).compile(schema as object),
  )
  app.setSerializerCompiler(() => (data) => JSON.stringify(data))
  app.setErrorHandler(handleError)
  refuseWithProblems(app)
  logRequests(app)
  context.tracing?.traceRequests(app, ({ sagaId }) => ({ 'saga.id': sagaId }))
  protectPages(app)
  guardHosts(app, context.config)
  const logins = new Logins(context.config.apiTokens)
  guardAccess(app, logins)
  refuseWrongMethods(app)
  // Only JSON: a form of a foreign page can't send that.
  app.removeContentTypeParser('text/plain')
  readJson(app)

  if (logins.areNeeded) await limitRates(app)
  await documentApi(app, logins)
  // An event that is text is JSON already.
  const serializer = (data: unknown) => (typeof data === 'string' ? data : JSON.stringify(data))
  await app.register(fastifySSE, { heartbeatInterval: 15_000, serializer })
  await app.register(sagaRoutes(context))
  await app.register(decisionRoutes(context))
  const streams = new EventStreams(context.metrics)
  await app.register(bulkRoutes(context, streams))
  await app.register(bulkEndRoutes(context))
  await app.register(sagaListRoutes(context))
  await app.register(sagaTypeRoutes)
  await app.register(eventRoutes(context, streams))
  await app.register(logRoutes(context))
  await app.register(overviewRoutes(context))
  await app.register(failureRoutes(context))
  await app.register(healthRoutes(context))
  if (context.metrics) await app.register(metricRoutes(context, context.metrics))
  if (context.config.payloadKeys.areThere) await app.register(codecRoutes(context))
  await app.register(loginRoutes(logins))
  if (existsSync(webRoot)) {
    const page = { root: webRoot, wildcard: false, dotfiles: 'ignore' } as const
    await app.register(forAnyone((app) => app.register(fastifyStatic, page)))
  }
  return app
}

/** 404 where nothing is, 405 with Allow where another method is. */
function refuseWrongMethods(app: FastifyInstance): void {
  const routes: { methods: string[]; pattern: RegExp; isExact: boolean }[] = []
  app.addHook('onRoute', ({ url, method }) => {
    const source = url
      .split('/')
      .map((part) => (part.startsWith(':') ? '[^/]+' : part.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')))
      .join('/')
    routes.push({ methods: [method].flat(), pattern: new RegExp(`^${source}$`), isExact: !url.includes(':') })
  })
  const explain = (request: FastifyRequest) => {
    const path = request.url.split('?')[0] ?? ''
    const fitting = routes.filter(({ pattern }) => pattern.test(path))
    // /saga/decisions is that route, and not the saga of that name.
    const own = fitting.filter(({ isExact }) => isExact)
    const allowed = new Set((own.length > 0 ? own : fitting).flatMap(({ methods }) => methods))
    if (allowed.size === 0) return new HttpProblem(404, `There is nothing at ${path.slice(0, 200)}.`)
    const allow = [...allowed].join(', ')
    return new HttpProblem(405, `${request.method} is not possible here; ${allow} is.`, { headers: { allow } })
  }
  // Before the body is read, which may be wrong in a way that would be told instead.
  app.addHook('onRequest', (request, _reply, done) => done(request.is404 ? explain(request) : undefined))
  app.setNotFoundHandler((request, reply) => send(reply, explain(request)))
}

import { isUtf8 } from 'node:buffer'
import { STATUS_CODES } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { ApplicationFailure } from '@temporalio/common'
import fastify, {
  LogController,
  type FastifyBaseLogger,
  type FastifyError,
  type FastifyInstance,
  type FastifyReply,
  type FastifyRequest,
} from 'fastify'
import type { Logger } from 'pino'
import { Type } from 'typebox'
import { FailureType, isFailure, type InputProblem } from '../errors.js'
import { inWords, problemsOfText } from '../exact-json.js'
import { completeFailures, failureSchema, type FailureInput } from '../failure.js'
import type { AnyForwardParticipant, Json } from '../types.js'
import { WAIT_MS, type AnyService, type Call } from './barrier.js'
import { isDatabaseAway, makePool, participantBounds, refusedStatement, whileAway, type Pool } from './db.js'
import { InjectedCrash } from './failure-injection.js'
import { loggedError } from './logged-error.js'
import { textsOf } from './secrets.js'
import { fromHeader, MAX_BODY_BYTES, ProblemType } from './participant-protocol.js'
import { watchStrayRejections } from './participant-code.js'
import { makeParticipants } from './participants.js'
import { requireParticipantSchema } from './saga-schema.js'

export interface ParticipantServerOptions {
  participant: AnyForwardParticipant
  /** JSON Schema of what its `invoke` is given: other input is refused before anything is done. */
  input?: object
  /** PostgreSQL of its own, with saga_barrier, failure_call and its tables (sql/service). */
  databaseUrl: string
  host: string
  /** 0: any free one. */
  port: number
  /** Whether failures that a call brings along are injected. Never in production: such a call is refused then. */
  failureInjection: boolean
  logger: Logger
  /** Put around its calls, such as their traces; `about` gives what is known of one. */
  traceRequests?: (app: FastifyInstance, about: (request: FastifyRequest) => Record<string, string | undefined>) => void
}

export interface RunningParticipant {
  /** Where it listens, such as http://127.0.0.1:5001. */
  url: string
  /** Takes no more calls, lets those under way end, and closes its database connections. */
  stop(): Promise<void>
}

/**
 * Serves one participant over HTTP, by docs/participant-protocol.md, behind its barrier in its own database; nothing here
 * knows of the saga's. Throws where the port is in use, and a SagaSchemaError where its database lacks files of sql/service/.
 */
export async function startParticipantServer(options: ParticipantServerOptions): Promise<RunningParticipant> {
  const { databaseUrl, host, port, logger } = options
  const pool = makePool(databaseUrl, {
    max: 20,
    name: `saga-participant-${options.participant.name}`,
    bounds: participantBounds,
    queryTimeoutMs: 12_000,
    onError: (error) => logger.warn({ err: error }, 'A database connection broke'),
  })
  const app = makeParticipantApp(options, pool)
  const endStrayWatch = watchStrayRejections(logger)
  const close = async () => {
    endStrayWatch()
    await pool.end()
  }
  try {
    await requireParticipantSchema(pool, options)
    await app.listen({ host, port })
  } catch (error) {
    await close()
    if ((error as { code?: string }).code !== 'EADDRINUSE') throw error
    throw new Error(`Port ${port} is in use; PORT moves the service to another one (0: any free one).`, {
      cause: error,
    })
  }
  const { port: bound } = app.server.address() as AddressInfo
  return {
    url: `http://${host.includes(':') ? `[${host}]` : host}:${bound}`,
    async stop() {
      await app.close()
      await close()
    },
  }
}

const closed = { additionalProperties: false }

/** Failures of the step, as they travel with a call. */
const injectionSchema = Type.Object(
  {
    scope: Type.String({ minLength: 1, maxLength: 300 }),
    failures: Type.Array(Type.Unsafe<FailureInput>(failureSchema), { maxItems: 100 }),
    timeoutMs: Type.Integer({ minimum: 1, maximum: 600_000 }),
  },
  closed,
)

interface CallBody {
  input?: Json
  decisions?: number
  injection?: { scope: string; failures: FailureInput[]; timeoutMs: number }
}

function makeParticipantApp(options: ParticipantServerOptions, pool: Pool): FastifyInstance {
  const { participant, failureInjection, logger } = options
  const service = participant as unknown as AnyService
  const app = makeBareApp(logger)
  options.traceRequests?.(app, ({ headers }) => ({
    'saga.id': fromHeader(headers['saga-id']),
    'saga.step': fromHeader(headers['saga-step']),
    'saga.attempt': fromHeader(headers['saga-attempt']),
  }))
  const participants = makeParticipants([service], pool, { failureInjection })
  const plain = participants(service.name, undefined)
  const barred = async ({ injection }: CallBody, step: string) => {
    if (injection === undefined) return plain
    if (!failureInjection) {
      throw new Problem(403, ProblemType.InjectionRefused, 'Failures are not injected here; nothing was done.')
    }
    // As the barrier does: the count that comes first can't be repeated.
    await whileAway(WAIT_MS, () => pool.query('SELECT 1'))
    const failures = completeFailures({ [step]: injection.failures })[step] ?? []
    return participants(service.name, { ...injection, failures })
  }
  const input = options.input ? Type.Unsafe<Json>(options.input) : Type.Unsafe<Json>({})
  const decisions = Type.Optional(Type.Integer({ minimum: 0, maximum: 2 ** 31 - 1 }))
  const injection = Type.Optional(injectionSchema)
  const post = (path: string, body: object, handle: (call: Call, body: CallBody) => Promise<unknown>) =>
    app.post(path, { schema: { body } }, async (request) => handle(callOf(request), request.body as CallBody))

  post('/invoke', Type.Object({ input, decisions, injection }, closed), async (call, { input = null, ...body }) => {
    const decided = body.decisions === undefined ? {} : { decisions: body.decisions }
    return (await barred(body, call.step)).invoke({ ...call, input, ...decided })
  })
  post('/compensate', Type.Object({ input: Type.Optional(input), injection }, closed), async (call, body) => {
    if (!service.compensate) throw notOffered('compensate')
    const corrected = body.input === undefined ? {} : { input: body.input }
    return { verdict: await (await barred(body, call.step)).compensate({ ...call, ...corrected }) }
  })
  post('/settle', Type.Object({}, closed), (call) => plain.settle(call))
  post('/forbid', Type.Object({}, closed), async (call) => {
    await plain.forbid(call)
    return {}
  })
  post('/probe', Type.Object({ input }, closed), async (call, body) => {
    const found = await plain.probe({ ...call, input: body.input ?? null })
    if (!found) throw notOffered('probe')
    return found
  })
  post('/verify', Type.Object({}, closed), async (call) => {
    const left = await plain.verify(call)
    if (!left) throw notOffered('verify')
    return { left }
  })
  app.get('/health', async () => {
    await pool.query('SELECT 1')
    return { status: 'ok', participant: service.name }
  })
  return app
}

/** Without operations: everything that is no call of one is a problem. */
function makeBareApp(logger: FastifyBaseLogger): FastifyInstance {
  const app: FastifyInstance = fastify({
    loggerInstance: logger,
    logController: new LogController({ disableRequestLogging: true }),
    bodyLimit: MAX_BODY_BYTES,
    // A call must have come in whole within 30 s, the 5 s between two looks included; its answer may take as long as its
    // caller waits.
    requestTimeout: 25_000,
    keepAliveTimeout: 30_000,
    // Left at 60 s, more than requestTimeout, Node would take it for the time of the whole request.
    http: { headersTimeout: 25_000, connectionsCheckingInterval: 5_000 },
    // Nothing is bent to fit: no coercion, no removal of unknown fields.
    ajv: { customOptions: { coerceTypes: false, removeAdditional: false, useDefaults: false, strictTypes: false } },
    frameworkErrors: (error, request, reply) => void answer(error, request, reply),
    clientErrorHandler,
  })
  app.setErrorHandler<FastifyError>(answer)
  app.setSerializerCompiler(() => (data) => JSON.stringify(data))
  app.removeContentTypeParser('text/plain')
  const parse = app.getDefaultJsonParser('error', 'error')
  app.addContentTypeParser<Buffer>('application/json', { parseAs: 'buffer' }, (request, body, done) => {
    // The parser that comes with Fastify reads bytes that are not UTF-8 as replacement characters.
    if (!isUtf8(body)) return done(invalidCall('The body is not valid UTF-8.'))
    const text = body.toString()
    void parse(request, text, (error, value) => {
      const errors = error ? [] : problemsOfText(text, value)
      if (errors.length > 0) done(invalidCall(`The body is not right: ${inWords(errors)}.`, 400, { errors }))
      else done(error, value)
    })
  })
  app.addHook('onRequest', async (request, reply) => {
    const { headers } = request
    const about = { sagaId: fromHeader(headers['saga-id']), step: fromHeader(headers['saga-step']) }
    request.log = reply.log = request.log.child(about)
    // Participants are called by workers. What has an Origin comes from a page in somebody's browser.
    if (headers.origin !== undefined) throw invalidCall('Calls from web pages are refused.', 403)
  })
  let isStopping = false
  app.addHook('preClose', async () => {
    isStopping = true
  })
  app.addHook('onSend', async (_request, reply) => {
    // Or the connection of a call that was under way would be kept, and with it the server.
    if (isStopping) reply.header('connection', 'close')
  })
  app.setNotFoundHandler((request) => {
    const path = request.url.split('?')[0] ?? ''
    const method = path === '/health' ? 'GET' : app.hasRoute({ method: 'POST', url: path }) ? 'POST' : undefined
    if (method === undefined) throw invalidCall('There is no such operation.', 404)
    throw invalidCall(`${request.method} is not possible here; ${method} is.`, 405, { headers: { allow: method } })
  })
  return app
}

/** Whose call it is, from its headers. */
function callOf({ headers }: FastifyRequest): Call {
  const sagaId = fromHeader(headers['saga-id'])
  const step = fromHeader(headers['saga-step'])
  const attempt = headers['saga-attempt']
  if (sagaId === undefined) throw invalidCall('The header Saga-Id must have 1–255 characters, percent-encoded.')
  if (step === undefined) throw invalidCall('The header Saga-Step must have 1–255 characters, percent-encoded.')
  if (attempt === undefined) return { sagaId, step }
  if (typeof attempt !== 'string' || !/^[1-9]\d{0,8}$/.test(attempt)) {
    throw invalidCall('The header Saga-Attempt must be a number from 1.')
  }
  return { sagaId, step, attempt: Number(attempt) }
}

interface Extra {
  errors?: InputProblem[]
  headers?: Record<string, string>
}

class Problem extends Error {
  constructor(
    readonly status: number,
    readonly type: ProblemType,
    detail: string,
    readonly extra: Extra = {},
  ) {
    super(detail)
  }
}

const invalidCall = (detail: string, status = 400, extra: Extra = {}) =>
  new Problem(status, ProblemType.InvalidCall, detail, extra)

const notOffered = (operation: string) =>
  new Problem(501, ProblemType.NotOffered, `This participant has no ${operation}.`)

const bodyOf = ({ status, type, message, extra: { errors } }: Problem) =>
  JSON.stringify({ type, title: STATUS_CODES[status], status, detail: message, ...(errors && { errors }) })

function answer(error: FastifyError, request: FastifyRequest, reply: FastifyReply): FastifyReply {
  // The worker sees its connection break, and writes the attempt's row.
  if (error instanceof InjectedCrash) process.kill(process.pid, 'SIGKILL')
  const problem = explain(error)
  const about = { operation: request.routeOptions.url, status: problem.status }
  const isOurs = problem.status >= 500 && problem.status !== 501
  // What a call brings along may be secret, and an error that the participant throws quote it.
  if (isOurs) request.log.error({ ...about, err: loggedError(error, textsOf(request.body)) }, 'A call failed')
  // What the business says of its input stays between it and the saga.
  else if (problem.type === ProblemType.Rejected) request.log.info(about, 'A call was rejected')
  else request.log.info({ ...about, detail: problem.message }, 'A call was refused')
  return reply
    .code(problem.status)
    .headers(problem.extra.headers ?? {})
    .type('application/problem+json')
    .send(bodyOf(problem))
}

/** No text of the database's or the driver's: what went wrong inside stays in the process log. */
function explain(error: FastifyError): Problem {
  if (error instanceof Problem) return error
  if (isFailure(error, FailureType.Rejected)) return new Problem(422, ProblemType.Rejected, error.message)
  if (isFailure(error, FailureType.InvalidResult)) return new Problem(422, ProblemType.InvalidResult, error.message)
  if (isFailure(error, FailureType.LateInvoke)) return new Problem(409, ProblemType.LateInvoke, error.message)
  if (error instanceof ApplicationFailure) return new Problem(500, ProblemType.OutcomeUnknown, error.message)
  if (error.validation) return explainValidation(error.validation)
  if (isDatabaseAway(error)) {
    return new Problem(503, ProblemType.Unavailable, 'The database is away.', { headers: { 'retry-after': '1' } })
  }
  const refused = refusedStatement(error)
  if (refused) return new Problem(500, ProblemType.OutcomeUnknown, refused)
  if (error.statusCode !== undefined && error.statusCode < 500) {
    return invalidCall(details[error.code] ?? 'The call is not right.', error.statusCode)
  }
  return new Problem(500, ProblemType.OutcomeUnknown, 'Something went wrong in the participant; its log has it.')
}

const details: Record<string, string> = {
  FST_ERR_CTP_INVALID_MEDIA_TYPE: 'Send the body as application/json.',
  FST_ERR_CTP_EMPTY_JSON_BODY: 'The body is empty; send a JSON object.',
  FST_ERR_CTP_BODY_TOO_LARGE: `The body has more than ${MAX_BODY_BYTES} bytes.`,
  FST_ERR_CTP_INVALID_JSON_BODY: 'The body is not valid JSON.',
  FST_ERR_BAD_URL: 'The URL is not valid.',
}

function explainValidation(found: NonNullable<FastifyError['validation']>): Problem {
  const errors = found.map(({ keyword, instancePath, params, message = 'is not right' }) => {
    if (keyword === 'required')
      return { path: `${instancePath}/${String(params['missingProperty'])}`, message: 'is missing' }
    if (keyword !== 'additionalProperties') return { path: instancePath, message }
    const name = String(params['additionalProperty']).replaceAll('~', '~0').replaceAll('/', '~1').slice(0, 100)
    return { path: `${instancePath}/${name}`, message: 'is not a field of this' }
  })
  const [first] = errors
  return invalidCall(`The body is not right: ${first?.path.slice(1) || 'it'} ${first?.message}.`, 400, { errors })
}

/** Requests that are broken before they are requests. */
function clientErrorHandler(error: Error & { code?: string }, socket: Socket): void {
  if (error.code === 'ECONNRESET' || !socket.writable) return void socket.destroy()
  const [status, detail]: [number, string] =
    error.code === 'HPE_HEADER_OVERFLOW'
      ? [431, 'The headers are too large.']
      : error.code === 'ERR_HTTP_REQUEST_TIMEOUT'
        ? [408, 'The request did not come in whole in time.']
        : [400, 'The request is not valid HTTP.']
  const body = bodyOf(invalidCall(detail, status))
  socket.end(
    `HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\ncontent-type: application/problem+json\r\ncontent-length: ${Buffer.byteLength(body)}\r\nconnection: close\r\n\r\n${body}`,
  )
}

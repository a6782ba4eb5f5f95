import { STATUS_CODES } from 'node:http'
import type { ErrorObject } from 'ajv'
import type { FastifyError, FastifyReply, FastifyRequest } from 'fastify'
import { FailureType, isFailure, type InputProblem } from '../saga/errors.js'
import { isDatabaseAway } from '../saga/node/db.js'
import { UnreadablePayload } from '../saga/node/payload-keys.js'
import { toProblems } from '../validation.js'
import type { Problem } from './schemas/common.js'

/** An error that a route answers with. */
export class HttpProblem extends Error {
  constructor(
    readonly status: number,
    detail: string,
    readonly extra: Pick<Problem, 'errors' | 'matching'> & { headers?: Record<string, string> } = {},
  ) {
    super(detail)
  }
}

export const problems = {
  unknownSaga: (id: string) => new HttpProblem(404, `There is no saga ${id}.`),
  databaseAway: () =>
    new HttpProblem(503, 'PostgreSQL is away. Try again, under the same Idempotency-Key where there is one.', {
      headers: { 'retry-after': '2' },
    }),
  keyMissing: () =>
    new HttpProblem(503, 'This is encrypted with a key that is missing here; the log names it. Nothing was changed.'),
  busy: () =>
    new HttpProblem(503, 'PostgreSQL is busy with this saga. Try again.', { headers: { 'retry-after': '2' } }),
  away: (what: string) =>
    new HttpProblem(503, `${what} is away. Nothing was written; try again.`, { headers: { 'retry-after': '2' } }),
}

/** A body, or another part of a request, that is refused for what stands in it. */
export function invalidBody(errors: InputProblem[], place = 'body'): HttpProblem {
  const first = errors[0] ? `${errors[0].path.slice(1) || place} ${errors[0].message}` : 'see errors'
  return new HttpProblem(400, `The ${place} is not right: ${first}.`, { errors })
}

export function toProblem(status: number, detail: string, more: Pick<Problem, 'errors' | 'matching'> = {}): Problem {
  return { type: 'about:blank', title: STATUS_CODES[status] ?? 'Error', status, detail, ...more }
}

/** The only place that turns errors into HTTP. What went wrong inside stays in the process log. */
export function handleError(
  error: FastifyError | HttpProblem,
  request: FastifyRequest,
  reply: FastifyReply,
): FastifyReply {
  return send(reply, explain(error, request))
}

export function send(reply: FastifyReply, { status, message, extra }: HttpProblem): FastifyReply {
  const { headers = {}, ...more } = extra
  return reply
    .code(status)
    .headers(headers)
    .type('application/problem+json')
    .send(toProblem(status, message, more))
}

const LOCK_TIMEOUT = '55P03'
const STATEMENT_TIMEOUT = '57014'

const details: Record<string, string> = {
  FST_ERR_CTP_INVALID_MEDIA_TYPE: 'Send the body as application/json.',
  FST_ERR_CTP_EMPTY_JSON_BODY: 'The body is empty; send a JSON object.',
  FST_ERR_CTP_BODY_TOO_LARGE: 'The body is too large.',
  FST_ERR_CTP_INVALID_CONTENT_LENGTH: 'The body is not as long as Content-Length says.',
  FST_ERR_CTP_INVALID_JSON_BODY: 'The body is not valid JSON.',
  FST_ERR_BAD_URL: 'The URL is not valid.',
  FST_ERR_MAX_PARAM_LENGTH: 'A part of the URL is too long.',
}

function explain(error: FastifyError | HttpProblem, request: FastifyRequest): HttpProblem {
  if (error instanceof HttpProblem) return error
  if (error.validation) {
    return invalidBody(toProblems(error.validation as ErrorObject[]), error.validationContext)
  }
  if (isFailure(error, FailureType.InvalidInput)) return invalidBody(error.details?.[0] as InputProblem[])
  if (isDatabaseAway(error)) return problems.databaseAway()
  if (error instanceof UnreadablePayload) {
    request.log.error({ err: error }, 'A key is missing')
    return problems.keyMissing()
  }
  if (error.code === LOCK_TIMEOUT || error.code === STATEMENT_TIMEOUT) return problems.busy()
  const status = error.statusCode ?? 500
  if (status < 500) return new HttpProblem(status, details[error.code] ?? 'The request is not right.')
  request.log.error({ err: error }, 'A request failed')
  return new HttpProblem(
    500,
    'Something went wrong on this side; the log has it. Trying again with the same Idempotency-Key is safe.',
  )
}

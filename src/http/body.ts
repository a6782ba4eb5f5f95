import { isUtf8 } from 'node:buffer'
import type { Readable } from 'node:stream'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import type { InputProblem } from '../saga/errors.js'
import { problemsOfText } from '../saga/exact-json.js'
import { HttpProblem, invalidBody } from './problem.js'

declare module 'fastify' {
  interface FastifyContextConfig {
    /** The route itself looks at what of a JSON body cannot be kept, up to so many problems. Left out: such a body is refused. */
    bodyProblems?: number
  }
  interface FastifyRequest {
    bodyProblems: InputProblem[] | undefined
  }
}

const BYTE_ORDER_MARK = Buffer.from('\ufeff')

/**
 * JSON in UTF-8, exactly as it is: a body that cannot be kept so is refused, whatever its route. The parser that comes with
 * Fastify reads a body as that whatever it is, or says it is.
 */
export function readJson(app: FastifyInstance): void {
  const parse = app.getDefaultJsonParser('error', 'error')
  app.decorateRequest('bodyProblems', undefined)
  app.addContentTypeParser<Buffer>('application/json', { parseAs: 'buffer' }, (request, body, done) => {
    const problem = headProblem(request) ?? textProblem(body)
    if (problem) return done(problem)
    const text = body.toString()
    void parse(request, text, (error, value) => {
      if (error) return done(error)
      const { bodyProblems: most } = request.routeOptions.config
      const errors = problemsOfText(text, value, most)
      if (errors.length > 0 && most === undefined) return done(invalidBody(errors))
      request.bodyProblems = errors
      done(null, value)
    })
  })
}

/** What is wrong with how a text comes, before any of it is read. */
export function headProblem({ headers }: FastifyRequest): HttpProblem | undefined {
  const { 'content-encoding': encoding = 'identity', 'content-type': type = '' } = headers
  const charset = /;\s*charset\s*=\s*"?([^\s;"]*)/i.exec(type)?.[1] ?? 'utf-8'
  if (encoding !== 'identity') return new HttpProblem(415, 'Send the body as it is, without Content-Encoding.')
  return charset.toLowerCase() === 'utf-8' ? undefined : new HttpProblem(415, 'Send the body in UTF-8.')
}

/** Refuses a body that says how large it is, before any of it is read; its sender reads the answer once all of it is sent. */
export const refuseLarge =
  (bodyLimit: number) =>
  async ({ headers }: FastifyRequest, _reply: unknown, body: Readable): Promise<Readable> => {
    if (Number(headers['content-length'] ?? 0) <= bodyLimit) return body
    body.resume()
    throw tooLarge(bodyLimit)
  }

export function tooLarge(bodyLimit: number): HttpProblem {
  return new HttpProblem(413, `The body has more than ${bodyLimit / 2 ** 20} MiB; send it in several calls.`)
}

function textProblem(body: Buffer): HttpProblem | undefined {
  if (!isUtf8(body)) return new HttpProblem(400, 'The body is not valid UTF-8.')
  return body.subarray(0, 3).equals(BYTE_ORDER_MARK)
    ? new HttpProblem(400, 'The body begins with a byte order mark; leave it out.')
    : undefined
}

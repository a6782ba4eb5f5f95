import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { Payload } from '@temporalio/common'
import { UnreadablePayload } from '../../saga/node/payload-keys.js'
import type { AppContext } from '../app.js'
import { answers } from '../openapi.js'
import { HttpProblem } from '../problem.js'
import { Payloads } from '../schemas/codec.js'

/** A page of a history, which has 4 MB at most, in base64. */
const BODY_LIMIT = 8 * 1024 * 1024

/** The Web UI asks for each payload of a history by itself, and for all of them at once. */
const rateLimit = { max: 5_000, timeWindow: 1_000 }

/**
 * POST /codec/encode and POST /codec/decode: a codec server for Temporal's CLI, and for its Web UI, whose pages are of another
 * origin and let in here alone.
 */
export const codecRoutes =
  ({ config: { payloadKeys, temporalUiUrl } }: AppContext): FastifyPluginAsyncTypebox =>
  async (app) => {
    const sharedWith = new URL(temporalUiUrl).origin
    const routes = {
      encode: { summary: 'Encrypt payloads', work: payloadKeys.encode.bind(payloadKeys) },
      decode: {
        summary: 'Decrypt payloads; those that are not encrypted stay as they are',
        work: payloadKeys.decode.bind(payloadKeys),
      },
    }
    for (const [name, { summary, work }] of Object.entries(routes)) {
      const url = `/codec/${name}`
      const schema = {
        tags: ['codec'],
        summary,
        body: Payloads,
        response: answers({ 200: Payloads }, 400, 413, 415, 422),
      }
      app.post(
        url,
        { schema, bodyLimit: BODY_LIMIT, config: { role: 'operator', sharedWith, rateLimit } },
        async (request) => {
          try {
            return toJson(await work(fromJson(request.body)))
          } catch (error) {
            if (error instanceof UnreadablePayload) throw new HttpProblem(422, error.message)
            throw error
          }
        },
      )
      // A browser asks before it sends, and shows no token when it does.
      app.options(url, { schema: { hide: true }, config: { role: 'anyone', sharedWith } }, (_request, reply) =>
        reply.code(204).send(),
      )
    }
  }

function fromJson({ payloads = [] }: Payloads): Payload[] {
  return payloads.map(({ metadata = {}, data }) => ({
    metadata: Object.fromEntries(Object.entries(metadata).map(([key, value]) => [key, Buffer.from(value, 'base64')])),
    ...(data !== undefined && { data: Buffer.from(data, 'base64') }),
  }))
}

function toJson(payloads: Payload[]): Payloads {
  const text = (bytes: Uint8Array) => Buffer.from(bytes).toString('base64')
  return {
    payloads: payloads.map(({ metadata, data }) => ({
      metadata: Object.fromEntries(Object.entries(metadata ?? {}).map(([key, value]) => [key, text(value)])),
      ...(data?.length && { data: text(data) }),
    })),
  }
}

import { readFileSync } from 'node:fs'
import { STATUS_CODES } from 'node:http'
import fastifySwagger from '@fastify/swagger'
import fastifySwaggerUi, { type FastifySwaggerUiOptions } from '@fastify/swagger-ui'
import type { FastifyInstance, FastifySchema } from 'fastify'
import { Type, type TSchema } from 'typebox'
import type { Role } from '../roles.js'
import { forAnyone, takesActor, type Logins } from './access.js'
import { Problem, ref } from './schemas/common.js'
import { Bulk, BulkAccepted } from './schemas/bulk.js'
import { LogRow } from './schemas/log.js'
import { Saga, SagaAccepted, SagaPlan } from './schemas/saga.js'

/** Schemas that the document names; where a route answers with one it refers to it. */
const named = [Problem, Saga, SagaAccepted, SagaPlan, LogRow, Bulk, BulkAccepted]

const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as {
  version: string
}

/**
 * GET /openapi.json, made from the schemas that validate, and GET /docs, a page that reads it. To be awaited before the
 * routes that it is to know.
 */
export async function documentApi(app: FastifyInstance, logins: Logins): Promise<void> {
  for (const schema of named) app.addSchema(schema)
  await app.register(fastifySwagger, {
    openapi: {
      openapi: '3.1.0',
      info: {
        title: 'Durable sagas',
        version,
        description:
          'Starts sagas, shows how they stand, and takes the word of people on those that are stuck. Every error is a problem document (RFC 9457).',
      },
      tags: [
        { name: 'sagas', description: 'One saga: start, read, cancel, decide.' },
        { name: 'bulk', description: 'Many sagas at once: start, watch, resume.' },
        { name: 'log', description: 'What happened, attempt by attempt.' },
        { name: 'failures', description: 'Failure injection: the demo, and tests.' },
        { name: 'codec', description: "Temporal's payloads, for its Web UI and CLI." },
        { name: 'health', description: 'For whoever runs it.' },
        { name: 'login', description: 'Who asks.' },
      ],
      ...(logins.areNeeded && {
        components: { securitySchemes: { token: { type: 'http', scheme: 'bearer' } } },
        security: [{ token: [] }],
      }),
    },
    transform: ({ schema, url, route }) => ({
      url,
      schema: logins.areNeeded ? withLogin(schema, route.config?.role) : schema,
    }),
    refResolver: { buildLocalReference: ({ $id }, _uri, _fragment, i) => (typeof $id === 'string' ? $id : `def-${i}`) },
  })
  const page: FastifySwaggerUiOptions = {
    routePrefix: '/docs',
    // Without the bar in which another document could be asked for.
    uiConfig: { layout: 'BaseLayout', docExpansion: 'list', validatorUrl: null },
    theme: { title: 'Durable sagas: the API' },
  }
  await app.register(forAnyone((app) => app.register(fastifySwaggerUi, page)))
  app.get('/openapi.json', { schema: { hide: true }, config: { role: 'anyone' } }, () => app.swagger())
}

/** A route as it is with login: its role, and no actor, who is then the caller. */
function withLogin(schema: FastifySchema, role: Role | 'anyone' = 'viewer'): FastifySchema {
  if (role === 'anyone') return { ...schema, security: [] }
  const description = [schema.description, `Role: ${role}.`].filter(Boolean).join(' ')
  const { body } = schema
  if (!takesActor(body)) return { ...schema, description }
  const { actor: _, ...properties } = body.properties
  const required = body.required?.filter((name) => name !== 'actor')
  return { ...schema, description, body: { ...body, properties, required } }
}

/** An answer that is text of another media type, as a stream is. */
export function text(mediaType: string, description: string) {
  return Type.Unsafe<string | void>({ description, content: { [mediaType]: { schema: { type: 'string' } } } })
}

/** What can be wrong with any request, whatever it asks for. */
const ALWAYS = [401, 403, 408, 429, 431, 500, 503]

/**
 * A route's answers for its schema: those that work, by status, and the statuses of its problems beside those that any
 * request can meet. Only the former are typed: problems are thrown.
 */
export function answers<const Success extends Record<number, TSchema>>(
  success: Success,
  ...problems: number[]
): Success {
  const problem = (status: number) => ({
    description: STATUS_CODES[status] ?? 'Problem',
    content: { 'application/problem+json': { schema: ref(Problem) } },
  })
  const statuses = [...problems, ...ALWAYS]
  return { ...success, ...Object.fromEntries(statuses.map((status) => [status, problem(status)])) }
}

import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'

declare module 'fastify' {
  interface FastifyRequest {
    /** The saga that it is about, once that is known. */
    sagaId: string | undefined
  }
}

/**
 * A line for each request once it is answered, with the saga that it is about: at level info for what changes something, or
 * went wrong on this side, else debug. It names the route, never URL, headers or body. Comes before every other hook, so that
 * whatever else is logged of the request has its saga too.
 */
export function logRequests(app: FastifyInstance): void {
  app.decorateRequest('sagaId', undefined)
  app.addHook('onRequest', async (request, reply) => {
    const { id } = (request.routeOptions.url?.startsWith('/saga/:id') ? request.params : {}) as { id?: string }
    const sagaId = id ?? (request.query as { saga?: unknown } | null)?.saga
    if (typeof sagaId === 'string') concern(request, reply, sagaId)
  })
  app.addHook('onResponse', async (request, reply) => {
    const { method, routeOptions, caller } = request
    const { statusCode: status, elapsedTime } = reply
    const about = { ...(caller && { caller: caller.name }), method, route: routeOptions.url, status }
    const isRead = method === 'GET' || method === 'HEAD'
    request.log[isRead && status < 500 ? 'debug' : 'info']({ ...about, ms: Math.round(elapsedTime) }, 'Answered')
  })
}

/** From here on the lines of this request are about that saga. */
export function concern(request: FastifyRequest, reply: FastifyReply, sagaId: string): void {
  request.sagaId = sagaId
  request.log = reply.log = request.log.child({ sagaId })
}

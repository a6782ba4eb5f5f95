import type { FastifyInstance, FastifyRequest } from 'fastify'
import type { Logger } from 'pino'

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
  app.addHook('onRequest', (request, _reply, done) => {
    const { id } = (request.routeOptions.url?.startsWith('/saga/:id') ? request.params : {}) as { id?: string }
    const sagaId = id ?? (request.query as { saga?: unknown } | null)?.saga
    if (typeof sagaId === 'string') concern(request, sagaId)
    done()
  })
  app.addHook('onResponse', (request, reply, done) => {
    const { method, routeOptions, caller } = request
    const { statusCode: status, elapsedTime } = reply
    const about = { ...(caller && { caller: caller.name }), method, route: routeOptions.url, status }
    const isRead = method === 'GET' || method === 'HEAD'
    request.log[isRead && status < 500 ? 'debug' : 'info']({ ...about, ms: Math.round(elapsedTime) }, 'Answered')
    done()
  })
}

/** From here on the lines of this request are about that saga. */
export function concern(request: FastifyRequest, sagaId: string): void {
  request.sagaId = sagaId
  // The logger that Fastify has made for this request alone; a child of it would be a second one for each request.
  ;(request.log as Logger).setBindings({ sagaId })
}

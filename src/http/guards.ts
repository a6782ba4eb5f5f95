import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { Config } from '../config.js'
import { HttpProblem } from './problem.js'

declare module 'fastify' {
  interface FastifyContextConfig {
    /** An origin beside our own whose pages may call this route, with the session that they have here. */
    sharedWith?: string
  }
}

const LOOPBACK = ['127.0.0.1', 'localhost', '[::1]', '::1']

/**
 * Without a login the server stays on loopback. Throws where it is told to bind elsewhere and nobody said that this is
 * meant. A program without `apiTokens` has no login to turn on.
 */
export function refuseOpenBind({
  host,
  allowAnonymous,
  apiTokens,
}: Pick<Config, 'host' | 'allowAnonymous'> & Partial<Pick<Config, 'apiTokens'>>): void {
  if (LOOPBACK.includes(host) || allowAnonymous || apiTokens?.length) return
  const login = apiTokens ? 'Set API_TOKENS to have a login, or' : 'Set'
  throw new Error(
    `HOST=${host} would let everybody on the network do what this program can do. ${login} ALLOW_ANONYMOUS=1 if that is meant, or leave HOST out.`,
  )
}

/**
 * What a browser is told with every answer: run, load and call nothing but what this server has, show it in no other page's
 * frame, guess no content type, keep none of it. After OWASP's list for HTTP headers; whether there is https is for the proxy
 * in front to know, and so Strict-Transport-Security. Written out, as a middleware that makes them anew for each answer took
 * a tenth of what the server could answer.
 */
export const securityHeaders = {
  'content-security-policy': [
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    // The reference page draws its arrows from data: URLs.
    "img-src 'self' data:",
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
  ].join(';'),
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-resource-policy': 'same-origin',
  'origin-agent-cluster': '?1',
  'referrer-policy': 'no-referrer',
  'x-content-type-options': 'nosniff',
  'x-frame-options': 'DENY',
  // The page's own files say otherwise.
  'cache-control': 'no-store',
}

export function protectPages(app: FastifyInstance): void {
  app.addHook('onRequest', (_request, reply, done) => {
    reply.headers(securityHeaders)
    done()
  })
}

/**
 * Refuses what a foreign page sends here: under a Host name that is not ours (DNS rebinding), or from another Origin (CSRF)
 * than ours and the one that a route is shared with.
 */
export function guardHosts(app: FastifyInstance, { host, allowedHosts }: Config): void {
  const names = new Set([...LOOPBACK, host.toLowerCase(), ...allowedHosts])
  app.addHook('onRequest', (request, reply, done) => {
    refuseForeign(request, reply)
    done()
  })
  const refuseForeign = (request: FastifyRequest, reply: FastifyReply) => {
    if (request.url.startsWith('/health/')) return
    const { host: hostHeader, origin } = request.headers
    if (hostHeader === undefined) throw new HttpProblem(400, 'The request has no Host header.')
    // Node hands on the first of several; a proxy in front may have gone by another.
    if (countHosts(request) > 1) throw new HttpProblem(400, 'The request has several Host headers.')
    if (!names.has(hostname(hostHeader))) {
      throw new HttpProblem(403, `This server does not answer to that Host. ALLOWED_HOSTS adds names.`)
    }
    const { sharedWith } = request.routeOptions.config ?? {}
    if (sharedWith !== undefined) {
      reply.header('vary', 'origin')
      if (origin === sharedWith) return share(reply, origin)
    }
    const isForeign = origin === undefined ? isForeignFetch(request) : originHost(origin) !== hostHeader.toLowerCase()
    if (isForeign) {
      throw new HttpProblem(403, 'Requests from pages of another origin are refused.')
    }
  }
}

/** Also the answers that refuse: a page that may not read them can't say why. */
function share(reply: FastifyReply, origin: string): void {
  reply.headers({
    'access-control-allow-origin': origin,
    'access-control-allow-credentials': 'true',
    'access-control-allow-methods': 'POST',
    'access-control-allow-headers': 'authorization, content-type, x-namespace',
    'access-control-max-age': '600',
  })
}

function hostname(hostHeader: string): string {
  return hostHeader.toLowerCase().replace(/:\d+$/, '')
}

function originHost(origin: string): string | undefined {
  return URL.canParse(origin) ? new URL(origin).host : undefined
}

function countHosts({ raw }: FastifyRequest): number {
  return raw.rawHeaders.filter((name, i) => i % 2 === 0 && name.toLowerCase() === 'host').length
}

/** Where a browser sends no Origin, as for an image, it may still say whose page asks. A link that leads here is harmless. */
function isForeignFetch({ method, headers }: FastifyRequest): boolean {
  const isLink = headers['sec-fetch-mode'] === 'navigate' && (method === 'GET' || method === 'HEAD')
  return !isLink && ['cross-site', 'same-site'].includes(String(headers['sec-fetch-site']))
}

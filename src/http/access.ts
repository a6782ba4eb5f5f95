import { createHash, createHmac, hkdfSync, timingSafeEqual } from 'node:crypto'
import type { IncomingHttpHeaders } from 'node:http'
import fastifyRateLimit from '@fastify/rate-limit'
import type { FastifyInstance, FastifyPluginAsync, FastifyRequest } from 'fastify'
import type { ApiToken } from '../config.js'
import { ROLES, type Role } from '../roles.js'
import { HttpProblem } from './problem.js'

/** Who a token belongs to, and what its role lets them do. */
export type Caller = Pick<ApiToken, 'name' | 'role'>

declare module 'fastify' {
  interface FastifyContextConfig {
    /** What is needed to be let in. Left out: viewer. */
    role?: Role | 'anyone'
  }
  interface FastifyRequest {
    /** Undefined without login; with it also where anyone is let in, and nobody has logged in. */
    caller: Caller | undefined
  }
}

export const SESSION_COOKIE = 'saga_session'
const SESSION_S = 12 * 60 * 60

/** Checks tokens, and hands out sessions for the page in their place. None of them: there is no login. */
export class Logins {
  readonly #known: { caller: Caller; digest: Buffer; sessionKey: Buffer }[]

  constructor(tokens: ApiToken[]) {
    this.#known = tokens.map(({ name, role, token }) => ({
      caller: { name, role },
      digest: digest(token),
      sessionKey: Buffer.from(hkdfSync('sha256', token, '', 'saga session', 32)),
    }))
  }

  get areNeeded(): boolean {
    return this.#known.length > 0
  }

  /** Whose request it is. The Authorization header has the say where there is one, whatever the cookie. */
  identify({ authorization, cookie }: IncomingHttpHeaders): Caller | undefined {
    if (authorization === undefined) return this.#bySession(cookieValue(cookie))
    const token = /^Bearer +(\S+)$/i.exec(authorization)?.[1]
    return token === undefined ? undefined : this.byToken(token)
  }

  byToken(token: string): Caller | undefined {
    const given = digest(token)
    // All are looked at to the end, so that the time it takes tells nothing of them.
    return this.#known.filter(({ digest }) => timingSafeEqual(digest, given))[0]?.caller
  }

  /**
   * The Set-Cookie of a new session. Its key is made from the token: a restart and other processes know it, and it ends
   * with the token, or after 12 hours.
   */
  sessionCookie({ name }: Caller, { secure }: { secure: boolean }): string {
    const key = this.#known.find(({ caller }) => caller.name === name)?.sessionKey
    if (!key) throw new Error(`There is no token of ${name}.`)
    const expiresAt = String(Date.now() + SESSION_S * 1_000)
    return setCookie(`${expiresAt}.${signature(key, expiresAt, name)}.${name}`, SESSION_S, secure)
  }

  #bySession(value: string): Caller | undefined {
    const [, expiresAt = '', signed = '', name = ''] = /^(\d{1,15})\.([\w-]{43})\.(.+)$/.exec(value) ?? []
    const known = this.#known.find(({ caller }) => caller.name === name)
    if (!known || Number(expiresAt) <= Date.now()) return undefined
    const expected = signature(known.sessionKey, expiresAt, name)
    return timingSafeEqual(Buffer.from(signed), Buffer.from(expected)) ? known.caller : undefined
  }
}

/** The Set-Cookie that makes a browser forget its session. */
export const noSessionCookie = ({ secure }: { secure: boolean }): string => setCookie('', 0, secure)

/**
 * With login: lets in whom a route's `config.role` lets in, viewers where it names none, and makes the caller the `actor`
 * of what a body asks for.
 */
export function guardAccess(app: FastifyInstance, logins: Logins): void {
  app.decorateRequest('caller', undefined)
  if (!logins.areNeeded) return

  app.addHook('onRequest', async (request) => {
    request.caller = logins.identify(request.headers)
    const role = request.routeOptions.config?.role ?? 'viewer'
    if (role === 'anyone') return
    if (!request.caller) throw loginNeeded()
    requireRole(request, role)
  })

  app.addHook('preValidation', async (request) => {
    const { caller, body } = request
    if (!caller || !takesActor(request.routeOptions.schema?.body) || !isObject(body)) return
    if (Object.hasOwn(body, 'actor')) {
      throw new HttpProblem(
        400,
        `The body is not right: the actor is ${caller.name}, who is logged in; leave it out.`,
        {
          errors: [{ path: '/actor', message: 'is who is logged in; leave it out' }],
        },
      )
    }
    request.body = { ...body, actor: caller.name }
  })
}

/** For what needs more than its route does, such as `failures` in a body. Without login everybody may do everything. */
export function requireRole(request: FastifyRequest, role: Role): void {
  const { caller } = request
  if (!caller || ROLES.indexOf(caller.role) >= ROLES.indexOf(role)) return
  request.log.warn({ ...caller, needed: role, method: request.method, route: request.routeOptions.url }, 'Refused')
  throw new HttpProblem(403, `This needs the role ${role}; ${caller.name} is ${caller.role}.`)
}

/** 100 requests a second a token. Counted in this process; what needs no login is not counted. */
export async function limitRates(app: FastifyInstance): Promise<void> {
  await app.register(fastifyRateLimit, {
    max: 100,
    timeWindow: 1_000,
    keyGenerator: ({ caller }) => caller?.name ?? '',
    allowList: ({ routeOptions }) => routeOptions.config.role === 'anyone',
    addHeadersOnExceeding: { 'x-ratelimit-limit': false, 'x-ratelimit-remaining': false, 'x-ratelimit-reset': false },
    errorResponseBuilder: (_request, { max, after }) =>
      new HttpProblem(429, `Too many requests: ${max} are allowed. Try again in ${after}.`),
  })
}

/** Whatever is registered in it needs no login. */
export const forAnyone =
  (register: (app: FastifyInstance) => PromiseLike<unknown>): FastifyPluginAsync =>
  async (app) => {
    app.addHook('onRoute', (route) => {
      route.config = { ...route.config, role: 'anyone' }
    })
    await register(app)
  }

export function loginNeeded(
  detail = 'A valid token is needed: send it as `Authorization: Bearer …`, or log in on the page.',
): HttpProblem {
  return new HttpProblem(401, detail, { headers: { 'www-authenticate': 'Bearer' } })
}

/** Whether a body of that schema names who asks. */
export function takesActor(schema: unknown): schema is { properties: { actor: object }; required?: string[] } {
  return isObject(schema) && isObject(schema['properties']) && 'actor' in schema['properties']
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function digest(token: string): Buffer {
  return createHash('sha256').update(token).digest()
}

function signature(key: Buffer, expiresAt: string, name: string): string {
  return createHmac('sha256', key).update(`${expiresAt}.${name}`).digest('base64url')
}

function setCookie(value: string, maxAge: number, secure: boolean): string {
  return `${SESSION_COOKIE}=${value}; Max-Age=${maxAge}; Path=/; HttpOnly; SameSite=Strict${secure ? '; Secure' : ''}`
}

function cookieValue(header = ''): string {
  return new RegExp(`(?:^|; *)${SESSION_COOKIE}=([^;]*)`).exec(header)?.[1] ?? ''
}

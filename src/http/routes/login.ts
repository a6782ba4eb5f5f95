import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { FastifyRequest } from 'fastify'
import { loginNeeded, noSessionCookie, type Logins } from '../access.js'
import { answers } from '../openapi.js'
import { Login, LoginRequest } from '../schemas/login.js'

/** Of one address. A token can't be guessed anyway, so this may be generous to people. */
const ATTEMPTS_A_MINUTE = 10

/** GET /login: who one is. Where there is a login, POST /login, which makes a token a session for the page, and POST /logout. */
export const loginRoutes =
  (logins: Logins): FastifyPluginAsyncTypebox =>
  async (app) => {
    const who = { tags: ['login'], summary: 'Who is logged in', response: answers({ 200: Login }) }
    app.get('/login', { schema: who, config: { role: 'anyone' } }, async ({ caller }) => ({
      login: logins.areNeeded,
      ...caller,
    }))
    if (!logins.areNeeded) return

    const rateLimit = {
      max: ATTEMPTS_A_MINUTE,
      timeWindow: 60_000,
      keyGenerator: ({ ip }: FastifyRequest) => ip,
      allowList: () => false,
    }
    const cookie = { 'set-cookie': { type: 'string', description: 'The session, for 12 hours.' } }
    const log = {
      tags: ['login'],
      summary: 'Log in with a token: sets a cookie, for the page',
      body: LoginRequest,
      response: answers({ 200: { ...Login, headers: cookie } }, 400, 413, 415),
    }
    app.post('/login', { schema: log, config: { role: 'anyone', rateLimit } }, async (request, reply) => {
      const caller = logins.byToken(request.body.token)
      if (!caller) {
        request.log.warn({ ip: request.ip }, 'A login with an unknown token was refused')
        throw loginNeeded('This token is not known here.')
      }
      return reply
        .header('set-cookie', logins.sessionCookie(caller, isSecure(request)))
        .send({ login: true, ...caller })
    })

    const out = { tags: ['login'], summary: 'Forget the session', response: answers({ 200: Login }) }
    app.post('/logout', { schema: out, config: { role: 'anyone' } }, async (request, reply) =>
      reply.header('set-cookie', noSessionCookie(isSecure(request))).send({ login: true }),
    )
  }

/** By the browser's own word, which no proxy in between needs to pass on: it is known to be ours. */
function isSecure({ headers: { origin = '' } }: FastifyRequest): { secure: boolean } {
  return { secure: origin.toLowerCase().startsWith('https://') }
}

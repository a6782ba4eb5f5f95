import type { FastifyInstance } from 'fastify'
import type { Config } from '../config.js'
import { HttpProblem } from './problem.js'

const LOOPBACK = ['127.0.0.1', 'localhost', '[::1]', '::1']

/**
 * Without a login the server stays on loopback. Throws where it is told to bind elsewhere and nobody said that this is
 * meant.
 */
export function refuseOpenBind({ host, allowAnonymous }: Pick<Config, 'host' | 'allowAnonymous'>): void {
  if (LOOPBACK.includes(host) || allowAnonymous) return
  throw new Error(
    `HOST=${host} would let everybody on the network do what this program can do. Set ALLOW_ANONYMOUS=1 if that is meant, or leave HOST out.`,
  )
}

/** Refuses what a foreign page sends here: under a Host name that is not ours (DNS rebinding), or from another Origin (CSRF). */
export function guardHosts(app: FastifyInstance, { host, allowedHosts }: Config): void {
  const names = new Set([...LOOPBACK, host.toLowerCase(), ...allowedHosts])
  app.addHook('onRequest', async (request) => {
    if (request.url.startsWith('/health/')) return
    const { host: hostHeader, origin } = request.headers
    if (hostHeader === undefined) throw new HttpProblem(400, 'The request has no Host header.')
    if (!names.has(hostname(hostHeader))) {
      throw new HttpProblem(403, `This server does not answer to that Host. ALLOWED_HOSTS adds names.`)
    }
    if (origin !== undefined && originHost(origin) !== hostHeader.toLowerCase()) {
      throw new HttpProblem(403, 'Requests from pages of another origin are refused.')
    }
  })
}

function hostname(hostHeader: string): string {
  return hostHeader.toLowerCase().replace(/:\d+$/, '')
}

function originHost(origin: string): string | undefined {
  return URL.canParse(origin) ? new URL(origin).host : undefined
}

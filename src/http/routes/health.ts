import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { AppContext } from '../app.js'
import { answers } from '../openapi.js'
import { Live, Ready } from '../schemas/health.js'

/** GET /health/live: this process answers. GET /health/ready: so does everything it needs. */
export const healthRoutes =
  ({ pool, temporalHealth }: AppContext): FastifyPluginAsyncTypebox =>
  async (app) => {
    const live = { tags: ['health'], summary: 'This process answers', response: answers({ 200: Live }) }
    app.get('/health/live', { schema: live, config: { role: 'anyone' } }, async () => ({ status: 'ok' as const }))

    const ready = {
      tags: ['health'],
      summary: 'So does everything it needs',
      response: { ...answers({ 200: Ready }), 503: Ready },
    }
    app.get('/health/ready', { schema: ready, config: { role: 'anyone' } }, async (_request, reply) => {
      const postgres = await pool.query('SELECT 1').then(
        () => 'ok' as const,
        () => 'away' as const,
      )
      const temporal = temporalHealth.isAway ? 'away' : 'ok'
      const worker = temporal === 'ok' && (await temporalHealth.hasPollers()) ? 'ok' : 'no pollers seen'
      const isReady = postgres === 'ok' && temporal === 'ok' && worker === 'ok'
      return reply.code(isReady ? 200 : 503).send({ status: isReady ? 'ok' : 'not ready', postgres, temporal, worker })
    })
  }

import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { AppContext } from '../app.js'

/** GET /health/live: this process answers. GET /health/ready: so does everything it needs. */
export const healthRoutes =
  ({ pool, temporalHealth }: AppContext): FastifyPluginAsyncTypebox =>
  async (app) => {
    app.get('/health/live', async () => ({ status: 'ok' }))

    app.get('/health/ready', async (_request, reply) => {
      const postgres = await pool.query('SELECT 1').then(
        () => 'ok',
        () => 'away',
      )
      const temporal = temporalHealth.isAway ? 'away' : 'ok'
      const worker = temporal === 'ok' && (await temporalHealth.hasPollers()) ? 'ok' : 'no pollers seen'
      const ready = postgres === 'ok' && temporal === 'ok' && worker === 'ok'
      return reply.code(ready ? 200 : 503).send({ status: ready ? 'ok' : 'not ready', postgres, temporal, worker })
    })
  }

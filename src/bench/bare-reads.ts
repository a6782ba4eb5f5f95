import fastify from 'fastify'
import type { AppMessage } from '../embedded/app-process.js'
import { loadConfig } from '../config.js'
import { makePool } from '../saga/node/db.js'
import { listLog, logRowToJson } from '../saga/node/saga-log.js'
import { SagaStore } from '../saga/node/saga-store.js'

/** The statements of GET /saga/{id} and GET /logs behind a Fastify that does nothing else: what our own door is held against. */
const { databaseUrl, host, port } = loadConfig()
const pool = makePool(databaseUrl, { max: 20, name: 'bench-bare' })
const store = new SagaStore(pool, [])
const app = fastify()
app.get('/saga/:id', (request) => store.get((request.params as { id: string }).id))
app.get('/logs', async (request, reply) => {
  const rows = await listLog(pool, { saga: (request.query as { saga?: string }).saga })
  return reply.type('application/json').send(`{"logs":[${rows.map(logRowToJson).join()}]}`)
})
const url = await app.listen({ host, port })
process.once('SIGTERM', () => process.exit(0))
process.once('disconnect', () => process.exit(0))
process.on('SIGINT', () => {})
process.send?.({ type: 'ready', url } satisfies AppMessage)

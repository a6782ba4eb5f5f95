import closeWithGrace from 'close-with-grace'
import { loadServiceConfig } from './config.js'
import { refuseOpenBind } from './http/guards.js'
import { requireCurrentSchema } from './migrations.js'
import { failProgram, makeLogger } from './program.js'
import { startParticipantServer } from './saga/node/participant-server.js'
import { startTracing } from './tracing.js'
import { letterFrom, ownServices } from './services/index.js'

/** `npm run service -- A`: one participant as a service of its own, against its own DATABASE_URL. */
try {
  const letter = letterFrom(process.argv[2])
  const service = ownServices[letter]
  const config = loadServiceConfig(service.port)
  refuseOpenBind(config)
  const logger = makeLogger(config)
  await requireCurrentSchema(config.databaseUrl, letter)
  const tracing = await startTracing(config, `durable-sagas-service-${letter.toLowerCase()}`, logger)
  const { port } = config
  const server = await startParticipantServer({
    ...{ ...config, ...service, port, logger },
    ...(tracing && { traceRequests: tracing.traceRequests }),
  })
  logger.info({ url: server.url, participant: service.participant.name }, `Service ${letter} is listening`)
  closeWithGrace({ delay: 20_000, logger }, async () => {
    await server.stop()
    await tracing?.stop()
  })
} catch (error) {
  failProgram(error)
}

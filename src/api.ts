import closeWithGrace from 'close-with-grace'
import { loadConfig } from './config.js'
import { failProgram, makeLogger } from './program.js'
import { startApi } from './run-api.js'
import { connectTemporal, installMeasuredRuntime } from './temporal.js'
import { startTracing } from './tracing.js'

/** `npm run api`: the API and the web page alone, against DATABASE_URL and TEMPORAL_*. */
try {
  const config = loadConfig()
  const logger = makeLogger(config)
  const metrics = await installMeasuredRuntime(logger)
  const tracing = await startTracing(config, 'durable-sagas-api', logger)
  const temporal = await connectTemporal({ ...config, interceptors: tracing?.client })
  const api = await startApi(config, temporal, logger, { metrics, tracing })
  logger.info({ url: api.url, temporal: temporal.address, namespace: temporal.namespace }, 'The API is listening')
  closeWithGrace({ delay: 20_000, logger }, async () => {
    await api.stop()
    await temporal.connection.close()
    await tracing?.stop()
  })
} catch (error) {
  failProgram(error)
}

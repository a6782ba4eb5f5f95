import closeWithGrace from 'close-with-grace'
import { loadConfig } from './config.js'
import { startWorker } from './run-worker.js'
import { failProgram, makeLogger } from './program.js'
import { connectTemporal, installMeasuredRuntime, installTemporalRuntime } from './temporal.js'
import { startTracing } from './tracing.js'

/** `npm run worker`: the worker alone, against DATABASE_URL and TEMPORAL_*. */
try {
  const config = loadConfig()
  const logger = makeLogger(config)
  const { host, metricsPort: port } = config
  if (port === undefined) installTemporalRuntime(logger)
  else await installMeasuredRuntime(logger, { host, port })
  const tracing = await startTracing(config, 'durable-sagas-worker', logger)
  const temporal = await connectTemporal({ ...config, interceptors: tracing?.client })
  const worker = await startWorker(config, temporal, logger, tracing)
  logger.info({ temporal: temporal.address, namespace: temporal.namespace }, 'The worker is running')
  closeWithGrace({ delay: 20_000, logger }, async () => {
    await worker.stop()
    await temporal.connection.close()
    await tracing?.stop()
  })
  worker.done.catch((error: Error) => {
    logger.fatal({ err: error }, 'The worker broke')
    process.exit(1)
  })
} catch (error) {
  failProgram(error)
}

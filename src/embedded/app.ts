import { setTimeout as sleep } from 'node:timers/promises'
import { loadConfig } from '../config.js'
import { makeLogger } from '../program.js'
import { startApi } from '../run-api.js'
import { startWorker } from '../run-worker.js'
import { connectTemporal, installMeasuredRuntime } from '../temporal.js'
import { startTracing } from '../tracing.js'
import { stopLeftovers } from './data-folder.js'

/**
 * The child of `npm start`: API and worker in one process and over one connection, so that a saga's first workflow task
 * comes back with the answer to its start. Tells the supervisor when it is ready, and goes when the supervisor does.
 */
let orphaned = false
let stop = async () => {}
let stopping: Promise<void> | undefined

function stopOnce(): void {
  stopping ??= stop()
    .catch((error: Error) => console.error(error))
    .then(async () => {
      const dataDir = process.env['SAGA_DATA_DIR']
      if (orphaned && dataDir) await stopLeftovers(dataDir)
      process.exit(0)
    })
}

process.on('SIGTERM', stopOnce)
// Ctrl-C reaches the whole terminal group; the supervisor says when to stop, and in which order.
process.on('SIGINT', () => {})
process.on('disconnect', () => {
  orphaned = true
  stopOnce()
})

try {
  const config = loadConfig()
  const logger = makeLogger(config)
  const metrics = await installMeasuredRuntime(logger)
  const tracing = await startTracing(config, 'durable-sagas', logger)
  const temporal = await connectTemporal({ ...config, disableFile: true, interceptors: tracing?.client })
  const worker = await startWorker(config, temporal, logger, tracing)
  stop = async () => {
    await worker.stop()
    await temporal.connection.close()
  }
  const api = await startApi(config, temporal, logger, { metrics, tracing })
  stop = async () => {
    await api.stop()
    await worker.stop()
    await temporal.connection.close()
    await tracing?.stop()
  }
  worker.done.catch((error: Error) => {
    logger.fatal({ err: error }, 'The worker broke')
    process.exit(1)
  })
  while (!(await api.temporalHealth.hasPollers())) await sleep(50)
  process.send?.({ type: 'ready', url: api.url })
} catch (error) {
  console.error(error)
  process.send?.({ type: 'failed', message: (error as Error).message }, () => process.exit(1))
}

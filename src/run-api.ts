import type { AddressInfo } from 'node:net'
import type { Logger } from 'pino'
import { sagas } from './activities/index.js'
import type { Config } from './config.js'
import { makePool, sagaBounds } from './saga/node/db.js'
import { makeApp } from './http/app.js'
import { refuseOpenBind } from './http/guards.js'
import { SagaFeed } from './http/saga-feed.js'
import { TemporalHealth } from './http/temporal-health.js'
import { requireCurrentSchema } from './migrations.js'
import { SagaBulks } from './saga/node/saga-bulk.js'
import { SagaDecisions } from './saga/node/saga-decisions.js'
import { SagaStarter } from './saga/node/saga-starter.js'
import { SagaStore } from './saga/node/saga-store.js'
import { watchProcess } from './saga/node/saga-metrics.js'
import { TASK_QUEUE, type Metrics, type Temporal } from './temporal.js'
import type { Tracing } from './tracing.js'

export interface RunningApi {
  /** Where it listens, such as http://127.0.0.1:3000. */
  url: string
  temporalHealth: TemporalHealth
  stop(): Promise<void>
}

/** Starts the API and the web page. Throws where the schema is too old, the port is in use, or the address too open. */
export async function startApi(
  config: Config,
  temporal: Temporal,
  logger: Logger,
  { metrics, tracing }: { metrics?: Metrics; tracing?: Tracing | undefined } = {},
): Promise<RunningApi> {
  refuseOpenBind(config)
  const onError = (error: Error) => logger.warn({ err: error }, 'A database connection broke')
  const pool = makePool(config.databaseUrl, {
    max: 20,
    name: 'saga-api',
    bounds: sagaBounds,
    queryTimeoutMs: 4_500,
    onError,
  })
  const feed = new SagaFeed(config.databaseUrl, logger)
  const temporalHealth = new TemporalHealth(temporal, TASK_QUEUE)
  const endWatch = metrics ? watchProcess(metrics.meter, { api: pool }) : () => {}
  const release = async () => {
    endWatch()
    temporalHealth.stop()
    await feed.stop()
    await pool.end()
  }
  try {
    await requireCurrentSchema(config.databaseUrl)
    await feed.start()
    await temporalHealth.start()
    const store = new SagaStore(pool, sagas, {
      payloadKeys: config.payloadKeys,
      gathering: config.isGrouping ? {} : undefined,
    })
    const decisions = new SagaDecisions(pool, store, TASK_QUEUE)
    const bulks = new SagaBulks(pool, store, { taskQueue: TASK_QUEUE })
    const starter = new SagaStarter(temporal.client, TASK_QUEUE)
    const links = { temporalUiUrl: config.temporalUiUrl, namespace: temporal.namespace }
    const context = { config, pool, store, decisions, bulks, starter, feed, temporalHealth, links }
    const app = await makeApp({ ...context, ...(metrics && { metrics }), ...(tracing && { tracing }) }, logger)
    await app.listen({ host: config.host, port: config.port })
    const { port } = app.server.address() as AddressInfo
    return {
      url: `http://${config.host.includes(':') ? `[${config.host}]` : config.host}:${port}`,
      temporalHealth,
      async stop() {
        await app.close()
        await release()
      },
    }
  } catch (error) {
    await release()
    if ((error as { code?: string }).code === 'EADDRINUSE') {
      throw new Error(`Port ${config.port} is in use; PORT moves the API to another one (0: any free one).`, {
        cause: error,
      })
    }
    throw error
  }
}

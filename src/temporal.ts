import { fileURLToPath } from 'node:url'
import { Client } from '@temporalio/client'
import { loadClientConnectConfig } from '@temporalio/envconfig'
import { DefaultLogger, NativeConnection, Runtime } from '@temporalio/worker'
import type { Logger } from 'pino'

/** Every saga of every type runs on this queue. */
export const TASK_QUEUE = 'saga'

/** The workflow code as the worker runs it, built by `npm run build`. */
export const workflowBundle = { codePath: fileURLToPath(new URL('./workflow-bundle.js', import.meta.url)) }

/** How the worker reads what it is given; part of the bundle as well. */
export const payloadConverterPath = fileURLToPath(new URL('./workflows/payload-converter.js', import.meta.url))

export interface Temporal {
  connection: NativeConnection
  client: Client
  namespace: string
  address: string
}

/**
 * Connects by the standard settings: TEMPORAL_* in the environment and temporal.toml profiles. The connection is the
 * worker's own kind, so that an API in the worker's process starts sagas eagerly. Throws with the address where nobody
 * answers within 10 s. `disableFile` leaves temporal.toml unread: its profile may hold the keys of another server.
 */
export async function connectTemporal({ disableFile = false } = {}): Promise<Temporal> {
  const { connectionOptions, namespace = 'default' } = loadClientConnectConfig({ disableFile })
  const address = connectionOptions.address ?? '127.0.0.1:7233'
  try {
    const connection = await NativeConnection.connect({ ...connectionOptions, address })
    return { connection, client: new Client({ connection, namespace }), namespace, address }
  } catch (error) {
    throw new Error(
      `Temporal does not answer at ${address}. Start it (npm start brings one along) or set TEMPORAL_ADDRESS. (${(error as Error).message})`,
      { cause: error },
    )
  }
}

/** Sends what Temporal's runtime has to say to our log; signals stay ours. Once a process, before anything else of it. */
export function installTemporalRuntime(logger: Logger): void {
  const log = logger.child({ part: 'temporal' })
  Runtime.install({
    shutdownSignals: [],
    telemetryOptions: { logging: { forward: {}, filter: { core: 'WARN', other: 'WARN' } } },
    // Warnings and errors only: what it says below them repeats the sagas' inputs.
    logger: new DefaultLogger('WARN', ({ level, message, meta }) => {
      log[level === 'ERROR' ? 'error' : 'warn']({ ...meta }, message)
    }),
  })
}

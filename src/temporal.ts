import { randomUUID } from 'node:crypto'
import { hostname } from 'node:os'
import { fileURLToPath } from 'node:url'
import { Client, type ClientInterceptors } from '@temporalio/client'
import { loadClientConnectConfig } from '@temporalio/envconfig'
import { NativeConnection, Runtime } from '@temporalio/worker'
import type { DataConverter, MetricMeter } from '@temporalio/common'
import type { Logger } from 'pino'
import { findPorts } from './system/ports.js'
import { PayloadKeys } from './saga/node/payload-keys.js'
import { temporalLogger } from './temporal-log.js'

/** Every saga of every type runs on this queue. */
export const TASK_QUEUE = 'saga'

/** The workflow code as the worker runs it, built by `npm run build`: with keys it is another one, whose failures tell nothing. */
export const workflowBundle = { codePath: fileURLToPath(new URL('./workflow-bundle.js', import.meta.url)) }
export const encryptedWorkflowBundle = {
  codePath: fileURLToPath(new URL('./workflow-bundle-encrypted.js', import.meta.url)),
}

/** Where a worker bundles it from whose workflows are to be intercepted. */
export const workflowsPath = fileURLToPath(new URL('./workflows/index.js', import.meta.url))

/** How the worker reads what it is given; part of the bundles as well. */
export const payloadConverterPath = fileURLToPath(new URL('./workflows/payload-converter.js', import.meta.url))

/** How failures are written down with keys; part of the bundle for that as well. */
export const failureConverterPath = fileURLToPath(new URL('./workflows/failure-converter.js', import.meta.url))

/** What makes every client and worker encrypt what it sends, and decrypt what it reads. Without keys that is refused, not misread. */
export function encryptionBy(keys: PayloadKeys): DataConverter {
  return { payloadCodecs: [keys], ...(keys.areThere && { failureConverterPath }) }
}

/** Of this process alone: in containers the SDK's own, pid@host, is that of the process before as well. */
const identity = `${process.pid}@${hostname()}/${randomUUID().slice(0, 8)}`

export interface Temporal {
  connection: NativeConnection
  client: Client
  namespace: string
  address: string
}

/**
 * Connects by the standard settings: TEMPORAL_* in the environment and temporal.toml profiles. The connection is the
 * worker's own kind, so that an API in the worker's process starts sagas eagerly. Throws with the address where nobody
 * answers within 10 s. `disableFile` leaves temporal.toml unread: its profile may hold the keys of another server. What
 * the client sends is encrypted with `payloadKeys`, where there are any.
 */
export async function connectTemporal({
  disableFile = false,
  interceptors = {},
  payloadKeys = new PayloadKeys([]),
}: {
  disableFile?: boolean
  interceptors?: ClientInterceptors | undefined
  payloadKeys?: PayloadKeys
} = {}): Promise<Temporal> {
  const { connectionOptions, namespace = 'default' } = loadClientConnectConfig({ disableFile })
  const address = connectionOptions.address ?? '127.0.0.1:7233'
  try {
    const connection = await NativeConnection.connect({ ...connectionOptions, address })
    const dataConverter = encryptionBy(payloadKeys)
    const client = new Client({ connection, namespace, identity, interceptors, dataConverter })
    return { connection, client, namespace, address }
  } catch (error) {
    throw new Error(
      `Temporal does not answer at ${address}. Start it (npm start brings one along) or set TEMPORAL_ADDRESS. (${(error as Error).message})`,
      { cause: error },
    )
  }
}

/** Prometheus' own, for names and units. */
const CONVENTIONS = {
  ...{ countersTotalSuffix: true, unitSuffix: true, useSecondsForDurations: true },
  histogramBucketOverrides: { saga_duration_seconds: [0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 3_600] },
}

/** Where this process tells its figures: the meter that takes ours, and the address that shows them with the SDK's own. */
export interface Metrics {
  meter: MetricMeter
  url: string
}

/** The same as installTemporalRuntime, with figures for Prometheus at that address; the port is any free one where it is 0. */
export async function installMeasuredRuntime(
  logger: Logger,
  { host = '127.0.0.1', port = 0 }: { host?: string; port?: number } = {},
): Promise<Metrics> {
  const wanted = await findPorts({ metrics: { variable: 'METRICS_PORT', host, port } })
  const address = `${host}:${wanted.metrics}`
  installTemporalRuntime(logger, address)
  return { meter: Runtime.instance().metricMeter, url: `http://${address}/metrics` }
}

/** Sends what Temporal's runtime has to say to our log; signals stay ours. Once a process, before anything else of it. */
export function installTemporalRuntime(logger: Logger, metricsAddress?: string): void {
  Runtime.install({
    shutdownSignals: [],
    telemetryOptions: {
      logging: { forward: {}, filter: { core: 'WARN', other: 'WARN' } },
      ...(metricsAddress !== undefined && { metrics: { prometheus: { bindAddress: metricsAddress, ...CONVENTIONS } } }),
    },
    logger: temporalLogger(logger.child({ part: 'temporal' })),
  })
}

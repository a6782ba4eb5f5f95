import type { ClientInterceptors } from '@temporalio/client'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import type { Logger } from 'pino'
import type { Config } from './config.js'
import type { SagaWorkerOptions } from './saga/node/saga-worker.js'

/** What a program needs to take part in traces. */
export interface Tracing {
  /** A span around each request of that app, continuing the trace that its caller names; `about` gives its attributes. */
  traceRequests: TraceRequests
  /** For Temporal's client: what it starts continues the trace. */
  client: ClientInterceptors
  /** For a worker of sagas. */
  worker: Required<Pick<SagaWorkerOptions, 'interceptors' | 'sinks' | 'remoteHeaders'>>
  /** Sends what is left to the collector, for 3 s at most. */
  stop(): Promise<void>
}

export type TraceRequests = (
  app: FastifyInstance,
  about: (request: FastifyRequest) => Record<string, string | undefined>,
) => void

/** Undefined, and nothing of OpenTelemetry is loaded, where no collector is named. Once a process, before anything else of it. */
export async function startTracing(
  { isTraced }: Pick<Config, 'isTraced'>,
  serviceName: string,
  logger: Logger,
): Promise<Tracing | undefined> {
  if (!isTraced) return undefined
  const { makeTracing } = await import('./open-telemetry.js')
  return makeTracing(serviceName, logger)
}

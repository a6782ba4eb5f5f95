import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import {
  context,
  diag,
  DiagLogLevel,
  propagation,
  ROOT_CONTEXT,
  SpanKind,
  SpanStatusCode,
  trace,
} from '@opentelemetry/api'
import type { Attributes, Context } from '@opentelemetry/api'
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-http'
import { envDetectorSync, Resource } from '@opentelemetry/resources'
import {
  BatchSpanProcessor,
  NodeTracerProvider,
  type ReadableSpan,
  type SpanProcessor,
} from '@opentelemetry/sdk-trace-node'
import { activityInfo } from '@temporalio/activity'
import { OpenTelemetryWorkflowClientInterceptor } from '@temporalio/interceptors-opentelemetry/lib/client/index.js'
import {
  makeWorkflowExporter,
  OpenTelemetryActivityInboundInterceptor,
  OpenTelemetryActivityOutboundInterceptor,
} from '@temporalio/interceptors-opentelemetry/lib/worker/index.js'
import type { WorkflowInfo } from '@temporalio/workflow'
import type { FastifyRequest } from 'fastify'
import type { Logger } from 'pino'
import { whoseRun } from './temporal-log.js'
import type { Tracing, TraceRequests } from './tracing.js'

const STOP_MS = 3_000
/** A collector that is away is told of once in that time. */
const COMPLAIN_EVERY_MS = 60_000

const workflowInterceptors = '@temporalio/interceptors-opentelemetry/lib/workflow-interceptors.js'

/**
 * Traces by OpenTelemetry, sent to the collector of OTEL_EXPORTER_OTLP_ENDPOINT. Its other OTEL_* variables (service name,
 * sampler, headers, batches) are read where it reads them itself. Loaded by `startTracing` alone.
 */
export function makeTracing(serviceName: string, logger: Logger): Tracing {
  tellOfFailures(logger)
  const resource = Resource.default()
    .merge(new Resource({ 'service.name': serviceName }))
    .merge(envDetectorSync.detect())
  const processor = withoutWords(new BatchSpanProcessor(new OTLPTraceExporter()))
  const provider = new NodeTracerProvider({ resource, spanProcessors: [processor] })
  provider.register()
  return {
    traceRequests,
    client: {
      workflow: [new OpenTelemetryWorkflowClientInterceptor(), { start: markStart, startWithDetails: markStart }],
    },
    worker: {
      interceptors: {
        activity: [
          (activity) => ({
            inbound: new OpenTelemetryActivityInboundInterceptor(activity),
            outbound: new OpenTelemetryActivityOutboundInterceptor(activity),
          }),
          () => ({
            inbound: {
              execute(input, next) {
                markAttempt(input.args[0])
                return next(input)
              },
            },
          }),
        ],
        workflowModules: [fileURLToPath(import.meta.resolve(workflowInterceptors))],
      },
      sinks: { exporter: workflowExporter(processor, resource) },
      remoteHeaders() {
        const headers: { traceparent?: string } = {}
        propagation.inject(context.active(), headers)
        return headers.traceparent === undefined ? {} : { traceparent: headers.traceparent }
      },
    },
    async stop() {
      const flushed = provider.shutdown().catch(() => {})
      await Promise.race([flushed, sleep(STOP_MS, undefined, { ref: false })])
    },
  }
}

const traceRequests: TraceRequests = (app, about) => {
  const tracer = trace.getTracer('durable-sagas')
  const contexts = new WeakMap<FastifyRequest, Context>()
  app.addHook('onRequest', (request, reply, done) => {
    const { method, routeOptions, headers } = request
    const route = routeOptions.url
    // What asks every few seconds, and the page's files, would bury the rest.
    if (route === '/metrics' || route === '/health' || routeOptions.config?.role === 'anyone') return done()
    // Of what a caller says of its trace only which one it is, where that is valid by W3C. `baggage` and `tracestate` may have
    // anything in them, and would stand in Temporal and go on to participants.
    const parent = propagation.extract(ROOT_CONTEXT, { traceparent: headers['traceparent'] })
    const attributes = { 'http.request.method': method, ...(route !== undefined && { 'http.route': route }) }
    const span = tracer.startSpan(`${method} ${route ?? ''}`.trim(), { kind: SpanKind.SERVER, attributes }, parent)
    const here = trace.setSpan(parent, span)
    contexts.set(request, here)
    // As in the lines of Temporal's runtime.
    request.log = reply.log = request.log.child({ trace_id: span.spanContext().traceId })
    context.with(here, () => done())
  })
  // What follows on the reading of a body has come out of it.
  app.addHook('preValidation', (request, _reply, done) => {
    context.with(contexts.get(request) ?? ROOT_CONTEXT, () => done())
  })
  app.addHook('onResponse', (request, { statusCode }, done) => {
    const span = trace.getSpan(contexts.get(request) ?? ROOT_CONTEXT)
    span?.setAttributes({ ...about(request), 'http.response.status_code': statusCode })
    if (statusCode >= 500) span?.setStatus({ code: SpanStatusCode.ERROR })
    span?.end()
    done()
  })
}

function markStart<I extends { workflowType: string; options: { workflowId: string } }, R>(
  input: I,
  next: (input: I) => R,
): R {
  trace.getActiveSpan()?.setAttributes(ofRun(input.options.workflowId, input.workflowType))
  return next(input)
}

/** Names the span of an attempt after it, as "invoke A". */
function markAttempt(order: unknown): void {
  const span = trace.getActiveSpan()
  const { workflowExecution, workflowType = '' } = activityInfo()
  if (workflowExecution) span?.setAttributes(ofRun(workflowExecution.workflowId, workflowType))
  const { step, op } = (order ?? {}) as { step?: unknown; op?: unknown }
  if (typeof step !== 'string') return
  span?.setAttribute('saga.step', step)
  if (typeof op === 'string') span?.setAttribute('saga.operation', op).updateName(`${op} ${step}`)
}

function ofRun(workflowId: string, workflowType: string): Attributes {
  const { sagaId } = whoseRun(workflowId, workflowType)
  return sagaId === undefined ? {} : { 'saga.id': sagaId }
}

/** The interceptors' own adds all that is known of a run, its memo and its last failure too. */
function workflowExporter(processor: SpanProcessor, resource: Resource) {
  const { export: own } = makeWorkflowExporter(processor, resource)
  const fn: typeof own.fn = ({ workflowId, workflowType, runId }, spans) =>
    own.fn(
      { ...ofRun(workflowId, workflowType), workflow_id: workflowId, run_id: runId } as unknown as WorkflowInfo,
      spans,
    )
  return { export: { ...own, fn } }
}

/** Spans say that something failed, and of which type; what an error says is left to those who may read log and history. */
function withoutWords(processor: BatchSpanProcessor): SpanProcessor {
  return {
    onStart: (span, parent) => processor.onStart(span, parent),
    onEnd(span) {
      const events = span.events.map((event) => {
        const { 'exception.message': _, 'exception.stacktrace': __, ...attributes } = event.attributes ?? {}
        return { ...event, attributes }
      })
      const status = { code: span.status.code }
      processor.onEnd(Object.create(span, { events: { value: events }, status: { value: status } }) as ReadableSpan)
    },
    forceFlush: () => processor.forceFlush(),
    shutdown: () => processor.shutdown(),
  }
}

function tellOfFailures(logger: Logger): void {
  let quietUntil = 0
  const nothing = () => {}
  const error = (message: string) => {
    if (Date.now() < quietUntil) return
    quietUntil = Date.now() + COMPLAIN_EVERY_MS
    logger.warn({ collector: message.slice(0, 300) }, 'Traces could not be sent')
  }
  diag.setLogger({ error, warn: nothing, info: nothing, debug: nothing, verbose: nothing }, DiagLogLevel.ERROR)
}

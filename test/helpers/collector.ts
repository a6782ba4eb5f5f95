import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'

export interface Span {
  name: string
  service: string
  traceId: string
  spanId: string
  parentSpanId: string
  attributes: Record<string, string | number>
  failed: boolean
}

/** A collector of traces, OTLP as JSON over HTTP. */
export interface Collector {
  url: string
  spans: Span[]
  /** All that it was sent, as it came. */
  text(): string
  stop(): Promise<void>
}

type Pairs = { key: string; value: { stringValue?: string; intValue?: number } }[]
interface Sent {
  resourceSpans: {
    resource: { attributes: Pairs }
    scopeSpans: { spans: (Omit<Span, 'attributes'> & { attributes: Pairs; status: { code: number } })[] }[]
  }[]
}

export async function startCollector(): Promise<Collector> {
  const spans: Span[] = []
  const bodies: string[] = []
  const server = createServer((request, response) => {
    let body = ''
    request.setEncoding('utf8').on('data', (chunk) => (body += chunk))
    request.on('end', () => {
      response.writeHead(200, { 'content-type': 'application/json' }).end('{}')
      bodies.push(body)
      spans.push(...read(JSON.parse(body)))
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    spans,
    text: () => bodies.join('\n'),
    async stop() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

function read({ resourceSpans }: Sent): Span[] {
  return resourceSpans.flatMap(({ resource, scopeSpans }) =>
    scopeSpans
      .flatMap(({ spans }) => spans)
      .map(({ name, traceId, spanId, parentSpanId, attributes, status }) => ({
        ...{ name, traceId, spanId, parentSpanId },
        service: String(toRecord(resource.attributes)['service.name']),
        attributes: toRecord(attributes),
        failed: status.code === 2,
      })),
  )
}

function toRecord(pairs: Pairs): Record<string, string | number> {
  return Object.fromEntries(pairs.map(({ key, value }) => [key, value.stringValue ?? value.intValue ?? '']))
}

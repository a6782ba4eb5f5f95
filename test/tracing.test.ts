import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { createServer, type IncomingHttpHeaders } from 'node:http'
import type { AddressInfo } from 'node:net'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { startCollector, type Collector, type Span } from './helpers/collector.js'
import { ada, Sagas, testReplay } from './helpers/sagas.js'
import { makeServiceDatabase, startService, type ServiceProcess } from './helpers/services.js'
import { query } from './helpers/shared.js'
import { startSystem, type System } from './helpers/system.js'
import { until } from './helpers/until.js'

const payment = '4111-2222-3333-9876'
let collector: Collector
let service: ServiceProcess
let system: System
let sagas: Sagas

/** B: what each saga's calls had in their headers. */
const heard = new Map<string, IncomingHttpHeaders>()
const addresses = createServer((request, response) => {
  heard.set(String(request.headers['saga-id']), request.headers)
  response.writeHead(200, { 'content-type': 'application/json' })
  response.end(
    JSON.stringify(request.url === '/invoke' ? { verdict: 'applied', result: null } : { verdict: 'done', left: [] }),
  )
})

beforeAll(async () => {
  collector = await startCollector()
  const env = { OTEL_EXPORTER_OTLP_ENDPOINT: collector.url, OTEL_BSP_SCHEDULE_DELAY: '200' }
  service = await startService('tracing-c', 'C', await makeServiceDatabase('tracing-c', 'C'), env)
  await new Promise<void>((resolve) => addresses.listen(0, '127.0.0.1', resolve))
  const SERVICE_B_URL = `http://127.0.0.1:${(addresses.address() as AddressInfo).port}`
  system = await startSystem('tracing', { ...env, SERVICE_C_URL: service.url, SERVICE_B_URL })
  sagas = new Sagas(system.where)
})
afterAll(async () => {
  await Promise.all([system?.stop(), service?.stop()])
  addresses.closeAllConnections()
  addresses.close()
  await collector?.stop()
})

/** Starts a saga as part of a caller's trace; that trace, once the workflow's span has come. */
async function traced(failures: object): Promise<{ sagaId: string; root: string; spans: Span[] }> {
  const [traceId, root] = [randomBytes(16).toString('hex'), randomBytes(8).toString('hex')]
  const traceparent = `00-${traceId}-${root}-01`
  const response = await sagas.post('/saga?wait=60', { ...ada, payment, failures }, { traceparent })
  expect(response.status).toBe(200)
  const { sagaId } = (await response.json()) as { sagaId: string }
  sagas.started.push(sagaId)
  const spans = () => collector.spans.filter((span) => span.traceId === traceId)
  const last = ['POST /saga', 'RunWorkflow:createUserSaga', 'POST /invoke']
  const isWhole = () => last.every((name) => spans().some((span) => span.name === name))
  await until('the trace has come', isWhole)
  return { sagaId, root, spans: spans() }
}

/** The names from the caller's own span down to this one. */
function path({ root, spans }: { root: string; spans: Span[] }, name: string): string[] {
  const names: string[] = []
  for (let span = spans.find((one) => one.name === name); span;) {
    names.unshift(span.name)
    const { parentSpanId }: Span = span
    span = spans.find(({ spanId }) => spanId === parentSpanId)
    if (!span) expect(parentSpanId).toBe(root)
  }
  return names
}

test("a saga's steps are one trace with the request that started it, and with the caller's", async () => {
  const trace = await traced({})
  const toWorkflow = ['POST /saga', 'StartWorkflow:createUserSaga', 'RunWorkflow:createUserSaga']
  for (const step of ['A', 'B', 'C']) {
    expect(path(trace, `invoke ${step}`)).toEqual([...toWorkflow, 'StartActivity:invoke', `invoke ${step}`])
  }
  expect(path(trace, 'POST /invoke').slice(-2)).toEqual(['invoke C', 'POST /invoke'])
  const [request, attempt, call] = ['POST /saga', 'invoke A', 'POST /invoke'].map((name) =>
    trace.spans.find((span) => span.name === name),
  )
  expect(request).toMatchObject({ service: 'durable-sagas', attributes: { 'http.response.status_code': 200 } })
  expect(attempt?.attributes).toMatchObject({ 'saga.step': 'A', 'saga.operation': 'invoke' })
  expect(call).toMatchObject({
    service: 'durable-sagas-service-c',
    attributes: { 'saga.step': 'C', 'saga.attempt': '1' },
  })
  const history = await sagas.temporal('workflow', 'show', '-w', trace.sagaId, '--output', 'json')
  expect(history).toMatch(/"eagerExecutionAccepted":\s*true/)
  const lines = system
    .log()
    .split('\n')
    .filter((line) => line.includes(trace.sagaId) && line.includes('Answered'))
  expect(JSON.parse(lines[0] ?? '')).toMatchObject({ sagaId: trace.sagaId, trace_id: request?.traceId })
  for (const { name, attributes, failed } of trace.spans) {
    expect({ name, failed, sagaId: attributes['saga.id'] }).toEqual({ name, failed: false, sagaId: trace.sagaId })
  }
})

test('a saga that is undone shows what failed, and each compensation', async () => {
  const trace = await traced({ C: { mode: 'always', kind: 'reject' } })
  expect(trace.spans.find(({ name }) => name === 'invoke C')?.failed).toBe(true)
  for (const step of ['A', 'B', 'C']) {
    expect(path(trace, `compensate ${step}`)).toContain('RunWorkflow:createUserSaga')
  }
})

test.each([
  { what: 'a valid one', traceparent: `00-${'a'.repeat(32)}-${'b'.repeat(16)}-01`, isContinued: true },
  { what: 'none that is valid', traceparent: `00-${'0'.repeat(32)}-${payment}-01`, isContinued: false },
])(
  'of what a caller says of its trace only its id is kept and passed on: $what',
  async ({ traceparent, isContinued }) => {
    const headers = { traceparent, tracestate: `vendor=${payment}`, baggage: `card=${payment}` }
    const response = await sagas.post('/saga?wait=60', { ...ada, failures: {} }, headers)
    const { sagaId } = (await response.json()) as { sagaId: string }
    sagas.started.push(sagaId)
    const called = heard.get(sagaId)
    expect(called).toMatchObject({ traceparent: expect.stringMatching(/^00-[0-9a-f]{32}-[0-9a-f]{16}-01$/) })
    expect(called?.['traceparent']?.toString().includes('a'.repeat(32))).toBe(isContinued)
    expect(called).not.toHaveProperty('baggage')
    expect(called).not.toHaveProperty('tracestate')
    const history = await sagas.temporal('workflow', 'show', '-w', sagaId, '--output', 'json')
    const texts = [...history.matchAll(/"data": *"([^"]+)"/g)].map(([, data = '']) =>
      Buffer.from(data, 'base64').toString(),
    )
    expect(texts.some((text) => text.includes('traceparent'))).toBe(true)
    expect(texts.filter((text) => text.includes(payment) || /baggage|tracestate/.test(text))).toEqual([])
  },
)

test('no span has a payment, whatever an error quotes', async () => {
  await query(
    system.where.database,
    `CREATE FUNCTION quote() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no %', NEW.input; END $$;
     CREATE TRIGGER quote BEFORE INSERT ON saga FOR EACH ROW WHEN (NEW.label LIKE 'refused%') EXECUTE FUNCTION quote()`,
  )
  const input = JSON.stringify({ ...ada, username: 'refused', payment })
  const args = ['--type', 'createUserSaga', '--task-queue', 'saga', '--input', input, '--memo', `note="${payment}"`]
  await sagas.temporal('workflow', 'start', '-w', 'refused', ...args)
  await until('its opening has failed', () =>
    collector.spans.some(({ attributes, failed }) => attributes['saga.id'] === 'refused' && failed),
  )
  await sagas.temporal('workflow', 'terminate', '-w', 'refused')
  expect(collector.text()).toContain('exception.type')
  expect(collector.text()).not.toContain(payment)
})

test.each([
  { kind: 'is away', system: 'tracing-away', isTold: true },
  { kind: 'never answers', system: 'tracing-silent', isTold: false },
])('a collector that $kind holds nothing up', async ({ system: name, isTold }) => {
  const silent = createServer(() => {})
  await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve))
  const port = isTold ? 1 : (silent.address() as AddressInfo).port
  const lonely = await startSystem(name, {
    OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${port}`,
    OTEL_BSP_SCHEDULE_DELAY: '100',
  })
  const saga = await new Sagas(lonely.where).run()
  expect(saga.status).toBe('COMPLETED')
  if (isTold) await until('it is told', () => lonely.log().includes('Traces could not be sent'))
  const asked = Date.now()
  await lonely.stop()
  expect(Date.now() - asked).toBeLessThan(10_000)
  silent.closeAllConnections()
  silent.close()
})

test('without a collector nothing of OpenTelemetry is loaded, nor part of the workflow bundle', async () => {
  const program = `
    import { createRequire } from 'node:module'
    const [{ startTracing }] = await Promise.all(['tracing', 'run-api', 'run-worker'].map((one) => import(process.cwd() + '/dist/' + one + '.js')))
    await startTracing({ isTraced: false })
    console.log(Object.keys(createRequire(process.cwd() + '/').cache).join())
    process.exit()`
  const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', program])
  expect(stdout).toContain('fastify')
  expect(stdout).not.toMatch(/opentelemetry/)
  expect(readFileSync('dist/workflow-bundle.js', 'utf8')).not.toMatch(/node_modules\/@opentelemetry/)
})

testReplay(() => sagas)

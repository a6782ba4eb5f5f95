import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { ProblemType } from '../src/saga/node/participant-protocol.js'
import { query } from './helpers/shared.js'
import { ada, Sagas } from './helpers/sagas.js'
import { startSystem, type System } from './helpers/system.js'
import { until } from './helpers/until.js'

const tokens = { olga: 'token-of-olga-0123456789', vera: 'token-of-vera-0123456789' }
const wrongToken = 'token-of-nobody-0123456789'
const payment = '4111-2222-3333-9876'
const refused = '4000-0000-0000-5678'
const bearer = (token: string) => ({ authorization: `Bearer ${token}` })

/** Takes payments, but for one that it can neither take nor undo without telling the world. */
const quoting = createServer((request, response) => {
  let body = ''
  request.on('data', (chunk) => (body += chunk))
  request.on('end', () => {
    const isRefused = body.includes(refused)
    const verdict = request.url === '/compensate' ? 'done' : 'applied'
    const problem = { type: ProblemType.OutcomeUnknown, detail: `no money on ${refused}` }
    response.writeHead(isRefused ? 500 : 200, { 'content-type': `application/${isRefused ? 'problem+' : ''}json` })
    response.end(JSON.stringify(isRefused ? problem : { verdict, result: {}, left: [], applied: false }))
  })
})

interface Line {
  level: number
  msg: string
  sagaId?: string
  runId?: string
  workflowId?: string
  route?: string
  status?: number
  part?: string
}

let system: System
let sagas: Sagas
/** Of the page's login. */
let cookie: string
/** Whatever was written to the log of API + worker, while sagas went every way that there is. */
let text: string
let lines: Line[]
/** Saga ids by run id. */
let runs: Map<string, string>

beforeAll(async () => {
  await new Promise<void>((resolve) => quoting.listen(0, '127.0.0.1', resolve))
  system = await startSystem('process-log', {
    LOG_LEVEL: 'trace',
    API_TOKENS: `olga:operator:${tokens.olga},vera:viewer:${tokens.vera}`,
    SERVICE_C_URL: `http://127.0.0.1:${(quoting.address() as AddressInfo).port}`,
    // Temporal's core then says of each workflow task that it took too long.
    TEMPORAL_WORKFLOW_TASK_DURATION_WARN_SECONDS: '0',
  })
  sagas = new Sagas(system.where, bearer(tokens.olga))
  // What PostgreSQL refuses it quotes.
  await query(
    system.where.database,
    `CREATE FUNCTION quote() RETURNS trigger LANGUAGE plpgsql AS
       $$ BEGIN RAISE EXCEPTION 'no %', NEW.input USING DETAIL = NEW.input, HINT = NEW.input; END $$;
     CREATE TRIGGER quote BEFORE INSERT ON saga FOR EACH ROW WHEN (NEW.label LIKE 'refused%') EXECUTE FUNCTION quote()`,
  )
  await goEveryWay()
  // The runtime holds its lines back for a tenth of a second.
  text = await until('the last saga is logged', () => {
    const log = system.log()
    return (
      log.split('\n').some((line) => line.includes('TMPRL1104') && line.includes(sagas.started.at(-1) ?? '')) && log
    )
  })
  lines = text.trim().split('\n').map(parse)
  runs = await runsOfSagas()
})
afterAll(async () => {
  await system?.stop()
  quoting.close()
})

async function goEveryWay(): Promise<void> {
  const start = async (input: object, failures: object = {}) => {
    const response = await sagas.post('/saga', { ...ada, payment, ...input, failures })
    const { sagaId } = (await response.json()) as { sagaId: string }
    sagas.started.push(sagaId)
    return sagaId
  }
  // Refused: by what is in the body, by its token, by PostgreSQL; none of them is a saga.
  const statuses = await Promise.all([
    sagas.post('/saga', { ...ada, payment: [payment] }),
    sagas.post('/saga', { ...ada, [payment]: payment }),
    sagas.post('/saga', `{"payment":"${payment}`),
    sagas.request(`/saga/none?token=${tokens.olga}`),
    sagas.request(`/${payment}`),
    sagas.post('/saga', { ...ada, payment }, bearer(wrongToken)),
    sagas.post('/saga', { ...ada, payment }, bearer(tokens.vera)),
    sagas.post('/login', { token: wrongToken }),
    sagas.post('/saga', { ...ada, username: 'refused', payment }),
  ])
  expect(statuses.map(({ status }) => status)).toEqual([400, 400, 400, 404, 404, 401, 403, 401, 500])
  const page = new Sagas(system.where)
  const login = await page.post('/login', { token: tokens.olga })
  cookie = /saga_session=([^;]+)/.exec(login.headers.get('set-cookie') ?? '')?.[1] ?? ''
  expect(cookie).not.toBe('')
  expect((await page.request('/saga', { headers: { cookie: `saga_session=${cookie}` } })).status).toBe(200)

  const completed = await start({})
  const failed = await start({ payment: refused })
  const late = await start({}, { A: { mode: 'first', n: 1, kind: 'hang' } })
  const parked = await start(
    {},
    { B: { mode: 'always', kind: 'reject' }, A: { mode: 'first', n: 8, on: 'compensate' } },
  )
  const cancelled = await start({}, { B: { mode: 'always' } })
  await sagas.logged(cancelled, 'B failed 1')
  const reason = `paid by ${payment}`
  expect((await sagas.post(`/saga/${cancelled}/cancel`, { reason })).status).toBe(202)
  const input = JSON.stringify({ username: 5, payment: refused })
  const args = ['--type', 'createUserSaga', '--task-queue', 'saga', '--input', input]
  await sagas.temporal('workflow', 'start', '-w', 'by-hand', ...args)
  sagas.started.push('by-hand')
  await sagas.logged(parked, 'COMPENSATE_A stuck')
  const word = { step: 'A', action: 'retry', reason }
  expect((await sagas.post(`/saga/${parked}/decision`, word)).status).toBe(200)
  const ended = await Promise.all([completed, failed, late, parked, cancelled, 'by-hand'].map((id) => sagas.ended(id)))
  expect(ended.map(({ status }) => status)).toEqual([
    'COMPLETED',
    'COMPENSATED',
    'COMPLETED',
    ...Array(3).fill('COMPENSATED'),
  ])
}

function parse(line: string): Line {
  try {
    return JSON.parse(line)
  } catch {
    throw new Error(`No JSON: ${line}`)
  }
}

async function runsOfSagas(): Promise<Map<string, string>> {
  const list = JSON.parse(await sagas.temporal('workflow', 'list', '--output', 'json'))
  const all = list.map(({ execution: { workflowId, runId } }: { execution: { workflowId: string; runId: string } }) => [
    runId,
    workflowId,
  ])
  return new Map(all.filter(([, id]: [string, string]) => sagas.started.includes(id)))
}

test('every line that names a saga, or a run of one, has it as sagaId', () => {
  expect(runs.size).toBeGreaterThanOrEqual(6)
  const wrong = lines.filter((line) => {
    const words = JSON.stringify(line)
    const [, byRun] = [...runs].find(([runId]) => words.includes(runId)) ?? []
    const named = byRun ?? sagas.started.find((id) => words.includes(`"${id}"`))
    return named !== undefined && line.sagaId !== named
  })
  expect(wrong).toEqual([])
})

test('the API, the worker and the runtime of Temporal each tell what they have to of a saga', () => {
  const [, failed, late, parked, cancelled] = sagas.started
  const said = (sagaId: string | undefined, more: Partial<Line> = {}) =>
    lines
      .filter(
        (line) =>
          line.sagaId === sagaId && Object.entries(more).every(([name, value]) => line[name as 'msg'] === value),
      )
      .map(({ msg, status, route }) => [msg, status, route].filter(Boolean).join(' '))
  for (const sagaId of sagas.started.slice(0, 5)) expect(said(sagaId)).toContain('Answered 202 /saga')
  expect(said(cancelled)).toContain('Answered 202 /saga/:id/cancel')
  expect(said(parked)).toContain('Answered 200 /saga/:id/decision')
  expect(said(parked)).toContain('A saga needs attention')
  expect(said(late)).toContain('A call ended after its time-out')
  expect(said(failed, { part: 'temporal' })).toContain('Activity failed')
  expect(said(failed, { part: 'temporal' })).toContain('Workflow failed')
  for (const sagaId of sagas.started) expect(said(sagaId, { part: 'temporal' }).join()).toMatch(/TMPRL1104/)
})

test('no line has a payment, a token or a session, and none repeats what PostgreSQL or a participant quotes', () => {
  const secrets = [payment, refused, ...Object.values(tokens), wrongToken, cookie]
  // The sweep is no saga.
  expect(
    lines.filter(({ msg, part, sagaId, workflowId }) => part === 'temporal' && !sagaId && !workflowId && msg),
  ).toEqual([])
  expect(lines.map(({ msg }) => msg)).toEqual(expect.arrayContaining(['A request failed', 'Refused']))
  for (const secret of secrets) expect(text.split('\n').filter((line) => line.includes(secret))).toEqual([])
})

import { execFile, spawn } from 'node:child_process'
import { once as event } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { text } from 'node:stream/consumers'
import { promisify } from 'node:util'
import { afterAll, expect, test } from '@jest/globals'
import { checkParticipant } from '../../src/saga/testing/participant-conformance.js'
import { ada, nowhere, Sagas } from '../helpers/sagas.js'
import { makeServiceDatabase, startService } from '../helpers/services.js'
import { startSystem } from '../helpers/system.js'
import { query, readShared } from '../helpers/shared.js'

const run = promisify(execFile)
const stops: (() => Promise<unknown>)[] = []
afterAll(async () => {
  for (const stop of stops) await stop()
})

/** `npm run conformance`: what it prints, and the code with which it ends. */
async function conformance(...args: string[]): Promise<{ code: number; output: string }> {
  const { PATH = '', HOME = '' } = process.env
  try {
    const { stdout } = await run(process.execPath, ['dist/conformance.js', ...args], { env: { PATH, HOME } })
    return { code: 0, output: stdout }
  } catch (error) {
    const { code, stdout, stderr } = error as { code: number; stdout: string; stderr: string }
    return { code, output: stdout + stderr }
  }
}

test('service A conforms', async () => {
  const a = await startService('conformance-a', 'A', await makeServiceDatabase('conformance-a', 'A'))
  stops.push(() => a.stop())
  const { code, output } = await conformance(a.url, '--input', '{"username":"ada"}')
  expect(output).toMatch(/13 rules hold, 0 are broken, 3 were not checked\./)
  expect(code).toBe(0)
})

/** examples/python-participant, in an environment of its own. */
async function startPython(): Promise<{ url: string; database: string }> {
  const { folder, postgres } = readShared()
  const venv = join(folder, 'python')
  await run('python3', ['-m', 'venv', venv])
  const requirements = 'examples/python-participant/requirements.txt'
  await run(join(venv, 'bin', 'pip'), ['install', '--quiet', '--requirement', requirements])
  await query(postgres, 'CREATE DATABASE "conformance-python"')
  const database = Object.assign(new URL(postgres), { pathname: '/conformance-python' }).href
  const { PATH = '', HOME = '' } = process.env
  const python = spawn(join(venv, 'bin', 'python'), ['examples/python-participant/participant.py'], {
    env: { PATH, HOME, DATABASE_URL: database, PORT: '0' },
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const ended = event(python, 'exit')
  stops.push(() => {
    python.kill('SIGTERM')
    return ended
  })
  const [line] = (await event(createInterface(python.stdout), 'line')) as [string]
  return { url: (JSON.parse(line) as { url: string }).url, database }
}

test('the participant in Python conforms, kept refusals included, and is C in a saga', async () => {
  const { url, database } = await startPython()
  const { code, output } = await conformance(
    ...[url, '--input', '{"userId":"1","payment":"4242"}', '--refused-input', '{"userId":"1","payment":"expired"}'],
  )
  expect(output).toMatch(/14 rules hold, 0 are broken, 2 were not checked\./)
  expect(code).toBe(0)

  const system = await startSystem('python-saga', { SERVICE_C_URL: url })
  stops.unshift(() => system.stop())
  const sagas = new Sagas(system.where)
  const payments = (sagaId: string) => query(database, 'SELECT method FROM payment_method WHERE saga_id = $1', [sagaId])
  const completed = await sagas.run()
  expect(completed).toMatchObject({ status: 'COMPLETED', userId: expect.any(String) })
  expect(await payments(completed.sagaId)).toEqual([{ method: ada.payment }])
  const started = await sagas.post('/saga?wait=60', { ...ada, payment: 'expired 4242', failures: {} })
  const refused = (await started.json()) as { sagaId: string }
  expect(refused).toMatchObject({
    status: 'COMPENSATED',
    error: { type: 'Rejected', message: 'a payment method that has expired is refused' },
  })
  expect(await sagas.rows(refused.sagaId)).toEqual(nowhere)
  expect(await payments(refused.sagaId)).toEqual([])
})

test('nobody at the URL is one broken rule, and an exit code of 1', async () => {
  const { code, output } = await conformance('http://127.0.0.1:1')
  expect({ code, output }).toEqual({ code: 1, output: expect.stringMatching(/BROKEN.*GET \/health[^]*no answer at/) })
})

test('service C, whose business never refuses, is told that it should where it was said to', async () => {
  const c = await startService('conformance-c', 'C', await makeServiceDatabase('conformance-c', 'C'))
  stops.push(() => c.stop())
  const good = '{"userId":"1","payment":"4242"}'
  const { code, output } = await conformance(c.url, '--input', good, '--refused-input', good, '--rounds', '5')
  expect(output).toContain('the refused input is answered with applied; right is a refusal')
  expect({ code, broken: output.match(/^BROKEN/gm)?.length }).toEqual({ code: 1, broken: 2 })
})

type Bug =
  | 'nothing'
  | 'no barrier'
  | 'looks before it writes'
  | 'late is ok'
  | 'makes a new result'
  | 'forgets refusals'
  | 'no tombstone'

/** A participant in memory, with one thing wrong; bad calls it takes for good ones. */
async function serveWrong(bug: Bug): Promise<string> {
  const sagas = new Map<string, { effects: number; result?: number; refused?: true; compensated?: string }>()
  let results = 0
  const invoke = async (key: string, input: unknown, decisions: number): Promise<[number, object]> => {
    const saga = sagas.get(key) ?? { effects: 0 }
    sagas.set(key, saga)
    const apply = (): [number, object] => {
      saga.effects += 1
      saga.result = results += 1
      return [200, { verdict: 'applied', result: saga.result }]
    }
    if (bug === 'no barrier') return apply()
    if (saga.compensated && bug === 'late is ok') return [200, { verdict: 'duplicate', result: saga.result ?? 0 }]
    if (saga.compensated) return [409, { type: 'urn:saga-participant:late-invoke' }]
    if (bug === 'makes a new result' && saga.result) return [200, { verdict: 'duplicate', result: (results += 1) }]
    if (saga.result) return [200, { verdict: 'duplicate', result: saga.result }]
    const isKept = saga.refused && bug !== 'forgets refusals' && decisions === 0
    if (isKept || input === 'refused') {
      saga.refused = true
      return [422, { type: 'urn:saga-participant:rejected', detail: 'no' }]
    }
    if (bug === 'looks before it writes') await new Promise((resolve) => setImmediate(resolve))
    return apply()
  }
  const compensate = (key: string): object => {
    const saga = sagas.get(key) ?? { effects: 0 }
    const verdict = saga.compensated ?? (saga.result ? 'done' : 'empty')
    if (verdict === 'empty' && bug === 'no tombstone') return { verdict }
    sagas.set(key, saga)
    saga.effects = 0
    saga.compensated = verdict
    return { verdict }
  }
  const server = createServer((request, response) => {
    const answer = async () => {
      const body = await text(request)
      const key = `${String(request.headers['saga-id'])} ${String(request.headers['saga-step'])}`
      const { input, decisions = 0 } = (body === '' ? {} : JSON.parse(body)) as { input?: unknown; decisions?: number }
      if (request.url === '/health') return [200, {}] as const
      if (request.url === '/invoke') return invoke(key, input, decisions)
      if (request.url === '/compensate') return [200, compensate(key)] as const
      const effects = sagas.get(key)?.effects ?? 0
      if (request.url === '/verify') return [200, { left: Array(effects).fill('one') }] as const
      return [404, {}] as const
    }
    const send = async () => {
      const [status, body] = await answer().catch(() => [400, {}] as const)
      const type = status === 200 ? 'application/json' : 'application/problem+json'
      response.writeHead(status, { 'content-type': type }).end(JSON.stringify(body))
    }
    void send()
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  stops.push(async () => {
    server.closeAllConnections()
    server.close()
  })
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

const badCalls = 'calls that are not right are problems, and do nothing'
const once = 'an invoke that is sent again is answered with what was kept'
const atOnce = 'of ten invokes at once one is applied'
const late = 'an invoke after its compensation is late, and changes nothing'
const empty = 'a compensation of what never was is empty, and an invoke behind it is late'
const pairs = 'an invoke and a compensation at once, 20 times, end as one after the other'
const refusal = 'a refusal is kept: sent again, and with better input, it is the same'
const wrongs: { bug: Bug; breaks: string[] }[] = [
  { bug: 'nothing', breaks: [] },
  { bug: 'no barrier', breaks: [once, atOnce, late, empty, pairs] },
  { bug: 'looks before it writes', breaks: [atOnce] },
  { bug: 'late is ok', breaks: [late, empty, pairs] },
  { bug: 'makes a new result', breaks: [once, atOnce] },
  { bug: 'forgets refusals', breaks: [refusal] },
  { bug: 'no tombstone', breaks: [empty] },
]

test.each(wrongs)(
  'a participant with $bug wrong breaks $breaks.length rules of the barrier',
  async ({ bug, breaks }) => {
    const options = { input: 'good', refusedInput: 'refused', rounds: 20 }
    const rules = await checkParticipant(await serveWrong(bug), options)
    const broken = rules.filter(({ broken }) => broken !== undefined).map(({ rule }) => rule)
    expect(broken).toEqual(expect.arrayContaining([...breaks, badCalls]))
    if (bug === 'nothing') expect(broken).toEqual([badCalls])
  },
)

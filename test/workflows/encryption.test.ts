import { execFile } from 'node:child_process'
import { randomBytes, randomUUID } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { json } from 'node:stream/consumers'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import type { Saga } from '../../src/http/schemas/saga.js'
import { Sagas } from '../helpers/sagas.js'
import { query, readShared } from '../helpers/shared.js'
import { startSystem, type System } from '../helpers/system.js'
import { until } from '../helpers/until.js'

const makeKey = (id: string) => `${id}:${randomBytes(32).toString('base64')}`
const [k1, k2] = [makeKey('k1'), makeKey('k2')]

/** What the payment service makes of a card; `stuck` says how often it refuses to undo it. */
type Card = 'good' | 'refused' | 'stuck1' | 'stuck2' | 'slow'

/** What somebody would give, as no other saga has it. */
function makeInput(card: Card = 'good') {
  // Without digits: those of the payment are secret also where they stand in the name.
  const id = randomUUID().replace(/\d/g, (digit) => 'ghijklmnop'.charAt(Number(digit)))
  return { username: `name-${id}`, address: '1 High Street', payment: `card-${card}-${id}` }
}
type Input = ReturnType<typeof makeInput>

const hers = { step: 'C', action: 'retry', reason: 'looked at it', actor: 'grace' }

async function start(sagas: Sagas, input: Input): Promise<string> {
  const response = await sagas.post('/saga', { ...input, failures: {} })
  expect(response.status).toBe(202)
  const { sagaId } = (await response.json()) as { sagaId: string }
  sagas.started.push(sagaId)
  return sagaId
}

const needsAttention = (sagas: Sagas, sagaId: string, decisions = 0) =>
  until(`${sagaId} waits for a person after ${decisions} decisions`, async () => {
    const log = await sagas.log(sagaId)
    return log.filter((row) => row === 'COMPENSATE_C stuck').length > decisions && sagas.get(sagaId)
  })

async function program(name: string, where: Sagas['where'], keys: string, ...args: string[]) {
  return promisify(execFile)(process.execPath, [join('dist', name), ...args], {
    env: {
      ...process.env,
      DATABASE_URL: where.database,
      TEMPORAL_ADDRESS: readShared().temporal,
      TEMPORAL_NAMESPACE: where.namespace,
      PAYLOAD_KEYS: keys,
      SERVICE_C_URL: paymentUrl(),
    },
  })
}

/** Whether a text stands in a file of Temporal's database: as it is, in hex, or in base64 wherever it begins. */
function isInTemporal(text: string): boolean {
  const forms = [text, Buffer.from(text).toString('hex'), ...[0, 1, 2].map((before) => inBase64(text, before))]
  const file = join(readShared().folder, 'temporal.db')
  return [file, `${file}-wal`, `${file}-shm`]
    .filter((one) => existsSync(one))
    .map((one) => readFileSync(one))
    .some((bytes) => forms.some((form) => bytes.includes(form)))
}

/** What base64 makes of it behind so many bytes, but for the letters that its neighbours have a part in. */
function inBase64(text: string, before: number): string {
  const whole = Buffer.from(' '.repeat(before) + text)
  const end = whole.length - (whole.length % 3)
  return whole
    .subarray(0, end)
    .toString('base64')
    .slice(before === 0 ? 0 : 4)
}

/** Whether a text stands in any saga's row; the payment is only ever shown masked. */
async function isInRows({ where }: Sagas, text: string): Promise<boolean> {
  const rows = await query(where.database, `SELECT 1 FROM saga WHERE strpos(saga::text, $1) > 0`, [text])
  return rows.length > 0
}

/** What the payment service knows of each saga: its card, how often it was asked, and what it was told to undo. */
const asked = new Map<string, { payment: string; invokes: number; undos: object[] }>()

/** C, in the words of docs/participant-protocol.md. What it refuses it speaks of, and says whose it was. */
async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const body = (await json(request)) as { input?: { payment?: string } }
  const sagaId = String(request.headers['saga-id'])
  const known = asked.get(sagaId) ?? { payment: body.input?.payment ?? '', invokes: 0, undos: [] }
  asked.set(sagaId, known)
  const { payment } = known
  const [, card = '', id = ''] = /^card-([^-]+)-(.+)$/.exec(payment) ?? []
  const say = (status: number, answer: object) => {
    response.writeHead(status, { 'content-type': status === 200 ? 'application/json' : 'application/problem+json' })
    response.end(JSON.stringify(answer))
  }
  const problem = (type: string) => ({ type: `urn:saga-participant:${type}`, detail: `no ${payment} of name-${id}` })
  if (request.url === '/invoke') {
    known.invokes += 1
    if (card === 'slow' && known.invokes < 3) return
    if (card === 'good' || card === 'slow') return say(200, { verdict: 'applied', result: { paymentId: 7 } })
    return say(422, problem('rejected'))
  }
  if (request.url !== '/compensate') return say(501, problem('not-offered'))
  known.undos.push(body)
  const refusals = Number(/^stuck(\d)/.exec(card)?.[1] ?? 0)
  return known.undos.length > refusals ? say(200, { verdict: 'done' }) : say(400, problem('invalid-call'))
}
const paymentService: Server = createServer((request, response) => void answer(request, response))

const paymentUrl = () => `http://127.0.0.1:${(paymentService.address() as AddressInfo).port}`

let plain: Sagas
let encrypted: Sagas
let rotating: System
/** Its keys are taken away and given back. */
let rotated: Sagas
const systems: System[] = []

beforeAll(async () => {
  await new Promise<void>((resolve) => paymentService.listen(0, '127.0.0.1', resolve))
  const begin = async (name: string, env: Record<string, string>) => {
    const system = await startSystem(name, { ...env, SERVICE_C_URL: paymentUrl() })
    systems.push(system)
    return system
  }
  const [one, two, three] = await Promise.all([
    begin('encryption-none', {}),
    begin('encryption', { PAYLOAD_KEYS: k1 }),
    begin('encryption-tasks-fail', { PAYLOAD_KEYS: k1, SAGA_STEP_TIMEOUT_MS: '1000' }),
  ])
  plain = new Sagas(one.where)
  encrypted = new Sagas(two.where)
  rotating = three
  rotated = new Sagas(three.where)
})
afterAll(async () => {
  await Promise.all(systems.map((system) => system.stop()))
  paymentService.closeAllConnections()
  paymentService.close()
})

// Without keys everything is found: so the search would find it.
const kinds = [
  { keys: 'without keys', of: () => plain, isFound: true },
  { keys: 'with keys', of: () => encrypted, isFound: false },
]

for (const { keys, of, isFound } of kinds) {
  const found = isFound ? 'has' : 'has nothing of'
  const secretsOf = (...inputs: Input[]) => inputs.flatMap(({ username, payment }) => [username, payment])
  const all = (...secrets: string[]) => secrets.map(() => isFound)

  test.concurrent(`${keys} Temporal ${found} what a saga that completes was given`, async () => {
    const input = makeInput()
    const sagaId = await start(of(), input)
    expect(await of().ended(sagaId)).toMatchObject({
      status: 'COMPLETED',
      input: { username: input.username, payment: `****${input.payment.slice(-4)}` },
    })
    const secrets = secretsOf(input)
    expect(secrets.map(isInTemporal)).toEqual(all(...secrets))
    expect(await isInRows(of(), input.payment)).toBe(false)
  })

  test.concurrent(`${keys} it ${found} what a participant says of a saga that fails`, async () => {
    const input = makeInput('refused')
    const sagaId = await start(of(), input)
    expect(await of().ended(sagaId)).toMatchObject({
      status: 'COMPENSATED',
      error: { type: 'Rejected', message: `no **** of ${input.username}` },
    })
    const { status, failure } = await of().closing(sagaId)
    expect({ status, type: failure?.type }).toEqual({ status: 'FAILED', type: 'SagaCompensated' })
    expect(failure?.message).toMatch(isFound ? input.username : /^Encoded failure$/)
    const secrets = secretsOf(input)
    expect(secrets.map(isInTemporal)).toEqual(all(...secrets))
  })

  test.concurrent(`${keys} it ${found} what a person corrects, and the saga's row the same`, async () => {
    const [input, corrected] = [makeInput('stuck2'), makeInput()]
    const sagaId = await start(of(), input)
    await needsAttention(of(), sagaId)
    expect(await isInRows(of(), input.payment)).toBe(isFound)
    const decision = { ...hers, input: { payment: corrected.payment, name: corrected.username } }
    expect((await of().post(`/saga/${sagaId}/decision`, decision)).status).toBe(200)
    // Refused once more: what the person gave is kept meanwhile.
    await needsAttention(of(), sagaId, 1)
    const secrets = secretsOf(corrected)
    expect(await Promise.all(secrets.map((secret) => isInRows(of(), secret)))).toEqual(all(...secrets))
    expect((await of().post(`/saga/${sagaId}/decision`, { ...hers, ...decision })).status).toBe(200)
    expect(await of().ended(sagaId)).toMatchObject({ status: 'COMPENSATED' })
    expect(asked.get(sagaId)?.undos).toEqual([{}, { input: decision.input }, { input: decision.input }])
    expect([...secrets, ...secretsOf(input)].map(isInTemporal)).toEqual([...all(...secrets), ...all(...secrets)])
    expect(await Promise.all(secrets.map((secret) => isInRows(of(), secret)))).toEqual([false, false])
  })
}

test.concurrent('what the CLI sends in the clear works, and only that stays in the clear', async () => {
  const input = makeInput('stuck1')
  const sagaId = `encryption-cli-${randomUUID()}`
  await encrypted.temporal(
    ...['workflow', 'start', '--type', 'createUserSaga', '--task-queue', 'saga', '--workflow-id', sagaId],
    ...['--input', JSON.stringify({ ...input, failures: {} })],
  )
  encrypted.started.push(sagaId)
  await until('it has a row', async () => (await encrypted.request(`/saga/${sagaId}`)).ok)
  await needsAttention(encrypted, sagaId)
  expect(await isInRows(encrypted, input.payment)).toBe(false)
  // It could not read the answer, so it does not wait for one.
  await encrypted.temporal(
    ...['workflow', 'update', 'start', '--workflow-id', sagaId, '--name', 'decide', '--input', JSON.stringify(hers)],
    ...['--wait-for-stage', 'accepted'],
  )
  expect(await encrypted.ended(sagaId)).toMatchObject({ status: 'COMPENSATED' })
  const history = await encrypted.temporal('workflow', 'show', '--workflow-id', sagaId, '--output', 'json')
  const clear = [...history.matchAll(/"data": *"([^"]+)"/g)].filter(([, data = '']) =>
    Buffer.from(data, 'base64').includes(input.payment),
  )
  expect(clear).toHaveLength(1)
})

test.concurrent('the same start again is known again, and another under its key is refused', async () => {
  const input = makeInput()
  const headers = { 'idempotency-key': randomUUID() }
  const one = await encrypted.post('/saga', { ...input, failures: {} }, headers)
  const two = await encrypted.post('/saga', { failures: {}, ...input }, headers)
  const other = await encrypted.post('/saga', { ...input, payment: 'another card', failures: {} }, headers)
  expect([one.status, two.headers.get('idempotent-replayed'), other.status]).toEqual([202, 'true', 422])
  const { sagaId } = (await one.json()) as Saga
  expect(await two.json()).toMatchObject({ sagaId })
  expect(await encrypted.ended(sagaId)).toMatchObject({ status: 'COMPLETED' })
  encrypted.started.push(sagaId)
})

test.concurrent('a saga whose run was terminated is taken up again from what its row has encrypted', async () => {
  const sagaId = await start(encrypted, makeInput('slow'))
  await encrypted.logged(sagaId, 'B success 1')
  await encrypted.temporal('workflow', 'terminate', '--workflow-id', sagaId, '--reason', 'by mistake')
  expect(await encrypted.ended(sagaId)).toMatchObject({ status: 'COMPENSATED', error: { type: 'Terminated' } })
})

/** How often an event stands in the saga's history. */
async function events(of: Sagas, sagaId: string, type: string): Promise<number> {
  const history = JSON.parse(await of.temporal('workflow', 'show', '--workflow-id', sagaId, '--output', 'json'))
  return history.events.filter(({ eventType }: { eventType: string }) => eventType === `EVENT_TYPE_${type}`).length
}

test.concurrent('sagas that are under way outlive a change of keys, and stand still while theirs is gone', async () => {
  const input = makeInput('stuck1')
  const parked = await start(rotated, input)
  // Its second attempt, which Temporal keeps with its input, is under way when the process is killed.
  const calling = await start(rotated, makeInput('slow'))
  await needsAttention(rotated, parked)
  await until('C is called once more', () => asked.get(calling)?.invokes === 2)
  await rotating.kill()

  // Dropped too early, and then all of them.
  for (const keys of [k2, '']) {
    const before = rotating.log().length
    await rotating.restart({ PAYLOAD_KEYS: keys })
    expect(await rotated.get(parked)).toMatchObject({ status: 'NEEDS_ATTENTION', input: { username: input.username } })
    const decided = await rotated.post(`/saga/${parked}/decision`, hers)
    expect(decided.status).toBe(503)
    expect(await decided.json()).toMatchObject({ detail: expect.stringContaining('a key that is missing here') })
    await rotated.temporal('workflow', 'signal', '--workflow-id', parked, '--name', 'nudge')
    const toSay = 'encrypted with the key \\"k1\\", which PAYLOAD_KEYS does not have here. Put it back'
    for (const event of ['Failed to process Workflow Activation', 'A key is missing']) {
      await until(`the log says ${event}`, () => {
        const lines = rotating.log().slice(before).split('\n')
        return lines.some((line) => line.includes(`"msg":"${event}"`) && line.includes(toSay))
      })
    }
    await until('C has been tried in vain', async () => (await events(rotated, calling, 'ACTIVITY_TASK_FAILED')) > 0)
    await rotating.kill()
  }
  for (const secret of [k1, k2]) expect(rotating.log()).not.toContain(secret.slice(3, 20))

  // As it should have been.
  await rotating.restart({ PAYLOAD_KEYS: `${k2},${k1}` })
  expect(await rotated.ended(calling)).toMatchObject({ status: 'COMPLETED' })
  expect(asked.get(calling)).toMatchObject({ invokes: 3, undos: [] })
  expect(await rotated.log(calling)).not.toContain('ROLLBACK triggered')
  expect((await rotated.post(`/saga/${parked}/decision`, hers)).status).toBe(200)
  expect(await rotated.ended(parked)).toMatchObject({ status: 'COMPENSATED' })

  const next = await start(rotated, makeInput('stuck1'))
  await needsAttention(rotated, next)
  const history = await rotated.temporal('workflow', 'show', '--workflow-id', next, '--output', 'json')
  const ids = [...history.matchAll(/"encryption-key-id": *"([^"]+)"/g)].map(([, id = '']) => id)
  expect([...new Set(ids)].map((id) => Buffer.from(id, 'base64').toString())).toEqual(['k2'])
  expect((await rotated.post(`/saga/${next}/decision`, hers)).status).toBe(200)
  expect(await rotated.ended(next)).toMatchObject({ status: 'COMPENSATED' })
}, 240_000)

test('every run replays with its keys, and none without', async () => {
  for (const [of, keys] of [
    [encrypted, k1],
    [rotated, `${k2},${k1}`],
  ] as const) {
    expect(of.started.length).toBeGreaterThan(0)
    const { stdout } = await program('replay.js', of.where, keys, ...of.started)
    expect(stdout.trim().split('\n')).toHaveLength(of.started.length)
  }
  const without = program('replay.js', encrypted.where, '', ...encrypted.started)
  await expect(without).rejects.toMatchObject({
    code: 1,
    stdout: expect.stringContaining('which PAYLOAD_KEYS does not have here'),
  })
})

test('every saga agrees with its log, its barriers and its encrypted history', async () => {
  for (const [of, keys] of [
    [encrypted, k1],
    [rotated, `${k2},${k1}`],
  ] as const) {
    const { stdout } = await program('audit.js', of.where, keys, '--json')
    expect(JSON.parse(stdout)).toMatchObject({ forgotten: 0, disagreements: [] })
  }
  const without = program('audit.js', encrypted.where, '')
  await expect(without).rejects.toMatchObject({ code: 1, stderr: expect.stringContaining('PAYLOAD_KEYS') })
})

import { createHash, randomUUID } from 'node:crypto'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { json } from 'node:stream/consumers'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import type { Saga } from '../../src/http/schemas/saga.js'
import { hashedText } from '../../src/saga/node/saga-store.js'
import { Sagas } from '../helpers/sagas.js'
import { query } from '../helpers/shared.js'
import { startSystem, type System } from '../helpers/system.js'
import { until } from '../helpers/until.js'

// A payment service that speaks of the cards that it is given: nobody is to hear of them.

interface Answer {
  status: number
  detail?: string
}
const fine: Answer = { status: 200 }

/** What it answers to the calls for a card, in their order; from then on that all is well. */
interface Card {
  invoke?: Answer[]
  compensate?: Answer[]
  /** The bodies that it was sent. */
  sent: { invoke: object[]; compensate: object[] }
}
const cards = new Map<string, Card>()
/** Which card a saga came with. */
const cardOf = new Map<string, Card>()

async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const body = (await json(request)) as { input?: { payment?: string } }
  const sagaId = String(request.headers['saga-id'])
  const operation = request.url === '/invoke' ? 'invoke' : request.url === '/compensate' ? 'compensate' : undefined
  const card = cardOf.get(sagaId) ?? cards.get(body.input?.payment ?? '')
  if (card) cardOf.set(sagaId, card)
  const { status, detail } = operation ? (card?.[operation]?.shift() ?? fine) : { status: 501, detail: '' }
  if (operation) card?.sent[operation].push(body)
  // Until nobody waits any more.
  if (status === 0) return
  const type = { 400: 'invalid-call', 422: 'rejected' }[status] ?? 'outcome-unknown'
  response.writeHead(status, { 'content-type': status === 200 ? 'application/json' : 'application/problem+json' })
  const done = { verdict: operation === 'invoke' ? 'applied' : 'done', result: { paymentId: 7 } }
  response.end(JSON.stringify(status === 200 ? done : { type: `urn:saga-participant:${type}`, detail }))
}

const server: Server = createServer((request, response) => void answer(request, response))
let system: System
let sagas: Sagas

beforeAll(async () => {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  system = await startSystem('secrets', { SERVICE_C_URL: url, FAILURE_INJECTION: 'off', SAGA_STEP_TIMEOUT_MS: '1000' })
  sagas = new Sagas(system.where)
})
afterAll(async () => {
  await system?.stop()
  server.closeAllConnections()
  server.close()
})

/** A card of a saga's own. It starts like no payment card, so that only who knows it is secret masks it. */
function makeCard({ invoke = [], compensate = [] }: Partial<Pick<Card, 'invoke' | 'compensate'>> = {}) {
  const digits = Array.from({ length: 12 }, () => Math.floor(Math.random() * 10)).join('')
  const payment = `9929 ${digits.replace(/^(.{4})(.{4})/, '$1 $2 ')}`
  const card: Card = { sent: { invoke: [], compensate: [] } }
  const quoting = (answers: Answer[]) =>
    answers.map(({ status, detail }) => ({ status, detail: detail?.replaceAll('CARD', payment) ?? '' }))
  Object.assign(card, { invoke: quoting(invoke), compensate: quoting(compensate) })
  cards.set(payment, card)
  return { payment, input: { username: 'ada', address: '12 Byron Street', payment }, card }
}

async function start(input: object): Promise<string> {
  const response = await sagas.post('/saga', input)
  expect(response.status).toBe(202)
  return ((await response.json()) as Saga).sagaId
}

/** All that is told of a saga: by the API, by the tables, and by the process. */
async function told(sagaId: string): Promise<string> {
  const saga = await sagas.get(sagaId)
  const plan = await (await sagas.request(`/saga/${sagaId}/plan`)).json()
  const { database } = sagas.where
  const rows = await query(
    database,
    // What is kept until it has ended, to go on with, is no message.
    `SELECT CASE WHEN ended_at IS NULL THEN to_jsonb(saga) - 'input' - 'steps' - 'compensations' ELSE to_jsonb(saga) END AS row,
       (SELECT jsonb_agg(to_jsonb(saga_log)) FROM saga_log WHERE saga_log.saga_id = saga.saga_id) AS log,
       (SELECT jsonb_agg(to_jsonb(saga_bulk)) FROM saga_bulk WHERE saga_bulk.bulk_id = saga.bulk_id) AS bulk
     FROM saga WHERE saga_id = $1`,
    [sagaId],
  )
  return JSON.stringify([saga, plan, await sagas.logRows(sagaId), rows]) + system.log()
}

/** What of a text shows a card: eight of its digits and more, whatever separates them. */
function shown(text: string, payment: string): string[] {
  const digits = payment.replaceAll(/\D/g, '')
  const parts = Array.from({ length: digits.length - 7 }, (_, i) => digits.slice(i, i + 8))
  return parts.flatMap((part) => [...(text.match(new RegExp(part.split('').join('[^0-9a-z]{0,4}'), 'g')) ?? [])])
}

const needsAttention = (sagaId: string, decisions = 0) =>
  until(`${sagaId} waits for a person`, async () => {
    const log = await sagas.log(sagaId)
    return log.filter((row) => row.endsWith(' stuck')).length > decisions && sagas.get(sagaId)
  })

const decide = (sagaId: string, decision: object) =>
  sagas.post(`/saga/${sagaId}/decision`, { step: 'C', action: 'retry', actor: 'grace', reason: 'mended', ...decision })

const refused: Answer = { status: 422, detail: 'card CARD is refused' }
const stuck: Answer = { status: 400, detail: 'card CARD cannot be refunded' }

test('of a bulk that is compensated after all, neither its participants nor the reason show a payment', async () => {
  const all = [makeCard({ compensate: [{ status: 500, detail: 'card CARD cannot be refunded' }] }), makeCard()]
  const response = await sagas.post('/saga/bulk', { sagas: all.map(({ input }) => input) })
  expect(response.status).toBe(202)
  const { bulkId } = (await response.json()) as { bulkId: string }
  const bulk = async () => (await (await sagas.request(`/saga/bulk/${bulkId}`)).json()) as Record<string, number>
  await until('the bulk has completed', async () => (await bulk())['completed'] === 2)
  const kept = await query(sagas.where.database, 'SELECT secrets FROM saga WHERE bulk_id = $1', [bulkId])
  expect(kept).toEqual(Array(2).fill({ secrets: [{ keyId: '(installation)', sealed: expect.any(String) }] }))

  const reason = `${all.map(({ payment }) => payment.replaceAll(' ', '-')).join(' and ')} were stolen`
  const order = { reason, actor: 'grace', expected: 2 }
  expect((await sagas.post(`/saga/bulk/${bulkId}/compensate`, order)).status).toBe(202)
  await until('it is compensated', async () => (await bulk())['compensated'] === 2)
  const failures = [
    { type: 'CompensationRequested', message: 'compensated by grace: **** and **** were stolen', count: 2 },
  ]
  expect(await bulk()).toMatchObject({ failures })
  const rows = await query<{ saga_id: string; secrets: null }>(
    sagas.where.database,
    'SELECT saga_id, secrets FROM saga WHERE bulk_id = $1 ORDER BY bulk_position',
    [bulkId],
  )
  expect(rows.map(({ secrets }) => secrets)).toEqual([null, null])
  const texts = await Promise.all(rows.map(({ saga_id }) => told(saga_id)))
  expect(texts[0]).toContain('payment answered 500: card **** cannot be refunded')
  for (const { payment } of all) expect(shown(JSON.stringify(await bulk()) + texts.join(), payment)).toEqual([])
})

test('what a person corrects is as secret as what it stands for, in what participants say and in the reason', async () => {
  const { input, payment, card } = makeCard({ invoke: [refused], compensate: [stuck] })
  const corrected = makeCard().payment
  card.compensate?.push({ status: 400, detail: `card ${corrected.replaceAll(' ', '')} cannot be refunded` })
  const sagaId = await start(input)
  expect(await needsAttention(sagaId)).toMatchObject({
    compensations: expect.arrayContaining([
      expect.objectContaining({
        step: 'C',
        error: expect.objectContaining({ message: expect.stringContaining('card ****') }),
      }),
    ]),
  })
  const decision = { reason: `it is ${corrected}, not ${payment}`, input: { userId: 1, payment: corrected } }
  expect((await decide(sagaId, decision)).status).toBe(200)
  await needsAttention(sagaId, 1)
  const meanwhile = await told(sagaId)
  expect(meanwhile).toContain('it is ****, not ****')
  expect([...shown(meanwhile, payment), ...shown(meanwhile, corrected)]).toEqual([])
  expect((await decide(sagaId, {})).status).toBe(200)
  expect(await sagas.ended(sagaId)).toMatchObject({ status: 'COMPENSATED' })
  expect(card.sent.compensate).toEqual([{}, { input: decision.input }, { input: decision.input }])
  const text = await told(sagaId)
  expect([...shown(text, payment), ...shown(text, corrected)]).toEqual([])
})

test('a payment is masked in whatever way a participant spells it', async () => {
  const { input, payment, card } = makeCard()
  const digits = payment.replaceAll(' ', '')
  const spellings = [
    digits,
    payment.replaceAll(' ', '-'),
    payment.slice(0, 14),
    encodeURIComponent(payment),
    digits.slice(-8),
  ]
  card.invoke = [
    { status: 422, detail: [...spellings, '4111 1111 1111 1111, and DE89370400440532013000'].join(' and ') },
  ]
  const sagaId = await start(input)
  expect(await sagas.ended(sagaId)).toMatchObject({
    error: { type: 'Rejected', message: '**** and **** and **** and **** and **** and ****, and ****' },
  })
  const text = await told(sagaId)
  expect([...shown(text, payment), ...shown(text, '4111111111111111'), ...shown(text, '370400440532013000')]).toEqual(
    [],
  )
})

test('the reason of a cancel shows no payment', async () => {
  const { input, payment } = makeCard({ invoke: [{ status: 0 }] })
  const sagaId = await start(input)
  await sagas.logged(sagaId, 'B success 1')
  const reason = `${payment.replaceAll(' ', '')} was stolen`
  expect((await sagas.post(`/saga/${sagaId}/cancel`, { reason, actor: 'grace' })).status).toBe(202)
  expect(await sagas.ended(sagaId)).toMatchObject({
    error: { type: 'Cancelled', message: 'cancelled by grace: **** was stolen' },
  })
  expect(shown(await told(sagaId), payment)).toEqual([])
})

test('the reason of a cancelled bulk shows no payment of any of its sagas', async () => {
  const all = [makeCard({ invoke: [{ status: 0 }] }), makeCard({ invoke: [{ status: 0 }] })]
  const response = await sagas.post('/saga/bulk', { sagas: all.map(({ input }) => input) })
  const { bulkId } = (await response.json()) as { bulkId: string }
  await until('both are called', () => all.every(({ card }) => card.sent.invoke.length > 0))
  const order = { reason: `stop ${all[0]?.payment} and ${all[1]?.payment}`, actor: 'grace', expected: 2 }
  expect((await sagas.post(`/saga/bulk/${bulkId}/cancel`, order)).status).toBe(202)
  const rows = await query<{ saga_id: string }>(sagas.where.database, 'SELECT saga_id FROM saga WHERE bulk_id = $1', [
    bulkId,
  ])
  for (const { saga_id } of rows) {
    expect(await sagas.ended(saga_id)).toMatchObject({ error: { message: 'cancelled by grace: stop **** and ****' } })
    for (const { payment } of all) expect(shown(await told(saga_id), payment)).toEqual([])
  }
})

test('the lines that a bulk has left out are told of without what stood in them', async () => {
  const { input } = makeCard()
  const wrong = { ...input, '4111 1111 1111 1111': 'x', DE89370400440532013000: 'y' }
  const response = await sagas.post('/saga/bulk?onInvalid=skip', { sagas: [input, wrong] })
  const { bulkId } = (await response.json()) as { bulkId: string }
  const bulk = await (await sagas.request(`/saga/bulk/${bulkId}`)).json()
  expect(bulk).toMatchObject({
    rejections: [{ line: 2, errors: [{ path: '/****', message: 'is not a field of this' }, {}] }],
  })
  const rows = await query(sagas.where.database, 'SELECT rejections::text FROM saga_bulk WHERE bulk_id = $1', [bulkId])
  expect(JSON.stringify([bulk, rows])).not.toMatch(/4111|3704/)
})

test('the reason of a decision for many shows no payment of any of its sagas', async () => {
  const { input, payment } = makeCard({ invoke: [refused], compensate: [stuck] })
  const sagaId = await start(input)
  await needsAttention(sagaId)
  const order = { filter: { step: 'C' }, action: 'retry', reason: `mended ${payment}`, actor: 'grace' }
  const response = await sagas.post('/saga/decisions', order)
  expect(response.status).toBe(202)
  const { decisionsId } = (await response.json()) as { decisionsId: string }
  expect(await sagas.ended(sagaId)).toMatchObject({ status: 'COMPENSATED' })
  const progress = await (await sagas.request(`/saga/decisions/${decisionsId}`)).json()
  expect(progress).toMatchObject({ reason: 'mended ****' })
  expect(shown(await told(sagaId), payment)).toEqual([])
})

test('an input that looks like something encrypted is kept as it was given', async () => {
  const { input, card } = makeCard({ invoke: [refused], compensate: [stuck] })
  const sagaId = await start(input)
  await needsAttention(sagaId)
  const given = { keyId: 'x', sealed: 'y' }
  expect((await decide(sagaId, { input: given })).status).toBe(200)
  expect(await sagas.ended(sagaId)).toMatchObject({ status: 'COMPENSATED' })
  expect(card.sent.compensate).toEqual([{}, { input: given }])
})

test('a decision that nobody can read is replaced by the next one', async () => {
  const { input, card } = makeCard({ invoke: [refused], compensate: [stuck] })
  const sagaId = await start(input)
  await needsAttention(sagaId)
  // As an earlier version has kept what looked like something encrypted.
  const made = { step: 'C', action: 'retry', actor: 'ada', reason: 'mended', number: 1, isTaken: false }
  await query(
    sagas.where.database,
    `UPDATE saga SET decided_at = now() - interval '1 h', status = 'COMPENSATING', compensations = (
       SELECT jsonb_agg(CASE one ->> 'step' WHEN 'C' THEN one || $2 ELSE one END) FROM jsonb_array_elements(compensations) AS one
     ) WHERE saga_id = $1`,
    [sagaId, JSON.stringify({ status: 'pending', decision: { ...made, input: { keyId: 'x', sealed: 'y' } } })],
  )
  expect(await sagas.get(sagaId)).toMatchObject({ status: 'COMPENSATING' })
  expect((await decide(sagaId, { input: { payment: 'another' } })).status).toBe(200)
  expect(await sagas.ended(sagaId)).toMatchObject({ status: 'COMPENSATED' })
  expect(card.sent.compensate).toEqual([{}, { input: { payment: 'another' } }])
})

test('what stays of an input is no hash that anybody can try payments on', async () => {
  const { input } = makeCard({ invoke: [refused], compensate: [stuck] })
  const sagaId = await start(input)
  await needsAttention(sagaId)
  expect((await decide(sagaId, { input: { payment: 'another' } })).status).toBe(200)
  await sagas.ended(sagaId)
  const [row] = await query<{ row: object }>(
    sagas.where.database,
    'SELECT to_jsonb(saga) AS row FROM saga WHERE saga_id = $1',
    [sagaId],
  )
  const plain = createHash('sha256').update(hashedText(input, undefined)).digest('base64')
  expect(JSON.stringify(row)).not.toContain(plain)
  expect(row).toMatchObject({
    row: { input: null, secrets: null, input_hash: expect.stringMatching(/^\(installation\):/) },
  })
  expect(JSON.stringify(row)).toMatch(/"digest":"\(installation\):/)
  const key = { 'idempotency-key': randomUUID() }
  const [one, again, other] = [
    await sagas.post('/saga', input, key),
    await sagas.post('/saga', input, key),
    await sagas.post('/saga', { ...input, username: 'grace' }, key),
  ]
  expect([one.status, again.headers.get('idempotent-replayed'), other.status]).toEqual([202, 'true', 422])
})

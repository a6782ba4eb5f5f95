import { createCipheriv, createHash, createSecretKey, randomBytes } from 'node:crypto'
import { expect, test } from '@jest/globals'
import { defaultPayloadConverter, type Payload } from '@temporalio/common'
import { PayloadKeys, UnreadablePayload } from '../../src/saga/node/payload-keys.js'
import type { Json } from '../../src/saga/types.js'

const k1 = { id: 'k1', key: createSecretKey(randomBytes(32)) }
const k2 = { id: 'k2', key: createSecretKey(randomBytes(32)) }
const none = new PayloadKeys([])
const first = new PayloadKeys([k1])
const rotated = new PayloadKeys([k2, k1])

const secret = { payment: '4111 1111 1111 1234', name: 'Grace Brewster Murray Hopper' }
const clear = defaultPayloadConverter.toPayload(secret)

async function encoded(keys: PayloadKeys, payload: Payload = clear): Promise<Payload> {
  const [one] = await keys.encode([payload])
  if (!one) throw new Error('nothing was encoded')
  return one
}

/** Everything of a payload that is stored, as text. */
const stored = ({ metadata, data }: Payload) =>
  [...Object.values(metadata ?? {}), data ?? new Uint8Array()]
    .map((bytes) => Buffer.from(bytes).toString('latin1'))
    .join()

test('a payload comes back as it was, its metadata too, and names its key', async () => {
  const one = await encoded(first)
  expect(Buffer.from(one.metadata?.['encoding'] ?? []).toString()).toBe('binary/encrypted')
  expect(Buffer.from(one.metadata?.['encryption-key-id'] ?? []).toString()).toBe('k1')
  expect(stored(one)).not.toMatch(/4111|Hopper|json/)
  const [back] = await first.decode([one])
  expect(defaultPayloadConverter.fromPayload(back ?? {})).toEqual(secret)
  expect(await first.decode([await encoded(first, { metadata: {} })])).toMatchObject([{}])
})

test('the same payload is never the same bytes twice', async () => {
  const many = await Promise.all(Array.from({ length: 100 }, () => encoded(first)))
  expect(new Set(many.map(stored)).size).toBe(100)
})

test('the first key encrypts, every key decrypts', async () => {
  expect(stored(await encoded(rotated))).toContain('k2')
  const [back] = await rotated.decode([await encoded(first)])
  expect(defaultPayloadConverter.fromPayload(back ?? {})).toEqual(secret)
})

test('what never was encrypted passes, with keys and without', async () => {
  expect(await first.decode([clear, {}])).toEqual([clear, {}])
  expect(await none.encode([clear])).toEqual([clear])
})

test('a key that is not there is named, with what to do', async () => {
  for (const keys of [none, new PayloadKeys([k2])]) {
    const reading = keys.decode([await encoded(first)])
    await expect(reading).rejects.toThrow(UnreadablePayload)
    await expect(reading).rejects.toThrow(/the key "k1", which PAYLOAD_KEYS does not have here\. Put it back/)
  }
})

test.each([
  { what: 'another key under its id', change: (one: Payload) => one, keys: new PayloadKeys([{ ...k2, id: 'k1' }]) },
  { what: 'a bit of its data changed', change: (one: Payload) => flipped(one, 20) },
  { what: 'a bit of its nonce changed', change: (one: Payload) => flipped(one, 0) },
  { what: 'a bit of its tag changed', change: (one: Payload) => flipped(one, -1) },
  { what: 'nothing but its mark', change: ({ metadata }: Payload): Payload => ({ metadata: metadata ?? {} }) },
  {
    what: 'half a tag',
    change: ({ metadata, data }: Payload) => ({
      metadata: metadata ?? {},
      data: (data ?? []).slice(0, 20) as Uint8Array,
    }),
  },
  {
    what: 'the id of another key',
    change: (one: Payload) => ({ ...one, metadata: { ...one.metadata, 'encryption-key-id': Buffer.from('k2') } }),
    keys: new PayloadKeys([k1, { id: 'k2', key: k1.key }]),
  },
])('a payload with $what is refused, and nothing of it is given away', async ({ change, keys = first }) => {
  const reading = keys.decode([change(await encoded(first))])
  await expect(reading).rejects.toThrow(UnreadablePayload)
  await expect(reading).rejects.toThrow(/does not fit: it is another key, or the data was changed/)
})

function flipped(payload: Payload, at: number): Payload {
  const data = Buffer.from(payload.data ?? [])
  const i = at < 0 ? data.length + at : at
  data[i] = (data[i] ?? 0) ^ 1
  return { ...payload, data }
}

const values: { value: Json }[] = [
  { value: secret },
  { value: 'a text' },
  { value: ['\0', '\ud800', 1, null, { a: [] }] },
  { value: { keyId: 'k1', sealed: 'AAAA' } },
  { value: { keyId: '', sealed: '1' } },
]
const here = { sagaId: 'one', purpose: 'input' }

test.each(values)('a kept value comes back as it was, whatever it looks like: $value', ({ value }) => {
  const kept = JSON.parse(JSON.stringify(first.seal(value, here))) as Json
  expect(Object.keys(kept as object)).toEqual(['keyId', 'sealed'])
  expect(rotated.open(kept, here)).toEqual(value)
  expect(() => none.open(kept, here)).toThrow(UnreadablePayload)
  expect(first.open(none.seal(value, here), here)).toEqual(value)
})

test('what is sealed for a saga opens in no other one, and for one purpose not for another', () => {
  const kept = first.seal(secret, here)
  for (const there of [
    { ...here, sagaId: 'two' },
    { ...here, purpose: 'secrets' },
    { sagaId: 'on', purpose: 'einput' },
  ]) {
    expect(() => first.open(kept, there)).toThrow(/does not fit: it is another key, or the data was changed/)
  }
  expect(() => first.openEarlier(kept)).toThrow(UnreadablePayload)
})

test('what is not of our making is unreadable, and nothing of it stands in the error', () => {
  for (const kept of [{ payment: '4929' }, '4929', { keyId: '', sealed: '4929x' }]) {
    expect(() => first.open(kept, here)).toThrow(UnreadablePayload)
    expect(() => first.open(kept, here)).not.toThrow(/4929/)
  }
  expect(none.seal(null, here)).toBeNull()
  expect(first.open(null, here)).toBeNull()
})

/** As the version before the envelopes had a place has kept it, with the key k1. */
function keptEarlier(value: Json): Json {
  const nonce = randomBytes(12)
  const cipher = createCipheriv('aes-256-gcm', k1.key, nonce).setAAD(Buffer.from('k1'))
  const parts = [nonce, cipher.update(JSON.stringify(value)), cipher.final(), cipher.getAuthTag()]
  return { keyId: 'k1', sealed: Buffer.concat(parts).toString('base64') }
}

test('what an earlier version has kept is read, in the clear as it is', () => {
  expect(rotated.openEarlier(keptEarlier(secret))).toEqual(secret)
  expect(first.openEarlier(secret)).toEqual(secret)
  expect(first.openEarlier(null)).toBeNull()
  expect(() => none.openEarlier(keptEarlier(secret))).toThrow(UnreadablePayload)
})

test('what an earlier version has handed to Temporal is read in every workflow', async () => {
  // It named no workflow.
  const earlier = await encoded(first)
  const [back] = await first.decode([earlier], { type: 'workflow', namespace: 'default', workflowId: 'any' })
  expect(back).toEqual((await first.decode([earlier]))[0])
})

test('a payload of one workflow opens in no other one, and where nobody says which one it is for', async () => {
  const of = (workflowId: string) => ({ type: 'workflow', namespace: 'default', workflowId }) as const
  const [one = {}] = await first.encode([clear], of('one'))
  expect(defaultPayloadConverter.fromPayload((await first.decode([one], of('one')))[0] ?? {})).toEqual(secret)
  const inActivity = { type: 'activity', namespace: 'default', workflowId: 'one', isLocal: true } as const
  expect(defaultPayloadConverter.fromPayload((await first.decode([one], inActivity))[0] ?? {})).toEqual(secret)
  // Temporal's Web UI and its CLI.
  expect(defaultPayloadConverter.fromPayload((await first.decode([one]))[0] ?? {})).toEqual(secret)
  await expect(first.decode([one], of('two'))).rejects.toThrow(/for workflow "one" and was found in workflow "two"/)
  const renamed = { ...one, metadata: { ...one.metadata, 'encryption-workflow-id': Buffer.from('two') } }
  await expect(first.decode([renamed], of('two'))).rejects.toThrow(UnreadablePayload)
  const { 'encryption-workflow-id': _, ...metadata } = one.metadata ?? {}
  await expect(first.decode([{ ...one, metadata }], of('two'))).rejects.toThrow(UnreadablePayload)
})

const installation = createSecretKey(randomBytes(32))
const installed = none.with(installation)

test('a hash knows its text again under whichever key it was made, and says nothing without that key', () => {
  const text = JSON.stringify(secret)
  const all = rotated.with(installation)
  for (const keys of [installed, first, rotated]) {
    expect(all.isHashOf(keys.hash(text), text)).toBe(true)
    expect(all.isHashOf(keys.hash(text), `${text} `)).toBe(false)
  }
  expect(() => none.isHashOf(first.hash(text), text)).toThrow(UnreadablePayload)
  expect(() => none.with(createSecretKey(randomBytes(32))).isHashOf(installed.hash(text), text)).not.toThrow()
})

test('without keys a hash has the key of the installation: the same text has another one elsewhere', () => {
  const plain = createHash('sha256').update('a text').digest('base64')
  expect(installed.hash('a text')).not.toContain(plain)
  expect(none.with(createSecretKey(randomBytes(32))).hash('a text')).not.toBe(installed.hash('a text'))
  expect(() => none.hash('a text')).toThrow(/key of the installation/)
  // As earlier versions have made it.
  expect(installed.isHashOf(plain, 'a text')).toBe(true)
})

test('what is hidden is encrypted without keys too, and not with the key of the installation where there are any', () => {
  const hidden = installed.hide([secret.payment], here)
  expect(JSON.stringify(hidden)).not.toContain('4111')
  expect(rotated.with(installation).open(hidden, here)).toEqual([secret.payment])
  expect(() => none.open(hidden, here)).toThrow(UnreadablePayload)
  expect(rotated.with(installation).hide([], here)).toMatchObject({ keyId: 'k2' })
})

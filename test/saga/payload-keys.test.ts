import { createSecretKey, randomBytes } from 'node:crypto'
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

test.each<{ value: Json }>([
  { value: secret },
  { value: 'a text' },
  { value: ['\0', '\ud800', 1, null, { a: [] }] },
  { value: { keyId: 'k1', sealed: 'AAAA' } },
])('a kept input comes back as it was: $value', ({ value }) => {
  const kept = JSON.parse(JSON.stringify(first.seal(value))) as Json
  expect(Object.keys(kept as object)).toEqual(['keyId', 'sealed'])
  expect(rotated.open(kept)).toEqual(value)
  expect(() => none.open(kept)).toThrow(UnreadablePayload)
})

test('an input that was kept in the clear is read as it is, and one that is erased stays so', () => {
  expect(first.open(secret)).toEqual(secret)
  expect(none.seal(secret)).toBe(secret)
  expect(first.seal(null)).toBeNull()
})

test('a hash knows its text again under whichever key it was made, and says nothing without that key', () => {
  const text = JSON.stringify(secret)
  for (const keys of [none, first, rotated]) {
    expect(rotated.isHashOf(keys.hash(text), text)).toBe(true)
    expect(rotated.isHashOf(keys.hash(text), `${text} `)).toBe(false)
  }
  expect(first.hash(text)).not.toContain(none.hash(text))
  expect(() => none.isHashOf(first.hash(text), text)).toThrow(UnreadablePayload)
})

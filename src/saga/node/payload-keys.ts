import {
  createCipheriv,
  createDecipheriv,
  createHash,
  createHmac,
  hkdfSync,
  randomBytes,
  type KeyObject,
} from 'node:crypto'
import type { Payload, PayloadCodec } from '@temporalio/common'
import proto from '@temporalio/proto'
import { FailureType } from '../errors.js'
import type { Json } from '../types.js'

/** A key of 256 bits. `id` stands beside everything that it has encrypted. */
export interface PayloadKey {
  id: string
  key: KeyObject
}

/** What the key's owner has to mend: nothing is decided on data that can't be read, whoever needs it waits. */
export class UnreadablePayload extends Error {
  override readonly name = FailureType.UnreadablePayload
}

const { Payload: WholePayload } = proto.temporal.api.common.v1

const CIPHER = 'aes-256-gcm'
const NONCE_BYTES = 12
const TAG_BYTES = 16

/** The mark of an encrypted payload, the same as in Temporal's samples of other languages. */
const ENCODING = 'binary/encrypted'

/** What a kept input is in the row: the JSON of it, encrypted. */
interface Sealed {
  keyId: string
  sealed: string
}

/**
 * The keys of one system, and what is encrypted with them: payloads for Temporal (a PayloadCodec), and JSON that is kept in
 * a row. The first encrypts, all decrypt; with none nothing is encrypted, and what is throws UnreadablePayload when it is
 * read. What never was encrypted is read as it is.
 */
export class PayloadKeys implements PayloadCodec {
  readonly #keys: ReadonlyMap<string, KeyObject>
  readonly #first: PayloadKey | undefined

  constructor(keys: readonly PayloadKey[]) {
    this.#keys = new Map(keys.map(({ id, key }) => [id, key]))
    this.#first = keys[0]
  }

  /** Whether anything is encrypted. */
  get areThere(): boolean {
    return this.#first !== undefined
  }

  async encode(payloads: Payload[]): Promise<Payload[]> {
    const first = this.#first
    if (!first) return payloads
    return payloads.map((payload) => ({
      metadata: { encoding: Buffer.from(ENCODING), 'encryption-key-id': Buffer.from(first.id) },
      data: encrypt(first, WholePayload.encode(payload).finish()),
    }))
  }

  async decode(payloads: Payload[]): Promise<Payload[]> {
    return payloads.map((payload) => {
      const { metadata, data } = payload
      if (textOf(metadata?.['encoding']) !== ENCODING) return payload
      const plain = this.#decrypt(textOf(metadata?.['encryption-key-id']), data ?? new Uint8Array())
      return WholePayload.decode(plain)
    })
  }

  /** As it is to be kept; null stays null. */
  seal(value: Json): Json {
    if (!this.#first || value === null) return value
    const sealed = encrypt(this.#first, Buffer.from(JSON.stringify(value))).toString('base64')
    return { keyId: this.#first.id, sealed }
  }

  /** What was sealed, or never was. */
  open(kept: Json): Json {
    if (!isSealed(kept)) return kept
    return JSON.parse(this.#decrypt(kept.keyId, Buffer.from(kept.sealed, 'base64')).toString()) as Json
  }

  /** Tells the same text again. With keys nobody else can try which text it was: there are not that many card numbers. */
  hash(text: string): string {
    return this.#first ? keyedHash(this.#first, text) : createHash('sha256').update(text).digest('base64')
  }

  /** Whether `hash` is of that text, with whichever key it was made, or with none. */
  isHashOf(hash: string, text: string): boolean {
    const id = /^(.*):/.exec(hash)?.[1]
    if (id === undefined) return hash === createHash('sha256').update(text).digest('base64')
    return hash === keyedHash({ id, key: this.#key(id) }, text)
  }

  #key(id: string): KeyObject {
    const key = this.#keys.get(id)
    if (key) return key
    throw new UnreadablePayload(
      `This is encrypted with the key ${shown(id)}, which PAYLOAD_KEYS does not have here. Put it back, behind the first one, and start again; what needs it waits until then.`,
    )
  }

  #decrypt(id: string, data: Uint8Array): Buffer {
    const key = this.#key(id)
    try {
      const decipher = createDecipheriv(CIPHER, key, data.subarray(0, NONCE_BYTES), { authTagLength: TAG_BYTES })
      decipher.setAAD(Buffer.from(id)).setAuthTag(data.subarray(-TAG_BYTES))
      return Buffer.concat([decipher.update(data.subarray(NONCE_BYTES, -TAG_BYTES)), decipher.final()])
    } catch (error) {
      throw new UnreadablePayload(
        `This says that it is encrypted with the key ${shown(id)}, and the one that PAYLOAD_KEYS has under that id does not fit: it is another key, or the data was changed. Put the right key back and start again; what needs it waits until then.`,
        { cause: error },
      )
    }
  }
}

/** Nonce, ciphertext, tag. The key's id is authenticated as well. */
function encrypt({ id, key }: PayloadKey, plain: Uint8Array): Buffer {
  const nonce = randomBytes(NONCE_BYTES)
  const cipher = createCipheriv(CIPHER, key, nonce, { authTagLength: TAG_BYTES }).setAAD(Buffer.from(id))
  return Buffer.concat([nonce, cipher.update(plain), cipher.final(), cipher.getAuthTag()])
}

function keyedHash({ id, key }: PayloadKey, text: string): string {
  const own = Buffer.from(hkdfSync('sha256', key, '', 'hash of what is kept', 32))
  return `${id}:${createHmac('sha256', own).update(text).digest('base64')}`
}

function shown(id: string): string {
  return JSON.stringify(id.slice(0, 100))
}

function isSealed(value: Json): value is Json & Sealed {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return false
  const { keyId, sealed, ...others } = value
  return typeof keyId === 'string' && typeof sealed === 'string' && Object.keys(others).length === 0
}

function textOf(bytes: Uint8Array | null | undefined): string {
  return Buffer.from(bytes ?? []).toString()
}

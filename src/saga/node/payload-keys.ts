import {
  createCipheriv,
  createDecipheriv,
  createHash,
  createHmac,
  hkdfSync,
  randomBytes,
  type KeyObject,
} from 'node:crypto'
import type { Payload, PayloadCodec, SerializationContext } from '@temporalio/common'
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

/** In its metadata: the workflow that an encrypted payload belongs to. */
const WORKFLOW_ID = 'encryption-workflow-id'

/** What is kept in a row: JSON, encrypted with the key of that id; with the empty id it is the JSON itself. */
export type Sealed = {
  keyId: string
  sealed: string
}

/** Which form a row, or a decision in it, keeps its values in; those of earlier versions have none, or 0. */
export const SEALED = 1

/** Where a sealed value stands: sealed for one place it opens in no other. */
export interface Place {
  sagaId: string
  /** Such as "input", or "decision on C". */
  purpose: string
}

/** The id of the installation's own key, which no entry of PAYLOAD_KEYS can have. */
const INSTALLATION = '(installation)'

/**
 * The keys of one system, and what is encrypted with them: payloads for Temporal (a PayloadCodec), and JSON that is kept in
 * a row. The first encrypts, all decrypt; with none nothing is encrypted, and what is throws UnreadablePayload when it is
 * read. Of Temporal's payloads, what never was encrypted is read as it is.
 */
export class PayloadKeys implements PayloadCodec {
  readonly #keys: ReadonlyMap<string, KeyObject>
  readonly #first: PayloadKey | undefined
  /** What hashes and hides in any case. */
  readonly #own: PayloadKey | undefined

  constructor(keys: readonly PayloadKey[], installation?: KeyObject) {
    const own = installation && { id: INSTALLATION, key: installation }
    this.#keys = new Map([...keys, ...(own ? [own] : [])].map(({ id, key }) => [id, key]))
    this.#first = keys[0]
    this.#own = keys[0] ?? own
  }

  /** The same keys, with that of the installation for what needs one in any case. */
  with(installation: KeyObject): PayloadKeys {
    const keys = [...this.#keys].map(([id, key]) => ({ id, key }))
    return new PayloadKeys(
      keys.filter(({ id }) => id !== INSTALLATION),
      installation,
    )
  }

  /** Whether anything is encrypted. */
  get areThere(): boolean {
    return this.#first !== undefined
  }

  /** Bound to the workflow, where the SDK says which one it is. */
  async encode(payloads: Payload[], context?: SerializationContext): Promise<Payload[]> {
    const first = this.#first
    if (!first) return payloads
    const workflowId = context?.workflowId
    return payloads.map((payload) => ({
      metadata: {
        encoding: Buffer.from(ENCODING),
        'encryption-key-id': Buffer.from(first.id),
        ...(workflowId !== undefined && { [WORKFLOW_ID]: Buffer.from(workflowId) }),
      },
      data: encrypt(first, WholePayload.encode(payload).finish(), ofPayload(first.id, workflowId)),
    }))
  }

  /** What names a workflow opens for that alone, where the SDK says which one asks. Its Web UI and CLI don't say. */
  async decode(payloads: Payload[], context?: SerializationContext): Promise<Payload[]> {
    return payloads.map((payload) => {
      const { metadata, data } = payload
      if (textOf(metadata?.['encoding']) !== ENCODING) return payload
      const id = textOf(metadata?.['encryption-key-id'])
      const named = metadata?.[WORKFLOW_ID]
      const workflowId = named && textOf(named)
      if (workflowId !== undefined && context?.workflowId !== undefined && workflowId !== context.workflowId) {
        throw new UnreadablePayload(
          `This is encrypted for workflow ${shown(workflowId)} and was found in workflow ${shown(context.workflowId)}: somebody has moved it.`,
        )
      }
      return WholePayload.decode(this.#decrypt(id, data ?? new Uint8Array(), ofPayload(id, workflowId)))
    })
  }

  /** As it is to be kept in that place; null stays null. */
  seal(value: Json, place: Place): Sealed | null {
    if (value === null) return null
    const first = this.#first
    return first ? sealed(first, value, place) : { keyId: '', sealed: JSON.stringify(value) }
  }

  /** The same, but encrypted in any case. */
  hide(value: Json, place: Place): Sealed {
    return sealed(this.#ownKey(), value, place)
  }

  /** What was sealed or hidden for that place. Whatever else stands there can't be read. */
  open(kept: Json, place: Place): Json {
    if (kept === null) return null
    if (!isSealed(kept)) throw new UnreadablePayload('What is kept here was not written by this program.')
    const { keyId, sealed } = kept
    const text = keyId === '' ? sealed : this.#decrypt(keyId, Buffer.from(sealed, 'base64'), ofPlace(keyId, place))
    return parsed(text.toString())
  }

  /** What an earlier version has kept: it looks like one of ours where it is encrypted, and else is the value itself. */
  openEarlier(kept: Json): Json {
    if (!isSealed(kept)) return kept
    return parsed(this.#decrypt(kept.keyId, Buffer.from(kept.sealed, 'base64'), ofPayload(kept.keyId)).toString())
  }

  /** Tells the same text again. Without the key nobody can try which text it was: there are not that many card numbers. */
  hash(text: string): string {
    return keyedHash(this.#ownKey(), text)
  }

  /** Whether `hash` is of that text, with whichever key it was made. Those of earlier versions may have none. */
  isHashOf(hash: string, text: string): boolean {
    const id = /^(.*):/.exec(hash)?.[1]
    if (id === undefined) return hash === createHash('sha256').update(text).digest('base64')
    return hash === keyedHash({ id, key: this.#key(id) }, text)
  }

  #ownKey(): PayloadKey {
    if (!this.#own) throw new Error('The key of the installation was not read')
    return this.#own
  }

  #key(id: string): KeyObject {
    const key = this.#keys.get(id)
    if (key) return key
    if (id === INSTALLATION) {
      throw new UnreadablePayload('This is encrypted with the key of an installation, and read without one.')
    }
    throw new UnreadablePayload(
      `This is encrypted with the key ${shown(id)}, which PAYLOAD_KEYS does not have here. Put it back, behind the first one, and start again; what needs it waits until then.`,
    )
  }

  #decrypt(id: string, data: Uint8Array, bound: Buffer): Buffer {
    const key = this.#key(id)
    try {
      const decipher = createDecipheriv(CIPHER, key, data.subarray(0, NONCE_BYTES), { authTagLength: TAG_BYTES })
      decipher.setAAD(bound).setAuthTag(data.subarray(-TAG_BYTES))
      return Buffer.concat([decipher.update(data.subarray(NONCE_BYTES, -TAG_BYTES)), decipher.final()])
    } catch (error) {
      throw new UnreadablePayload(
        `This says that it is encrypted with the key ${shown(id)}, and the one that PAYLOAD_KEYS has under that id does not fit: it is another key, or the data was changed. Put the right key back and start again; what needs it waits until then.`,
        { cause: error },
      )
    }
  }
}

/** Nonce, ciphertext, tag. What it is bound to is authenticated as well. */
function encrypt({ key }: PayloadKey, plain: Uint8Array, bound: Buffer): Buffer {
  const nonce = randomBytes(NONCE_BYTES)
  const cipher = createCipheriv(CIPHER, key, nonce, { authTagLength: TAG_BYTES }).setAAD(bound)
  return Buffer.concat([nonce, cipher.update(plain), cipher.final(), cipher.getAuthTag()])
}

function sealed(key: PayloadKey, value: Json, place: Place): Sealed {
  const encrypted = encrypt(key, Buffer.from(JSON.stringify(value)), ofPlace(key.id, place))
  return { keyId: key.id, sealed: encrypted.toString('base64') }
}

function parsed(text: string): Json {
  try {
    return JSON.parse(text) as Json
  } catch {
    // Its error would quote what it was given.
    throw new UnreadablePayload('What is kept here was not written by this program.')
  }
}

/** What a value in a row is bound to. */
function ofPlace(keyId: string, { sagaId, purpose }: Place): Buffer {
  return Buffer.from(JSON.stringify([keyId, sagaId, purpose]))
}

/** What a payload for Temporal is bound to. Those of earlier versions, and of who can't say the workflow, to the key's id alone. */
function ofPayload(keyId: string, workflowId?: string): Buffer {
  if (workflowId === undefined) return Buffer.from(keyId)
  return ofPlace(keyId, { sagaId: workflowId, purpose: 'payload for Temporal' })
}

/** Made once of each key: that takes longer than a hash. */
const hashKeys = new WeakMap<KeyObject, Buffer>()

function keyedHash({ id, key }: PayloadKey, text: string): string {
  const own = hashKeys.get(key) ?? Buffer.from(hkdfSync('sha256', key, '', 'hash of what is kept', 32))
  hashKeys.set(key, own)
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

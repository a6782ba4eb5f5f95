import type { Json, RecordedDecision } from '../types.js'
import { SEALED, UnreadablePayload, type PayloadKeys, type Place, type Sealed } from './payload-keys.js'
import type { KeptDecision, SagaRecord } from './saga-record.js'

// What stands sealed in a saga's row: its input, what people have put in its place, and what is secret of it. Each is known by
// where it stands, and never by its shape: what people give may look like anything.

export const inputPlace = (sagaId: string): Place => ({ sagaId, purpose: 'input' })
export const secretsPlace = (sagaId: string): Place => ({ sagaId, purpose: 'secrets' })

const decisionOn = (sagaId: string, step: string, number: number): Place => ({
  sagaId,
  purpose: `decision ${number} on ${step}`,
})

/** The input as the saga was given it; null once it has ended. */
export function openInput(
  { sagaId, input, sealing }: Pick<SagaRecord, 'sagaId' | 'input' | 'sealing'>,
  keys: PayloadKeys,
): Json {
  return sealing === SEALED ? keys.open(input, inputPlace(sagaId)) : keys.openEarlier(input)
}

/** A decision as it is kept, but for what the row needs of it besides. */
export function sealDecision(
  sagaId: string,
  decision: RecordedDecision,
  keys: PayloadKeys,
): RecordedDecision & Pick<KeptDecision, 'sealing'> {
  const { step, number, input } = decision
  if (input === undefined) return decision
  // Also null: that a person has put nothing in its place is a word as well.
  return { ...decision, input: keys.seal([input], decisionOn(sagaId, step, number)), sealing: SEALED }
}

/** What a person has put in the place of the step's input, as they gave it; undefined: nothing. */
export function openCorrection(
  sagaId: string,
  { step, number, input, sealing }: KeptDecision,
  keys: PayloadKeys,
): Json | undefined {
  if (input === undefined) return undefined
  if (sealing !== SEALED) return keys.openEarlier(input)
  return (keys.open(input, decisionOn(sagaId, step, number)) as [Json])[0]
}

/** A decision as it was made. */
export function openDecision(sagaId: string, kept: KeptDecision, keys: PayloadKeys): RecordedDecision {
  const { isTaken, digest, sealing, ...decision } = kept
  const input = openCorrection(sagaId, kept, keys)
  return input === undefined ? decision : { ...decision, input }
}

/** Whether nobody can act on it: its key is gone, or it was changed. */
export function isUnreadable(sagaId: string, kept: KeptDecision, keys: PayloadKeys): boolean {
  return !canRead(() => openCorrection(sagaId, kept, keys))
}

/** Of an input without secrets, before those of decisions. It needs no key. */
export const NO_SECRETS: Sealed = { keyId: '', sealed: '[]' }

/** The texts that are secret, of each time that some became known. Throws where one of them can't be read. */
export function openSecrets(sagaId: string, kept: readonly Sealed[], keys: PayloadKeys): string[] {
  return kept.flatMap((some) => keys.open(some, secretsPlace(sagaId)) as string[])
}

/**
 * Those that can be read, behind the first ones, which are the input's. What came with a decision that nobody can read is
 * of no use to anybody.
 */
export function readable(sagaId: string, kept: readonly Sealed[], keys: PayloadKeys): Sealed[] {
  return kept.filter((some, i) => i === 0 || canRead(() => keys.open(some, secretsPlace(sagaId))))
}

function canRead(read: () => unknown): boolean {
  try {
    read()
    return true
  } catch (error) {
    if (error instanceof UnreadablePayload) return false
    throw error
  }
}

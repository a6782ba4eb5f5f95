import { isDue } from '../plan.js'
import type { Decision, RecordedDecision, ToldDecision } from '../types.js'
import { canonical } from './canonical.js'
import { UnreadablePayload, type PayloadKeys, type Sealed } from './payload-keys.js'
import { replaced, sentence, taken, withoutError, type After, type Changes, type LogEntry } from './projection.js'
import { isEnded, type CompensationRecord, type SagaRecord, type StepRecord } from './saga-record.js'
import { isUnreadable, openDecision, sealDecision, NO_SECRETS, secretsPlace } from './sealed-values.js'
import { redacted, secretsIn } from './secrets.js'

// What people decide of a saga that waits for them, as it changes the saga's record. Pure, like projection.ts.

/** Why a decision can't be taken; undefined where it can. */
export function refusalOf(
  record: SagaRecord,
  { step, action, input }: Decision,
  keys: PayloadKeys,
): string | undefined {
  const { sagaId, status } = record
  if (isEnded(record)) return `Saga ${sagaId} has ended as ${status}; there is nothing to decide.`
  const stuck = stuckOn(record, step) ?? wedgedOn(record, step, keys)
  if (!stuck) {
    const waiting = stuckSteps(record)
    const where = waiting.length > 0 ? ` It waits on ${waiting.join(', ')}.` : ` It is ${status}.`
    return `Saga ${sagaId} does not wait for a decision on ${step}.${where}`
  }
  const nested = record.steps.find((one) => one.step === step)?.sagaId
  if (nested !== undefined && input !== undefined) {
    return `Step ${step} of saga ${sagaId} is saga ${nested}, whose own steps have the inputs; correct it there, or retry as it is.`
  }
  if (record.fate === 'open' && action === 'skip') {
    return `Step ${step} of saga ${sagaId} is not to be undone any more, so it can't be skipped; retry it, or resolve it by hand.`
  }
  if ('stuckAt' in stuck && stuck.stuckAt === 'settle' && action !== 'retry') {
    return `Whether the pivot ${step} of saga ${sagaId} took effect decides which way the saga goes, and only its participant can say so; bring it back, then retry.`
  }
  return undefined
}

/** What a decision for many was made for: a step as it was stuck then. */
export interface Matched {
  /** How many decisions it had had. */
  decisions: number
  errorType?: string
}

/** Why a step that is stuck is not the one any more that was `matched`; undefined where it is. */
export function changeOf(record: SagaRecord, { step }: Decision, matched: Matched): string | undefined {
  const stuck = stuckOn(record, step)
  const { decision, error } = stuck ?? {}
  const where = `Step ${step} of saga ${record.sagaId}`
  if (decision && decision.number > matched.decisions) {
    return `${where} has been decided by ${decision.actor} meanwhile (${decision.action}), and is stuck again; look at it anew.`
  }
  if (matched.errorType !== undefined && error?.type !== matched.errorType) {
    return `${where} is stuck for another reason by now (${error ? sentence(error) : 'none is known'}); look at it anew.`
  }
  return undefined
}

/** The same decision once more, as after an answer that was lost: it has been taken. */
export function repeatedDecision(
  record: SagaRecord,
  { number: told, ...decision }: ToldDecision,
  keys: PayloadKeys,
): RecordedDecision | undefined {
  const { step } = decision
  const records = [...record.compensations, ...record.steps]
  const last = records.find((one) => one.step === step && one.decision)?.decision
  if (!last) return undefined
  // Told of one that is recorded a run never takes it for a new one, also where the step is stuck again.
  if (told !== undefined) return told === last.number ? openDecision(record.sagaId, last, keys) : undefined
  if (stuckOn(record, step) ?? wedgedOn(record, step, keys)) return undefined
  return isOf(last.digest, decision, keys) ? openDecision(record.sagaId, last, keys) : undefined
}

/** False also where the key of the digest is gone: then it is another one, which finds nothing that is stuck. */
function isOf(digest: string | undefined, decision: Decision, keys: PayloadKeys): boolean {
  try {
    return digest !== undefined && keys.isHashOf(digest, canonical({ ...decision }))
  } catch (error) {
    if (error instanceof UnreadablePayload) return false
    throw error
  }
}

/**
 * A decision on what is stuck, which `refusalOf` has let pass. `known`: what is secret of the saga already, as it is kept and
 * in the clear; what its input adds to that is secret from now on. `keys`: what it is kept with.
 */
export function afterDecision(
  record: SagaRecord,
  sent: Decision,
  { keys, known }: { keys: PayloadKeys; known: { kept: Sealed[]; secrets: string[] } },
): After & { recorded: RecordedDecision } {
  const { sagaId } = record
  const { step: name, action } = sent
  const stuck = stuckOn(record, name) ?? wedgedOn(record, name, keys)
  if (!stuck) throw new Error(`Saga ${sagaId} is not stuck on ${name}`)
  const given = record.steps.find(({ step }) => step === name)?.input
  const added = sent.input === undefined ? [] : secretsIn(sent.input, given)
  const spoken = (text: string) => redacted(text, [...known.secrets, ...added], [sagaId])
  const [reason, actor] = [spoken(sent.reason), spoken(sent.actor)]
  const recorded: RecordedDecision = { ...sent, reason, actor, number: (stuck.decision?.number ?? 0) + 1 }
  const kept = {
    ...sealDecision(sagaId, recorded, keys),
    isTaken: false,
    digest: keys.hash(canonical({ ...sent })),
  }
  // The first are the input's, also if it has none: those of a decision that nobody can read any more are dropped.
  const ofInput = known.kept.length > 0 ? known.kept : [NO_SECRETS]
  const secrets = added.length === 0 ? known.kept : [...ofInput, keys.hide(added, secretsPlace(sagaId))]
  const made = { spent: stuck.attempts, decision: kept }
  const words = `${action} by ${actor}: ${reason}${sent.input === undefined ? '' : ' (with corrected input)'}`
  const service = record.fate === 'open' ? name : `COMPENSATE_${name}`
  const entries: LogEntry[] = [{ service, status: 'decision', message: words }]
  const changes: Changes = secrets.length > 0 ? { secrets } : {}
  if (record.fate === 'open') {
    const { stuckAt, ...step } = stuck as StepRecord
    const isCode = stuckAt === 'code'
    const isDone = action === 'resolve' || (isCode && step.outcome === 'applied')
    const status = isDone ? 'succeeded' : 'running'
    // What a person has said of the code is not said of the step.
    const said = { ...made, status, ...(isCode && { stuckAt }) } as const
    const after: StepRecord =
      action === 'resolve'
        ? { ...withoutError(step), ...said, outcome: 'applied', ...(!isCode && { isByHand: true }) }
        : { ...step, ...said }
    changes.steps = replaced(record.steps, stuck as StepRecord, after)
    // The attempts to settle a pivot are counted with its compensation.
    if (stuckAt === 'settle') {
      changes.compensations = record.compensations.map((one) =>
        one.step === name ? { ...one, spent: one.attempts } : one,
      )
    }
  } else {
    const status = ({ retry: 'pending', resolve: 'resolved', skip: 'skipped' } as const)[action]
    const after = { ...(stuck as CompensationRecord), ...made, status, actor, reason }
    changes.compensations = replaced(record.compensations, stuck as CompensationRecord, after)
    if (action === 'skip') {
      entries.push({ service, status: 'skipped', message: `left as it is by ${actor}: ${reason}` })
    }
  }
  const stillStuck = stuckSteps(record).some((step) => step !== name)
  const moving = record.fate === 'open' ? 'RUNNING' : 'COMPENSATING'
  return {
    changes: { ...changes, status: stillStuck ? 'NEEDS_ATTENTION' : moving, decidedAt: record.readAt },
    entries,
    recorded,
  }
}

/** A run has heard of a decision, and acts on it. `decidedAt` is there as long as there is one that no run has. */
export function afterTaking(record: SagaRecord, { step, number }: { step: string; number: number }): Changes {
  const take = <T extends StepRecord | CompensationRecord>(one: T): T =>
    one.step === step && one.decision && one.decision.number <= number ? taken(one) : one
  const steps = record.steps.map(take)
  const compensations = record.compensations.map(take)
  const isOpen = [...steps, ...compensations].some(({ decision }) => decision && !decision.isTaken)
  return { steps, compensations, ...(!isOpen && { decidedAt: null }) }
}

/** A run that opens takes every decision from the row. */
export function afterOpening({ decidedAt, steps, compensations }: SagaRecord): Changes {
  return decidedAt ? { decidedAt: null, steps: steps.map(taken), compensations: compensations.map(taken) } : {}
}

/** The steps that wait for a person. */
function stuckSteps({ fate, steps, compensations }: SagaRecord): string[] {
  return (fate === 'open' ? steps : compensations).filter(({ status }) => status === 'stuck').map(({ step }) => step)
}

function stuckOn(
  { fate, steps, compensations }: SagaRecord,
  name: string,
): StepRecord | CompensationRecord | undefined {
  const records: (StepRecord | CompensationRecord)[] = fate === 'open' ? steps : compensations
  return records.find(({ step, status }) => step === name && status === 'stuck')
}

/** A step whose last decision nobody can act on: without another one it would wait for ever. */
function wedgedOn(
  { sagaId, fate, steps, compensations }: SagaRecord,
  name: string,
  keys: PayloadKeys,
): StepRecord | CompensationRecord | undefined {
  const left = fate === 'open' ? steps.filter(({ status }) => status !== 'succeeded') : compensations.filter(isDue)
  return left.find(({ step, decision }) => step === name && decision && isUnreadable(sagaId, decision, keys))
}

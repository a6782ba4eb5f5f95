import { createHash } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Queryable } from './db.js'
import { outcomeUnknown, rejected } from '../errors.js'
import type { Failure, Failures } from '../failure.js'
import type { Operation } from '../types.js'
import { NotTogether, type AnyService, type BarredParticipant, type Call } from './barrier.js'
import { Gathering } from './gathering.js'

/** What an attempt brings along for the injection: the failures of its step, and whose calls they count. */
export interface Injection {
  scope: string
  failures: Failure[]
  /** How long a `hang` must sleep to be past the time-out. */
  timeoutMs: number
}

/** Ends the process that runs the participant, once the attempt's row is written. */
export class InjectedCrash extends Error {}

/**
 * Makes a participant's calls fail on purpose, from outside: around the whole call, barrier and transaction included, so
 * that no service holds a line of it and `after` is truly after the commit. `refusing` is the same participant behind the
 * same barrier with a business that refuses, so that `reject` is kept like a real refusal.
 */
export function withFailureInjection(
  counts: CallCounts,
  participant: BarredParticipant,
  refusing: BarredParticipant,
  injection: Injection,
): BarredParticipant {
  const around = async <T>(call: Call, op: Operation, go: (as: BarredParticipant) => Promise<T>): Promise<T> => {
    const failure = await nextFailure(counts, injection, call.step, op)
    if (failure?.kind === 'reject') return go(refusing)
    if (failure?.when === 'before') await strike(failure, call.step, injection.timeoutMs)
    const result = await go(participant)
    if (failure?.when === 'after') await strike(failure, call.step, injection.timeoutMs)
    return result
  }
  const { invoke, compensate } = participant.together ?? {}
  return {
    ...participant,
    invoke: (call) => around(call, 'invoke', (as) => as.invoke(call)),
    compensate: (call) => around(call, 'compensate', (as) => as.compensate(call)),
    together: {
      ...(invoke && {
        invoke: (call) => around(call, 'invoke', (as) => orAlone(as.together?.invoke, () => as.invoke(call), call)),
      }),
      ...(compensate && {
        compensate: (call) =>
          around(call, 'compensate', (as) => orAlone(as.together?.compensate, () => as.compensate(call), call)),
      }),
    },
  }
}

/** Falls back here, and not with the caller, so that the call is counted once. */
async function orAlone<C, T>(
  together: ((call: C) => Promise<T>) | undefined,
  alone: () => Promise<T>,
  call: C,
): Promise<T> {
  try {
    if (together) return await together(call)
  } catch (error) {
    if (!(error instanceof NotTogether)) throw error
  }
  return alone()
}

/** The same participant with a business that refuses: what `withFailureInjection` is given as `refusing`, behind its barrier. */
export function refusing(service: AnyService): AnyService {
  const refusal = () => rejected(`injected: ${service.name} refuses`)
  return {
    ...service,
    invoke: () => Promise.reject(refusal()),
    ...(service.invokeMany && { invokeMany: (_tx, calls) => Promise.resolve(calls.map(refusal)) }),
  }
}

/** A call that is counted, by all that its count is kept for. */
interface CountedCall {
  scope: string
  step: string
  op: Operation
}

/** Says of each call the how manyth it is. */
export type CallCounts = Gathering<CountedCall, number>

/** Counts calls, those that are made at the same time with one statement. */
export function countCalls(db: Queryable): CallCounts {
  return new Gathering((calls) => count(db, calls), { most: 500 })
}

/** In a transaction of its own: the participant's would undo the count. */
async function count(db: Queryable, calls: CountedCall[]): Promise<number[]> {
  const keyOf = ({ scope, step, op }: CountedCall) => JSON.stringify([scope, step, op])
  const made = new Map<string, CountedCall & { calls: number }>()
  const places = calls.map((call) => {
    const all = made.get(keyOf(call)) ?? { ...call, calls: 0 }
    made.set(keyOf(call), all)
    all.calls += 1
    return all.calls
  })
  const { rows } = await db.query<CountedCall & { calls: number }>(
    `INSERT INTO failure_call (scope, step, op, calls)
     SELECT scope, step, op, calls FROM jsonb_to_recordset($1) AS one (scope text, step text, op text, calls integer)
     ORDER BY scope, step, op
     ON CONFLICT (scope, step, op) DO UPDATE SET calls = failure_call.calls + excluded.calls
     RETURNING scope, step, op, failure_call.calls::float8 AS calls`,
    [JSON.stringify([...made.values()])],
  )
  const counted = new Map(rows.map((row) => [keyOf(row), row.calls]))
  return calls.map((call, i) => {
    const before = (counted.get(keyOf(call)) ?? 0) - (made.get(keyOf(call))?.calls ?? 0)
    return before + (places[i] ?? 0)
  })
}

/** Counts the call, and picks the first failure that fires. */
async function nextFailure(
  counts: CallCounts,
  { scope, failures }: Injection,
  step: string,
  op: Operation,
): Promise<Failure | undefined> {
  const candidates = failures.filter(({ on, mode }) => on === op && mode !== 'none')
  if (candidates.length === 0) return undefined
  const call = await counts.add({ scope, step, op })
  return candidates.find((failure) => fires(failure, call, `${scope}/${step}/${op}/${call}`))
}

function fires({ mode, n = 0, rate = 0 }: Failure, call: number, seed: string): boolean {
  const modes: Record<Failure['mode'], () => boolean> = {
    none: () => false,
    always: () => true,
    alternate: () => call % 2 === 0,
    first: () => call <= n,
    // By hash and not by chance, so that a run can be repeated.
    rate: () => createHash('md5').update(seed).digest().readUInt32BE() / 2 ** 32 < rate,
  }
  return modes[mode]()
}

async function strike({ kind, when, on, mode }: Failure, step: string, timeoutMs: number): Promise<void> {
  const where = when === 'before' ? 'before its transaction' : 'after its commit'
  const what = `injected (${mode}): ${on} of ${step}`
  if (kind === 'crash') throw new InjectedCrash(`${what} ends its process ${where}`)
  if (kind === 'error') throw outcomeUnknown(`${what} fails ${where}`)
  await sleep(timeoutMs + 2_000)
}

/** What is in force for sagas without failures of their own. */
export async function readFailures(db: Queryable): Promise<Failures> {
  const { rows } = await db.query('SELECT failures FROM failure_injection')
  return rows[0].failures
}

/** Replaces all of it, and starts the counts anew. */
export async function replaceFailures(db: Queryable, failures: Failures): Promise<void> {
  await db.query('UPDATE failure_injection SET failures = $1, generation = generation + 1', [JSON.stringify(failures)])
}

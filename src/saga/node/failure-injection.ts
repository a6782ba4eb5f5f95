import { createHash } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Queryable } from './db.js'
import { outcomeUnknown, rejected } from '../errors.js'
import type { Failure, Failures } from '../failure.js'
import type { Operation } from '../types.js'
import type { BarredParticipant, Call } from './barrier.js'

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
  db: Queryable,
  participant: BarredParticipant,
  refusing: BarredParticipant,
  injection: Injection,
): BarredParticipant {
  const around = async <T>(call: Call, op: Operation, go: (as: BarredParticipant) => Promise<T>): Promise<T> => {
    const failure = await nextFailure(db, injection, call.step, op)
    if (failure?.kind === 'reject') return go(refusing)
    if (failure?.when === 'before') await strike(failure, call.step, injection.timeoutMs)
    const result = await go(participant)
    if (failure?.when === 'after') await strike(failure, call.step, injection.timeoutMs)
    return result
  }
  const { invokeTogether: _, ...alone } = participant
  const failsInvokes = injection.failures.some(({ on, mode }) => on === 'invoke' && mode !== 'none')
  return {
    ...(failsInvokes ? alone : participant),
    invoke: (call) => around(call, 'invoke', (as) => as.invoke(call)),
    compensate: (call) => around(call, 'compensate', (as) => as.compensate(call)),
  }
}

/** A refusal as injected, for the business of the `refusing` participant. */
export function injectedRefusal(service: string): Error {
  return rejected(`injected: ${service} refuses`)
}

/** Counts the call, in a transaction of its own (the participant's would undo the count), and picks the first that fires. */
async function nextFailure(
  db: Queryable,
  { scope, failures }: Injection,
  step: string,
  op: Operation,
): Promise<Failure | undefined> {
  const candidates = failures.filter(({ on, mode }) => on === op && mode !== 'none')
  if (candidates.length === 0) return undefined
  const { rows } = await db.query(
    `INSERT INTO failure_call (scope, step, op, calls) VALUES ($1, $2, $3, 1)
     ON CONFLICT (scope, step, op) DO UPDATE SET calls = failure_call.calls + 1 RETURNING calls`,
    [scope, step, op],
  )
  const call: number = rows[0].calls
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

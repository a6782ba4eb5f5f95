import { prepared, withTransaction, type AndCommit, type Client, type Pool } from './db.js'
import { Gathering } from './gathering.js'
import { redacted } from './secrets.js'
import { runCode } from './participant-code.js'
import { FailureType, isFailure, lateInvoke, rejected, toError } from '../errors.js'
import { checkedResult } from '../result.js'
import type { CompensateVerdict, ForwardParticipant, Json, Participant, Probe, SettleVerdict } from '../types.js'

export interface Call {
  sagaId: string
  step: string
  /** The how manyth since the last decision or recovery; a guess, where attempts are under way at once. */
  attempt?: number
  /** Texts that are not to stand in a refusal which is kept. */
  secrets?: readonly string[]
  /** Aborted once nobody waits for the answer any more. What a participant has begun it may end all the same. */
  signal?: AbortSignal
}

export interface InvokeCall extends Call {
  input: Json
  /** Decisions on this step so far: behind a new one a refusal that was kept is asked for again. */
  decisions?: number
}

export interface CompensateCall extends Call {
  /** A person's, in the place of what the invoke was given. */
  input?: Json
}

/** A participant as the engine is given it: with a `compensate` where a compensatable step uses it. */
export type AnyService = ForwardParticipant<Json, Json | void, Client> &
  Partial<Pick<Participant<Json, Json | void, Client>, 'compensate' | 'compensateMany'>>

/** A participant behind its barrier: each operation of a step happens at most once, however often it is delivered. */
export interface BarredParticipant {
  /** `duplicate`: it was applied before; the kept result, and nothing has changed. Throws Rejected, LateInvoke. */
  invoke(call: InvokeCall): Promise<InvokeVerdict>
  /** `empty`: nothing to compensate; a late invoke is refused from now on. */
  compensate(call: CompensateCall): Promise<CompensateVerdict | 'forbidden'>
  /**
   * The same in one transaction with whatever calls are made at that time, as far as the participant can do for many what it
   * does for one. Throws NotTogether as well.
   */
  together?: {
    invoke?: (this: void, call: InvokeCall) => Promise<InvokeVerdict>
    compensate?: (this: void, call: CompensateCall) => Promise<CompensateVerdict | 'forbidden'>
  }
  /** For a pivot: `applied`, and so it stays; `empty`: it was not, and a late invoke is refused from now on. */
  settle(call: Call): Promise<SettleVerdict>
  /**
   * An operator has had the last word on the compensation: one that is still on its way is answered `forbidden` and runs
   * nothing, and a late invoke is refused. A compensation that is done keeps its verdict.
   */
  forbid(call: Call): Promise<void>
  /** What the participant's own probe says; undefined where it has none. */
  probe(call: InvokeCall): Promise<Probe<Json> | undefined>
  /** What the participant finds left of a saga; undefined where it can't look. */
  verify(call: Call): Promise<string[] | undefined>
}

export interface InvokeVerdict {
  verdict: 'applied' | 'duplicate'
  result: Json
}

/** The calls that went together had to be rolled back, one of them perhaps for another's sake: each is to be made alone. */
export class NotTogether extends Error {}

/** Calls of a transaction at most: few enough that one which fails costs the others little. */
const TOGETHER = 100
/** Such transactions at once. */
const TRANSACTIONS = 4

/** How long a call waits for a database that is away before its transaction begins. */
export const WAIT_MS = 4_000

/**
 * Puts the barrier around a participant: rows (saga, step, operation) in the participant's own database, written in the
 * transaction of its business rows. Their unique index makes a compensation wait for an invoke that is still under way.
 * The idea is DTM's barrier (dtm.pub), which tells nobody what it found; this one keeps result and refusal, and refuses
 * a late invoke, for a caller that is told "ok" goes on with nothing committed.
 */
export function throughBarrier(pool: Pool, participant: AnyService): BarredParticipant {
  const inTransaction = <T>(work: (tx: Client, andCommit: AndCommit) => Promise<T>) =>
    withTransaction(pool, work, { waitMs: WAIT_MS })
  return {
    together: {
      ...(participant.invokeMany && {
        invoke: together(pool, (tx, calls, last) => invokeAll(tx, participant, calls, last)),
      }),
      ...(participant.compensateMany && {
        compensate: together(pool, (tx, calls) => compensateAll(tx, participant, calls)),
      }),
    },
    async invoke(call) {
      try {
        return await inTransaction((tx, andCommit) => invoke(tx, participant, call, andCommit))
      } catch (error) {
        if (!isFailure(error, FailureType.Rejected)) throw error
        // The refusal rolled its own barrier row back with the business; what stands there now is the answer.
        const standing = await inTransaction((tx) => keepRefusal(tx, call, error))
        if (standing === 'kept') throw error
        return standing
      }
    },
    compensate: (call) => inTransaction((tx) => compensate(tx, participant, call)),
    settle: (call) => inTransaction((tx) => settle(tx, call)),
    forbid: (call) => inTransaction((tx) => forbid(tx, call)),
    async probe({ sagaId, input }) {
      if (!participant.probe) return undefined
      const look = (tx: Client) => run(participant, sagaId, () => participant.probe?.(tx, { sagaId, input }) ?? none)
      const found = await withTransaction(pool, look)
      if (!found?.applied) return { applied: false }
      return { applied: true, result: checkedResult(found.result, participant.name).result }
    },
    async verify({ sagaId }) {
      if (!participant.verify) return undefined
      const left = await inTransaction((tx) =>
        run(participant, sagaId, () => participant.verify?.(tx, { sagaId }) ?? none),
      )
      if (!Array.isArray(left) || !left.every((one) => typeof one === 'string')) {
        throw new Error(`verify of ${participant.name} gave no list of texts`)
      }
      return left
    },
  }
}

const none = Promise.resolve(undefined)

const run = <T>({ name }: AnyService, sagaId: string | undefined, code: () => Promise<T>): Promise<T> =>
  runCode({ participant: name, ...(sagaId !== undefined && { sagaId }) }, code)

/** Makes calls that come at the same time in one transaction. Undefined or an error as an answer: of that call alone. */
function together<C extends Call, T>(
  pool: Pool,
  work: (tx: Client, calls: C[], andCommit: AndCommit) => Promise<(T | Error | undefined)[]>,
): (call: C) => Promise<T> {
  const windows = () =>
    new Gathering<C, T | Error | undefined>(
      (calls) => withTransaction(pool, (tx, andCommit) => work(tx, calls, andCommit), { waitMs: WAIT_MS }),
      { most: TOGETHER, atOnce: TRANSACTIONS },
    )
  const first = windows()
  // Apart: an earlier attempt may still hold its row, and these would wait for it.
  const again = windows()
  return async (call) => {
    const answer = await (isFirst(call) ? first : again).add(call).catch((error: Error) => {
      throw new NotTogether(error.message, { cause: error })
    })
    if (answer instanceof Error) throw answer
    if (answer === undefined) throw new NotTogether('it was made before')
    return answer
  }
}

const isFirst = ({ attempt = 1 }: Call) => attempt === 1

async function invoke(tx: Client, participant: AnyService, call: InvokeCall, andCommit: AndCommit) {
  const { sagaId, step, input, decisions = 0 } = call
  const { rowCount } = await tx.query(
    prepared(
      `INSERT INTO saga_barrier (saga_id, step, op, written_by, input) VALUES ($1, $2, 'invoke', 'invoke', $3)
     ON CONFLICT (saga_id, step, op) DO UPDATE SET input = excluded.input, verdict = NULL, result = NULL
     WHERE saga_barrier.verdict = 'rejected' AND saga_barrier.decisions < $4
       AND NOT EXISTS (SELECT FROM saga_barrier WHERE saga_id = $1 AND step = $2 AND op = 'compensate')`,
      [sagaId, step, JSON.stringify(input), decisions],
    ),
  )
  if (rowCount === 0) return kept(tx, call)
  const answer = await run(participant, sagaId, () => participant.invoke(tx, { sagaId, input }))
  const { result, json } = checkedResult(answer, participant.name)
  andCommit(
    tx.query(
      prepared(
        `UPDATE saga_barrier SET verdict = 'applied', result = $3 WHERE saga_id = $1 AND step = $2 AND op = 'invoke'`,
        [sagaId, step, json],
      ),
    ),
  )
  return { verdict: 'applied' as const, result }
}

/**
 * New calls: a barrier row that is there already is an error here, and rolls all of it back. So the rows may come behind the
 * business, each with its result or refusal, and go out with the COMMIT. Calls that are made again are looked up first: what
 * is kept of them is their answer.
 */
async function invokeAll(
  tx: Client,
  participant: AnyService,
  calls: InvokeCall[],
  andCommit: AndCommit,
): Promise<(InvokeVerdict | Error | undefined)[]> {
  const answers = calls.every(isFirst)
    ? new Map<InvokeCall, InvokeVerdict | Error | undefined>()
    : await known(tx, calls)
  const fresh = calls.filter((call) => !answers.has(call))
  if (fresh.length > 0) {
    const given = fresh.map(({ sagaId, input }) => ({ sagaId, input }))
    const results = (await run(participant, undefined, () => participant.invokeMany?.(tx, given) ?? none)) ?? []
    if (results.length !== fresh.length) {
      throw new Error(`invokeMany of ${participant.name} gave ${results.length} results for ${fresh.length} calls`)
    }
    const ends = results.map((result) => {
      if (!(result instanceof Error)) return checkedResult(result, participant.name)
      const refusal = toError(result)
      if (!isFailure(refusal, FailureType.Rejected)) throw refusal
      return refusal
    })
    andCommit(
      tx.query(
        prepared(
          `INSERT INTO saga_barrier (saga_id, step, op, written_by, input, verdict, result, decisions)
         SELECT saga_id, step, 'invoke', 'invoke', input, verdict, result, decisions
         FROM unnest($1::text[], $2::text[], $3::jsonb[], $4::text[], $5::jsonb[], $6::integer[])
           AS call (saga_id, step, input, verdict, result, decisions)`,
          [
            fresh.map(({ sagaId }) => sagaId),
            fresh.map(({ step }) => step),
            fresh.map(({ input }) => JSON.stringify(input)),
            ends.map((end) => (end instanceof Error ? 'rejected' : 'applied')),
            ends.map((end, i) => (end instanceof Error ? JSON.stringify(keptRefusal(end, fresh[i])) : end.json)),
            fresh.map(({ decisions = 0 }, i) => (ends[i] instanceof Error ? decisions : 0)),
          ],
        ),
      ),
    )
    for (const [i, call] of fresh.entries()) {
      const end = ends[i]
      answers.set(call, end instanceof Error ? end : { verdict: 'applied', result: end?.result ?? null })
    }
  }
  return calls.map((call) => answers.get(call))
}

/** What is kept of calls that were made before; undefined for one that a decision has since been made on. */
async function known(tx: Client, calls: InvokeCall[]): Promise<Map<InvokeCall, InvokeVerdict | Error | undefined>> {
  const { rows } = await tx.query<KeptRow & { saga_id: string; step: string; decisions: number }>(
    prepared('SELECT saga_id, step, op, verdict, result, decisions FROM saga_barrier WHERE saga_id = ANY ($1)', [
      calls.map(({ sagaId }) => sagaId),
    ]),
  )
  const answers = new Map<InvokeCall, InvokeVerdict | Error | undefined>()
  for (const call of calls) {
    const own = rows.filter((row) => row.saga_id === call.sagaId && row.step === call.step)
    if (own.length === 0) continue
    const isAskedAnew = own.some(
      ({ verdict, decisions }) => verdict === 'rejected' && decisions < (call.decisions ?? 0),
    )
    answers.set(call, isAskedAnew ? undefined : keptAnswer(own, call))
  }
  return answers
}

interface KeptRow {
  op: 'invoke' | 'compensate'
  verdict: string
  result: Json
}

/** The answer of a call whose row was there already. */
function keptAnswer(rows: KeptRow[], call: InvokeCall): InvokeVerdict | Error {
  if (rows.some(({ op }) => op === 'compensate')) return lateInvoke(call)
  const [row] = rows
  if (row?.verdict === 'rejected') return rejected((row.result as { message: string }).message)
  return { verdict: 'duplicate', result: row?.result ?? null }
}

/** What an invoke finds whose row was there already. */
async function kept(tx: Client, call: InvokeCall): Promise<InvokeVerdict> {
  const { rows } = await tx.query<KeptRow>(
    prepared('SELECT op, verdict, result FROM saga_barrier WHERE saga_id = $1 AND step = $2', [call.sagaId, call.step]),
  )
  const answer = keptAnswer(rows, call)
  if (answer instanceof Error) throw answer
  return answer
}

/** What is kept of a refusal: its words, without secrets. A participant that runs elsewhere knows only what looks like one. */
function keptRefusal({ message }: Error, call: InvokeCall | undefined): { message: string } {
  return { message: redacted(message, call?.secrets ?? [], call ? [call.sagaId] : []) }
}

async function keepRefusal(tx: Client, call: InvokeCall, refusal: Error): Promise<'kept' | InvokeVerdict> {
  const { sagaId, step, input, decisions = 0 } = call
  const { rowCount } = await tx.query(
    prepared(
      `INSERT INTO saga_barrier (saga_id, step, op, written_by, input, verdict, result, decisions)
     VALUES ($1, $2, 'invoke', 'invoke', $3, 'rejected', $4, $5)
     ON CONFLICT (saga_id, step, op) DO UPDATE
     SET input = excluded.input, result = excluded.result, decisions = excluded.decisions
     WHERE saga_barrier.verdict = 'rejected' AND saga_barrier.decisions < excluded.decisions`,
      [sagaId, step, JSON.stringify(input), JSON.stringify(keptRefusal(refusal, call)), decisions],
    ),
  )
  return rowCount === 0 ? kept(tx, call) : 'kept'
}

async function compensate(
  tx: Client,
  participant: AnyService,
  call: CompensateCall,
): Promise<CompensateVerdict | 'forbidden'> {
  const { sagaId, step, input: corrected } = call
  const first = await tx.query(
    prepared(
      `INSERT INTO saga_barrier (saga_id, step, op, written_by) VALUES ($1, $2, 'compensate', 'compensate')
     ON CONFLICT DO NOTHING`,
      [sagaId, step],
    ),
  )
  if (first.rowCount === 0) {
    const { rows } = await tx.query(
      prepared(`SELECT verdict FROM saga_barrier WHERE saga_id = $1 AND step = $2 AND op = 'compensate'`, [
        sagaId,
        step,
      ]),
    )
    return rows[0].verdict
  }
  await entomb(tx, call)
  // Not in one statement with the tombstone: it must see what an invoke that was waited for has committed.
  const { rows } = await tx.query(
    prepared(
      `UPDATE saga_barrier AS own
       SET verdict = CASE WHEN invoked.verdict IN ('rejected', 'tombstone') THEN 'empty' ELSE 'done' END
       FROM saga_barrier AS invoked
       WHERE own.saga_id = $1 AND own.step = $2 AND own.op = 'compensate'
         AND invoked.saga_id = $1 AND invoked.step = $2 AND invoked.op = 'invoke'
       RETURNING own.verdict, invoked.input, invoked.result`,
      [sagaId, step],
    ),
  )
  const [{ verdict, input, result }] = rows
  if (verdict === 'done') {
    const undo = { sagaId, input: corrected === undefined ? input : corrected, result }
    await run(participant, sagaId, async () => {
      if (!participant.compensate) throw new Error(`Participant ${participant.name} of step ${step} has no compensate`)
      await participant.compensate(tx, undo)
    })
  }
  return verdict
}

/**
 * The same for many, in one trip to PostgreSQL and the business. One that was made before has its row, and no answer here.
 * Rows are written in the order of their sagas, so that of two that wait for each other's none waits for ever.
 */
async function compensateAll(
  tx: Client,
  participant: AnyService,
  calls: CompensateCall[],
): Promise<(CompensateVerdict | undefined)[]> {
  const sorted = calls.toSorted((a, b) => (a.sagaId < b.sagaId ? -1 : 1))
  const keys = [sorted.map(({ sagaId }) => sagaId), sorted.map(({ step }) => step)]
  const [, , { rows }] = await Promise.all([
    tx.query(
      prepared(
        `INSERT INTO saga_barrier (saga_id, step, op, written_by)
       SELECT saga_id, step, 'compensate', 'compensate' FROM unnest($1::text[], $2::text[]) AS call (saga_id, step)
       ON CONFLICT DO NOTHING`,
        keys,
      ),
    ),
    tx.query(
      prepared(
        `INSERT INTO saga_barrier (saga_id, step, op, written_by, verdict)
       SELECT DISTINCT saga_id, step, 'invoke', 'compensate', 'tombstone'
       FROM unnest($1::text[], $2::text[]) AS call (saga_id, step) ORDER BY saga_id, step
       ${OR_IN_PLACE_OF_A_REFUSAL}`,
        keys,
      ),
    ),
    tx.query<{ saga_id: string; step: string; verdict: 'done' | 'empty'; input: Json; result: Json }>(
      prepared(
        `UPDATE saga_barrier AS own
       SET verdict = CASE WHEN invoked.verdict IN ('rejected', 'tombstone') THEN 'empty' ELSE 'done' END
       FROM unnest($1::text[], $2::text[]) AS call (saga_id, step), saga_barrier AS invoked
       WHERE own.saga_id = call.saga_id AND own.step = call.step AND own.op = 'compensate' AND own.verdict IS NULL
         AND invoked.saga_id = call.saga_id AND invoked.step = call.step AND invoked.op = 'invoke'
       RETURNING own.saga_id, own.step, own.verdict, invoked.input, invoked.result`,
        keys,
      ),
    ),
  ])
  const isSame = (a: Call, row: { saga_id: string; step: string }) => row.saga_id === a.sagaId && row.step === a.step
  const found = calls.map((call) => rows.find((row) => isSame(call, row)))
  const done = calls.flatMap(({ sagaId, input }, i) => {
    const row = found[i]
    // Of two calls of one step both have its verdict, and it is undone once.
    if (row?.verdict !== 'done' || found.indexOf(row) < i) return []
    return [{ sagaId, input: input === undefined ? row.input : input, result: row.result }]
  })
  if (done.length > 0) await run(participant, undefined, () => participant.compensateMany?.(tx, done) ?? none)
  return found.map((row) => row?.verdict)
}

/**
 * Of a tombstone. A refusal gives way to it: an invoke that asks for it again has the row until it commits, and is waited for;
 * one that comes later finds no refusal any more.
 */
const OR_IN_PLACE_OF_A_REFUSAL = `ON CONFLICT (saga_id, step, op) DO UPDATE SET verdict = 'tombstone'
     WHERE saga_barrier.verdict = 'rejected'`

/**
 * Takes the invoke's place, before looking: an invoke that is still in its transaction is waited for, one that comes later
 * finds the tombstone. False where it took effect, or has its tombstone.
 */
async function entomb(tx: Client, { sagaId, step }: Call): Promise<boolean> {
  const { rowCount } = await tx.query(
    prepared(
      `INSERT INTO saga_barrier (saga_id, step, op, written_by, verdict) VALUES ($1, $2, 'invoke', 'compensate', 'tombstone')
     ${OR_IN_PLACE_OF_A_REFUSAL}`,
      [sagaId, step],
    ),
  )
  return rowCount === 1
}

/** Like a compensation, but that what took effect stays. */
async function settle(tx: Client, call: Call): Promise<SettleVerdict> {
  if (await entomb(tx, call)) {
    await endWithout(tx, call, 'empty')
    return { verdict: 'empty' }
  }
  const { rows } = await tx.query<{ verdict: 'applied' | 'tombstone'; result: Json }>(
    prepared(`SELECT verdict, result FROM saga_barrier WHERE saga_id = $1 AND step = $2 AND op = 'invoke'`, [
      call.sagaId,
      call.step,
    ]),
  )
  const [row] = rows
  return row?.verdict === 'applied' ? { verdict: 'applied', result: row.result } : { verdict: 'empty' }
}

/** Takes the places of both: of an invoke that never came, and of every compensation that is still to come. */
async function forbid(tx: Client, call: Call): Promise<void> {
  await endWithout(tx, call, 'forbidden')
  await entomb(tx, call)
}

/** Puts a verdict in the place of a compensation, unless that has one. */
async function endWithout(tx: Client, { sagaId, step }: Call, verdict: 'empty' | 'forbidden'): Promise<void> {
  await tx.query(
    prepared(
      `INSERT INTO saga_barrier (saga_id, step, op, written_by, verdict) VALUES ($1, $2, 'compensate', 'compensate', $3)
     ON CONFLICT DO NOTHING`,
      [sagaId, step, verdict],
    ),
  )
}

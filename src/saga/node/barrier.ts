import { prepared, withTransaction, type AndCommit, type Client, type Pool } from './db.js'
import { Gathering } from './gathering.js'
import { redacted } from './secrets.js'
import { FailureType, isFailure, lateInvoke, rejected } from '../errors.js'
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
  compensate(call: CompensateCall): Promise<CompensateVerdict>
  /**
   * The same in one transaction with whatever calls are made at that time, as far as the participant can do for many what it
   * does for one. Throws NotTogether as well.
   */
  together?: {
    invoke?: (this: void, call: InvokeCall) => Promise<InvokeVerdict>
    compensate?: (this: void, call: CompensateCall) => Promise<CompensateVerdict>
  }
  /** For a pivot: `applied`, and so it stays; `empty`: it was not, and a late invoke is refused from now on. */
  settle(call: Call): Promise<SettleVerdict>
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
    async probe({ sagaId, input }) {
      if (!participant.probe) return undefined
      const found = await withTransaction(pool, (tx) => participant.probe?.(tx, { sagaId, input }) ?? none)
      return found?.applied ? { applied: true, result: found.result ?? null } : { applied: false }
    },
    async verify({ sagaId }) {
      if (!participant.verify) return undefined
      return inTransaction((tx) => participant.verify?.(tx, { sagaId }) ?? none)
    },
  }
}

const none = Promise.resolve(undefined)

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
  const result = (await participant.invoke(tx, { sagaId, input })) ?? null
  andCommit(
    tx.query(
      prepared(
        `UPDATE saga_barrier SET verdict = 'applied', result = $3 WHERE saga_id = $1 AND step = $2 AND op = 'invoke'`,
        [sagaId, step, JSON.stringify(result)],
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
    const results = (await participant.invokeMany?.(tx, given)) ?? []
    if (results.length !== fresh.length) {
      throw new Error(`invokeMany of ${participant.name} gave ${results.length} results for ${fresh.length} calls`)
    }
    const refusals = results.map((result) => {
      if (result instanceof Error && !isFailure(result, FailureType.Rejected)) throw result
      return result instanceof Error ? result : undefined
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
            refusals.map((refusal) => (refusal ? 'rejected' : 'applied')),
            results.map((result, i) =>
              JSON.stringify(refusals[i] ? keptRefusal(refusals[i], fresh[i]) : (result ?? null)),
            ),
            fresh.map(({ decisions = 0 }, i) => (refusals[i] ? decisions : 0)),
          ],
        ),
      ),
    )
    for (const [i, call] of fresh.entries()) {
      const result = results[i] ?? null
      answers.set(call, result instanceof Error ? result : { verdict: 'applied', result })
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

async function compensate(tx: Client, participant: AnyService, call: CompensateCall): Promise<CompensateVerdict> {
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
    if (!participant.compensate) throw new Error(`Participant ${participant.name} of step ${step} has no compensate`)
    await participant.compensate(tx, { sagaId, input: corrected ?? input, result })
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
       SELECT saga_id, step, 'invoke', 'compensate', 'tombstone' FROM unnest($1::text[], $2::text[]) AS call (saga_id, step)
       ON CONFLICT DO NOTHING`,
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
  const rowOf = ({ sagaId, step }: Call) => rows.find((row) => row.saga_id === sagaId && row.step === step)
  const found = calls.map(rowOf)
  const done = calls.flatMap(({ sagaId, input }, i) => {
    const row = found[i]
    return row?.verdict === 'done' ? [{ sagaId, input: input ?? row.input, result: row.result }] : []
  })
  if (done.length > 0) await participant.compensateMany?.(tx, done)
  return found.map((row) => row?.verdict)
}

/**
 * Takes the invoke's place, before looking: an invoke that is still in its transaction is waited for, one that comes later
 * finds the tombstone. False where the invoke's own row is there.
 */
async function entomb(tx: Client, { sagaId, step }: Call): Promise<boolean> {
  const { rowCount } = await tx.query(
    prepared(
      `INSERT INTO saga_barrier (saga_id, step, op, written_by, verdict) VALUES ($1, $2, 'invoke', 'compensate', 'tombstone')
     ON CONFLICT DO NOTHING`,
      [sagaId, step],
    ),
  )
  return rowCount === 1
}

/** Like a compensation, but that what took effect stays. */
async function settle(tx: Client, call: Call): Promise<SettleVerdict> {
  const isNew = await entomb(tx, call)
  const { verdict, result } = await invokeRow(tx, call)
  if (verdict === 'applied') return { verdict: 'applied', result }
  // A refusal gets its tombstone too: an earlier call that is still on its way must find it.
  if (isNew || verdict === 'rejected') {
    await tx.query(
      prepared(
        `INSERT INTO saga_barrier (saga_id, step, op, written_by, verdict) VALUES ($1, $2, 'compensate', 'compensate', 'empty')
       ON CONFLICT DO NOTHING`,
        [call.sagaId, call.step],
      ),
    )
  }
  return { verdict: 'empty' }
}

async function invokeRow(
  tx: Client,
  { sagaId, step }: Call,
): Promise<{ input: Json; result: Json; verdict: 'applied' | 'rejected' | 'tombstone' }> {
  const { rows } = await tx.query(
    prepared(`SELECT input, result, verdict FROM saga_barrier WHERE saga_id = $1 AND step = $2 AND op = 'invoke'`, [
      sagaId,
      step,
    ]),
  )
  return rows[0]
}

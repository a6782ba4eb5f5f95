import { createHash } from 'node:crypto'
import { withTransaction, type Client, type Pool } from '../../db.js'
import { FailureType, invalidInput, sagaIdTaken, type InputProblem } from '../errors.js'
import type { Failure, Failures } from '../failure.js'
import type {
  AttemptOrder,
  CompletionClaim,
  Ending,
  Json,
  OpenOrder,
  Opening,
  RollbackCause,
  RollbackClaim,
  RollbackOrder,
  SagaError,
  StepDeclarations,
} from '../types.js'
import {
  cancelCause,
  causeOf,
  endingOf,
  recordColumns,
  type CancelRequest,
  type CompensationRecord,
  type SagaRecord,
  type StepRecord,
} from './saga-record.js'
import { afterAttempt, settled, toCompensate, type AttemptEnd, type LogEntry } from './projection.js'
import type { SagaType } from './saga-type.js'

/** The channel on which every change of a saga is announced; the payload is the saga's id. */
export const CHANGES = 'saga_changed'

export interface Intent {
  sagaId: string
  saga: SagaType<Json>
  steps: StepDeclarations
  input: Json
  failures?: Failures | undefined
  idempotencyKey?: string | undefined
  /** Unfinished sagas at most. */
  maxOpen: number
}

export type IntentAnswer =
  | { kind: 'written'; record: SagaRecord }
  /** The key's saga, whose input was the same. */
  | { kind: 'replayed'; record: SagaRecord }
  /** The key belongs to a saga with another input. */
  | { kind: 'mismatch' }
  | { kind: 'full' }

/** What an attempt needs to know before it makes its call. */
export interface AttemptStart {
  fate: SagaRecord['fate']
  /** Attempts of this step and operation that have ended. */
  ended: number
  /** Failures to inject into this step, and whose calls they count. */
  injection: { scope: string; failures: Failure[] }
  secrets: string[]
}

/**
 * The sagas' rows, and with each change of one the log rows that tell of it, in one transaction. Every change locks the
 * saga's row first, so that log ids of a saga rise in the order of their commits, and fates are decided once.
 */
export class SagaStore {
  constructor(
    private readonly pool: Pool,
    private readonly types: ReadonlyMap<string, SagaType<Json>>,
  ) {}

  /** False once its connections have been given back for good. */
  get isOpen(): boolean {
    return !this.pool.ended && !this.pool.ending
  }

  async get(sagaId: string): Promise<SagaRecord | undefined> {
    const { rows } = await this.pool.query(`SELECT ${recordColumns} FROM saga WHERE saga_id = $1`, [sagaId])
    return rows[0]
  }

  /** Writes a saga down before anything is asked to run it. A key that is known already answers with its saga. */
  async writeIntent({ sagaId, saga, steps, input, failures, idempotencyKey, maxOpen }: Intent): Promise<IntentAnswer> {
    const inputHash = hashOf(input, failures)
    const { rows } = await this.pool.query(
      `WITH written AS (
         INSERT INTO saga (saga_id, type, label, view, input, input_hash, failures, steps, idempotency_key)
         SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9
         WHERE (SELECT count(*) FROM saga WHERE fate IN ('open', 'rollback') AND status <> 'NEEDS_ATTENTION') < $10
         ON CONFLICT DO NOTHING
         RETURNING *
       ), told AS (SELECT pg_notify('${CHANGES}', saga_id) FROM written)
       SELECT ${recordColumns} FROM written LEFT JOIN told ON true`,
      [
        sagaId,
        saga.type,
        saga.label(input),
        JSON.stringify(saga.view(input)),
        JSON.stringify(input),
        inputHash,
        failures ? JSON.stringify(failures) : null,
        JSON.stringify(pendingSteps(steps)),
        idempotencyKey ?? null,
        maxOpen,
      ],
    )
    if (rows[0]) return { kind: 'written', record: rows[0] }
    const known = await this.pool.query(
      `SELECT ${recordColumns} FROM saga WHERE saga_id = $1 OR idempotency_key = $2`,
      [sagaId, idempotencyKey ?? null],
    )
    const record: SagaRecord | undefined = known.rows[0]
    if (!record) return { kind: 'full' }
    // Our own: an earlier try of this very call wrote it, and lost the answer.
    if (record.sagaId === sagaId) return { kind: 'written', record }
    return record.inputHash === inputHash && record.type === saga.type
      ? { kind: 'replayed', record }
      : { kind: 'mismatch' }
  }

  /**
   * Opens a run of a saga: writes the row of one that came by another door, takes up the one there is, or finds how it
   * has ended. Throws InvalidInput, for which it leaves an ended row, and SagaIdTaken.
   */
  async open(sagaId: string, order: OpenOrder, stepTimeoutMs: number): Promise<Opening> {
    const saga = this.types.get(order.type)
    if (!saga) throw new Error(`No saga type ${order.type} is registered with this worker`)
    const parsed = saga.parse(order.input)
    const problems = [...idProblems(sagaId), ...('problems' in parsed ? parsed.problems : [])]
    if ('problems' in parsed || problems.length > 0) {
      if (idProblems(sagaId).length > 0) throw invalidInput(problems)
      await this.writeRefusal(sagaId, order, problems)
      const standing = await this.get(sagaId)
      if (standing && standing.firstRunId !== order.firstRunId) {
        throw sagaIdTaken(sagaId, 'it belongs to a saga with another input')
      }
      throw invalidInput(problems)
    }
    const { input, failures } = parsed
    const inputHash = hashOf(input, failures)
    await this.pool.query(
      `INSERT INTO saga (saga_id, type, label, view, input, input_hash, failures, steps)
       VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING`,
      [
        sagaId,
        saga.type,
        saga.label(input),
        JSON.stringify(saga.view(input)),
        JSON.stringify(input),
        inputHash,
        failures ? JSON.stringify(failures) : null,
        JSON.stringify(pendingSteps(order.steps)),
      ],
    )
    return this.change(sagaId, async (record, save) => {
      if (record.type !== order.type || record.inputHash !== inputHash) {
        throw sagaIdTaken(sagaId, 'it belongs to a saga with another input')
      }
      if (record.fate === 'completed' || record.fate === 'rolledBack') {
        if (record.firstRunId === order.firstRunId) return { go: 'ended', ending: endingOf(record) }
        throw sagaIdTaken(sagaId, `that saga has ended as ${record.status}`)
      }
      const openings = record.openings + 1
      await save(
        { openings, first_run_id: order.firstRunId },
        record.openings === 0 ? [{ service: 'SAGA', status: 'started', message: `${record.type} started` }] : [],
      )
      const settings = { stepTimeoutMs, regularOnly: openings > 1 }
      if (record.fate === 'rollback') return { go: 'rollback', cause: causeOf(record), settings }
      if (record.cancel) return { go: 'rollback', cause: cancelCause(record.cancel), settings }
      return { go: 'forward', input, settings }
    })
  }

  /** Read before each attempt. Throws where the saga has no row. */
  async beginAttempt(sagaId: string, { step, op }: AttemptOrder): Promise<AttemptStart> {
    const { rows } = await this.pool.query(
      `SELECT s.type, s.fate, s.input, s.steps, s.compensations, s.failures,
              i.failures AS "allFailures", i.generation
       FROM saga s CROSS JOIN failure_injection i WHERE s.saga_id = $1`,
      [sagaId],
    )
    const row = rows[0]
    if (!row) throw new Error(`Saga ${sagaId} has no row in table saga`)
    const records: (StepRecord | CompensationRecord)[] = op === 'invoke' ? row.steps : row.compensations
    const known = records.find((record) => record.step === step)
    const own: Failures | null = row.failures
    return {
      fate: row.fate,
      // One that has succeeded is asked again only by a repeated run, and the barrier has its answer.
      ended: known && !['succeeded', 'done', 'empty'].includes(known.status) ? known.attempts : 0,
      injection: {
        scope: own ? `saga ${sagaId}` : `all ${row.generation}`,
        failures: (own ?? row.allFailures)[step] ?? [],
      },
      secrets: this.secretsOf(row),
    }
  }

  /**
   * Writes the row of an attempt that has ended, with the next number of its saga and service, and brings the projection
   * up to date. Returns the number. One that comes after its step was settled is appended, says so, and changes nothing.
   */
  endAttempt(sagaId: string, attempt: AttemptEnd): Promise<number> {
    return this.change(sagaId, async (record, save, tx) => {
      const written = await tx.query('SELECT attempt FROM saga_log WHERE entry_id = $1', [attempt.entryId])
      if (written.rows[0]) return written.rows[0].attempt
      const ended = afterAttempt(record, attempt)
      if (ended.entries.length > 0) await save(ended.changes, ended.entries)
      return ended.attempt
    })
  }

  /** open → completed. A cancel that was acknowledged before wins. */
  complete(sagaId: string, result: Json): Promise<CompletionClaim> {
    return this.change(sagaId, async (record, save) => {
      if (record.fate === 'completed' || record.fate === 'rolledBack') return { go: 'ended', ending: endingOf(record) }
      if (record.fate === 'rollback') return { go: 'rollback', cause: causeOf(record) }
      if (record.cancel) return { go: 'rollback', cause: cancelCause(record.cancel) }
      await save({ fate: 'completed', status: 'COMPLETED', result, input: null, ended_at: new Date() }, [
        { service: 'SAGA', status: 'completed', message: 'all steps applied' },
      ])
      return { go: 'ended', ending: { fate: 'completed', result } }
    })
  }

  /** open → rollback, with the log's one ROLLBACK row. One that is claimed already keeps its first cause. */
  claimRollback(sagaId: string, { cause, reached }: RollbackOrder): Promise<RollbackClaim> {
    return this.change(sagaId, async (record, save) => {
      if (record.fate === 'completed' || record.fate === 'rolledBack') return { go: 'ended', ending: endingOf(record) }
      const claims = record.claims + 1
      if (record.fate === 'rollback') {
        await save({ claims }, [])
        return { go: 'rollback', regularOnly: claims > 1, ...toCompensate(record, record.compensations) }
      }
      const { failedStep, error } = this.#speak(record, record.cancel ? cancelCause(record.cancel) : cause)
      // A lost run may have reached steps that this one has not; they come first, for they were reached later.
      const lost = record.steps.filter(({ step, attempts }) => attempts > 0 && !reached.includes(step))
      const known = [...lost.map(({ step }) => step).toReversed(), ...reached]
      const compensations = known.map((step): CompensationRecord => ({ step, status: 'pending', attempts: 0 }))
      const message = failedStep ? `step ${failedStep} failed for good: ${error.type}: ${error.message}` : error.message
      await save(
        {
          fate: 'rollback',
          status: 'COMPENSATING',
          claims,
          failed_step: failedStep,
          error,
          steps: record.steps.map((step) => settled(step, { failedStep, error, reached: known })),
          compensations,
        },
        [{ service: 'ROLLBACK', status: 'triggered', message }],
      )
      return { go: 'rollback', regularOnly: claims > 1, ...toCompensate(record, compensations) }
    })
  }

  /** rollback → rolledBack, once every compensation is done. */
  closeRolledBack(sagaId: string): Promise<Ending> {
    return this.change(sagaId, async (record, save) => {
      if (record.fate !== 'rollback') return endingOf(record)
      const undone = record.compensations.map(({ step, status }) =>
        status === 'empty' ? `${step}: nothing to undo` : `${step}: undone`,
      )
      await save({ fate: 'rolledBack', status: 'COMPENSATED', input: null, ended_at: new Date() }, [
        {
          service: 'SAGA',
          status: 'compensated',
          message: undone.length > 0 ? undone.join(', ') : 'nothing had been done',
        },
      ])
      return { fate: 'rolledBack', cause: causeOf(record), compensations: record.compensations }
    })
  }

  /** Notes that somebody wants the saga cancelled; from then on it can't complete. The first reason stays. */
  async requestCancel(sagaId: string, cancel: Omit<CancelRequest, 'at'>): Promise<SagaRecord | undefined> {
    if (!(await this.get(sagaId))) return undefined
    return this.change(sagaId, async (record, save) => {
      if (record.fate === 'open' && !record.cancel) {
        await save({ cancel: { ...cancel, at: new Date().toISOString() } }, [])
      }
      return record
    })
  }

  /** Open sagas whose row has no run, `olderThanMs` after they were written. */
  async unstarted(olderThanMs: number): Promise<SagaRecord[]> {
    return this.#list(`first_run_id IS NULL AND started_at < now() - $1 * interval '1 ms'`, olderThanMs)
  }

  /** Open sagas that were to be cancelled `olderThanMs` ago and have not begun to roll back. */
  async uncancelled(olderThanMs: number): Promise<SagaRecord[]> {
    return this.#list(
      `first_run_id IS NOT NULL AND (cancel ->> 'at')::timestamptz < now() - $1 * interval '1 ms'`,
      olderThanMs,
    )
  }

  async #list(condition: string, value: number): Promise<SagaRecord[]> {
    const { rows } = await this.pool.query(
      `SELECT ${recordColumns} FROM saga WHERE fate = 'open' AND ${condition} ORDER BY started_at LIMIT 500`,
      [value],
    )
    return rows
  }

  async writeRefusal(sagaId: string, order: OpenOrder, problems: InputProblem[]): Promise<void> {
    const { message } = invalidInput(problems)
    const error = { type: FailureType.InvalidInput, message }
    await this.pool.query(
      `WITH refused AS (
         INSERT INTO saga (saga_id, type, fate, status, view, input_hash, first_run_id, steps, error, ended_at)
         VALUES ($1, $2, 'rolledBack', 'COMPENSATED', '{}', '', $3, $4, $5, now())
         ON CONFLICT DO NOTHING RETURNING saga_id
       )
       INSERT INTO saga_log (saga_id, service, status, message) SELECT saga_id, 'SAGA', 'compensated', $6 FROM refused`,
      [sagaId, order.type, order.firstRunId, JSON.stringify(pendingSteps(order.steps)), JSON.stringify(error), message],
    )
  }

  /** The cause in words for people: who cancelled and why, and no secret in any of it. */
  #speak(record: SagaRecord, cause: RollbackCause): RollbackCause {
    const isCancel = cause.failedStep === null && cause.error.type === FailureType.Cancelled
    const spoken = isCancel ? cancelCause(record.cancel) : cause
    return { ...spoken, error: redacted(spoken.error, this.secretsOf(record)) }
  }

  secretsOf({ type, input }: { type: string; input: Json }): string[] {
    return input === null ? [] : (this.types.get(type)?.secrets(input) ?? [])
  }

  /** Runs `work` on the locked row of a saga; `save` writes columns and log rows, and announces the change. */
  async change<T>(sagaId: string, work: (record: SagaRecord, save: Save, tx: Client) => Promise<T>): Promise<T> {
    return withTransaction(this.pool, async (tx) => {
      const { rows } = await tx.query(`SELECT ${recordColumns} FROM saga WHERE saga_id = $1 FOR UPDATE`, [sagaId])
      if (!rows[0]) throw new Error(`Saga ${sagaId} has no row in table saga`)
      return work(rows[0], (columns, entries) => write(tx, sagaId, columns, entries), tx)
    })
  }
}

type Save = (columns: Record<string, unknown>, entries: LogEntry[]) => Promise<void>

const jsonColumns = new Set(['steps', 'compensations', 'result', 'error', 'cancel', 'input'])

async function write(tx: Client, sagaId: string, columns: Record<string, unknown>, entries: LogEntry[]): Promise<void> {
  const names = Object.keys(columns)
  const values = names.map((name) => {
    const value = columns[name]
    return jsonColumns.has(name) && value !== null ? JSON.stringify(value) : value
  })
  await tx.query(
    `WITH changed AS (UPDATE saga SET ${names.map((name, i) => `${name} = $${i + 3}`).join(', ')} WHERE saga_id = $1),
     logged AS (
       INSERT INTO saga_log (saga_id, service, status, message, attempt, entry_id)
       SELECT $1, service, status, message, attempt, "entryId"
       FROM jsonb_to_recordset($2) AS e (service text, status text, message text, attempt integer, "entryId" uuid)
     )
     SELECT pg_notify('${CHANGES}', $1)`,
    [sagaId, JSON.stringify(entries), ...values],
  )
}

function pendingSteps(steps: StepDeclarations): StepRecord[] {
  return Object.entries(steps).map(([step, { service }]) => ({ step, service, status: 'pending', attempts: 0 }))
}

/** Takes secrets out of a message. Those of three characters and less are no secret, and stand in half the words there are. */
export function redacted(error: SagaError, secrets: string[]): SagaError {
  const long = secrets.filter((secret) => secret.length > 3)
  return { ...error, message: long.reduce((text, secret) => text.replaceAll(secret, '****'), error.message) }
}

/** Workflow ids that can be saga ids: anything PostgreSQL and people can handle, up to the contract's 255 characters. */
function idProblems(sagaId: string): InputProblem[] {
  const fits = Array.from(sagaId).length <= 255 && !/\p{Cc}|\p{Cs}/u.test(sagaId)
  return fits ? [] : [{ path: 'workflow id', message: 'must have at most 255 characters and no control characters' }]
}

/** The same for the same JSON, whatever its layout. */
function hashOf(input: Json, failures: Failures | undefined): string {
  return createHash('sha256')
    .update(canonical({ input, failures: failures ?? null }))
    .digest('base64')
}

function canonical(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonical).join()}]`
  if (typeof value !== 'object' || value === null) return JSON.stringify(value)
  const entries = Object.entries(value).toSorted(([a], [b]) => (a < b ? -1 : 1))
  return `{${entries.map(([key, one]) => `${JSON.stringify(key)}:${canonical(one)}`).join()}}`
}

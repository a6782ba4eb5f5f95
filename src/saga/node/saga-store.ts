import { withTransaction, type Client, type Pool, type Queryable } from './db.js'
import { FailureType, deadlineExceeded, invalidInput, lateInvoke, sagaIdTaken, type InputProblem } from '../errors.js'
import { inWords, problemsOf } from '../exact-json.js'
import type { Failure, Failures } from '../failure.js'
import type {
  Changed,
  Closing,
  CompensateOrder,
  CompletionClaim,
  Decision,
  Ending,
  InvokeOrder,
  Json,
  Loss,
  MemberOrder,
  NestedClaim,
  Nesting,
  OpenOrder,
  Opening,
  ParkOrder,
  Parking,
  RecordedDecision,
  Recovery,
  RollbackCause,
  RollbackClaim,
  RollbackOrder,
  RunSettings,
  SagaError,
  SagaView,
  StepDeclaration,
  StepDeclarations,
  ToldDecision,
} from '../types.js'
import { nestedId } from '../plan.js'
import { canonical } from './canonical.js'
import {
  afterDecision,
  afterOpening,
  afterTaking,
  changeOf,
  refusalOf,
  repeatedDecision,
  type Matched,
} from './deciding.js'
import { InstalledKeys } from './installation.js'
import { PayloadKeys, SEALED, UnreadablePayload, type Sealed } from './payload-keys.js'
import {
  afterAttempt,
  afterClaim,
  afterCompletion,
  afterParking,
  afterRecovery,
  afterRollback,
  afterVerification,
  decidedSteps,
  dueCompensations,
  endedAttempts,
  isDoubtful,
  type AttemptEnd,
  type Correction,
  type Findings,
} from './projection.js'
import {
  cancelCause,
  causeOf,
  declaredSteps,
  endingOf,
  inputsOf,
  isCancellable,
  isEnded,
  isPastPivot,
  recordColumns,
  toView,
  type CancelRequest,
  type SagaRecord,
  type StepRecord,
} from './saga-record.js'
import { describe, readInput } from './saga-input.js'
import type { OnLogged } from './saga-metrics.js'
import { LockFirst, readColumns, saveBy, toJsonb, write, type ReadRecord, type Save } from './saga-row.js'
import { SagaTable, type IntentRow, type NewRow, type SagaTableOptions } from './saga-table.js'
import type { SagaType } from './saga-type.js'
import {
  inputPlace,
  openCorrection,
  openDecision,
  openInput,
  openSecrets,
  readable,
  secretsPlace,
} from './sealed-values.js'
import { redacted, withoutValues } from './secrets.js'
import { UnfinishedSagas } from './unfinished-sagas.js'

/** A saga that is to be written down. */
export interface SagaIntent {
  sagaId: string
  saga: SagaType
  steps: StepDeclarations
  input: Json
  failures?: Failures | undefined
}

export interface Intent extends SagaIntent {
  idempotencyKey?: string | undefined
  /** Unfinished single sagas at most. */
  maxOpen: number
}

export type IntentAnswer =
  | { kind: 'written'; record: SagaRecord }
  /** The key's saga, whose input was the same. */
  | { kind: 'replayed'; record: SagaRecord }
  /** The key belongs to a saga with another input. */
  | { kind: 'mismatch' }
  | { kind: 'full' }

/** What became of a decision. */
export type DecisionAnswer =
  | { kind: 'recorded'; decision: RecordedDecision; record: SagaRecord }
  | { kind: 'refused'; why: string }
  | { kind: 'unknown' }

/** What became of one of many decisions. */
export type MatchedAnswer = { kind: 'recorded'; decision: RecordedDecision } | { kind: 'refused'; why: string }

const STARTED_ANEW = 'taken up again: its last run was gone, and it was started anew'

/** A step whose operation an operator has had the last word on. */
export interface Decided {
  step: string
  op: 'invoke' | 'compensate'
}

/** How much time calls and sagas have. */
export type Times = Pick<RunSettings, 'stepTimeoutMs' | 'deadlineMs'>

/** What an attempt needs to know before it makes its call. */
export interface AttemptStart {
  fate: SagaRecord['fate']
  /** Somebody wants the saga cancelled, and was not too late. */
  isCancelled: boolean
  /** Attempts of this step and operation that have ended since the last decision or recovery. */
  ended: number
  /** Failures to inject into this step, and whose calls they count. */
  injection: { scope: string; failures: Failure[] }
  secrets: string[]
  /** The saga as it was read. */
  seen: ReadRecord
}

export interface SagaStoreOptions {
  /** Told of every log row that is written. */
  onLogged?: OnLogged | undefined
  /** Encrypt what is kept: a saga's input, what people put in its place, its secrets. A record has them as they are kept. */
  payloadKeys?: PayloadKeys | undefined
  /** Reads and writes of many sagas at the same time are one statement. For those that share a run. */
  gathering?: SagaTableOptions['gathering']
}

/**
 * The sagas' rows, and with each change of one the log rows that tell of it, in one statement. It locks the saga's row
 * first, so that log ids of a saga rise in the order of their commits, and takes effect only on the row that was read, so
 * that fates are decided once.
 */
export class SagaStore {
  readonly #types: ReadonlyMap<string, SagaType>
  readonly #keys: PayloadKeys
  readonly #installed: InstalledKeys
  private readonly onLogged: OnLogged
  readonly #table: SagaTable
  /** Those that have not ended. */
  readonly unfinished: UnfinishedSagas

  /** `sagas`: the types whose rows are to be written; others can be read, cancelled and decided. */
  constructor(
    private readonly pool: Pool,
    sagas: readonly SagaType[],
    { onLogged = () => {}, payloadKeys = new PayloadKeys([]), gathering }: SagaStoreOptions = {},
  ) {
    this.#types = new Map(sagas.map((saga) => [saga.type, saga]))
    this.#keys = payloadKeys
    this.#installed = new InstalledKeys(pool, payloadKeys)
    this.onLogged = onLogged
    this.#table = new SagaTable(pool, { onLogged, gathering })
    this.unfinished = new UnfinishedSagas(pool, [...this.#types.keys()])
  }

  /** Whether it can write the rows of sagas of that type. */
  knows(type: string): boolean {
    return this.#types.has(type)
  }

  /** False once its connections have been given back for good. */
  get isOpen(): boolean {
    return !this.pool.ended && !this.pool.ending
  }

  get(sagaId: string): Promise<ReadRecord | undefined> {
    return this.#table.get(sagaId)
  }

  /** What hashes and seals what is kept, that of the installation included. */
  keys(): Promise<PayloadKeys> {
    return this.#installed.get()
  }

  /** `keys`: those of the store. Throws InvalidInput where the input cannot be kept. */
  rowOf({ sagaId, saga, steps, input, failures }: SagaIntent, keys: PayloadKeys): IntentRow {
    const described = describe(saga, input)
    if ('problems' in described) throw invalidInput(described.problems)
    const { label, view, secrets } = described
    return {
      saga_id: sagaId,
      type: saga.type,
      label,
      view,
      input: keys.seal(input, inputPlace(sagaId)),
      sealing: SEALED,
      secrets: hidden(sagaId, secrets, keys),
      input_hash: keys.hash(hashedText(input, failures)),
      failures: failures ?? null,
      steps: pendingSteps(sagaId, steps),
    }
  }

  /**
   * Writes a saga down before anything is asked to run it. A key that is known already answers with its saga. Throws
   * InvalidInput where the input cannot be kept.
   */
  async writeIntent(intent: Intent): Promise<IntentAnswer> {
    const { sagaId, saga, idempotencyKey, maxOpen } = intent
    const keys = await this.keys()
    const row: NewRow = { ...this.rowOf(intent, keys), idempotency_key: idempotencyKey ?? null, maxOpen }
    const written = await this.#table.insert(row)
    if (written) return { kind: 'written', record: written }
    const known = await this.pool.query(
      `SELECT ${recordColumns} FROM saga WHERE saga_id = $1 OR idempotency_key = $2`,
      [sagaId, idempotencyKey ?? null],
    )
    const record: SagaRecord | undefined = known.rows[0]
    if (!record) return { kind: 'full' }
    // Our own: an earlier try of this very call wrote it, and lost the answer.
    if (record.sagaId === sagaId) return { kind: 'written', record }
    return keys.isHashOf(record.inputHash, hashedText(intent.input, intent.failures)) && record.type === saga.type
      ? { kind: 'replayed', record }
      : { kind: 'mismatch' }
  }

  /**
   * Opens a run of a saga: writes the row of one that came by another door, takes up the one there is, or finds how it
   * has ended. Throws InvalidInput, for which it leaves an ended row, and SagaIdTaken.
   */
  async open(sagaId: string, order: OpenOrder, times: Times): Promise<Opening> {
    const saga = this.#types.get(order.type)
    if (!saga) throw new Error(`This worker has no saga type ${order.type}; add it to its list`)
    const wrongId = idProblems(sagaId)
    // Most come with an intent.
    const seen = wrongId.length > 0 ? undefined : await this.get(sagaId)
    const read = order.problem ? { problems: [order.problem] } : readInput(saga, order.input)
    // What is in its row already is not refused any more. One that was refused has no hash.
    const isKept = seen !== undefined && seen.inputHash !== ''
    const described = 'problems' in read ? read : isKept ? undefined : describe(saga, read.input)
    const ofInput = described && 'problems' in described ? described.problems : []
    const problems = [...wrongId, ...problemsWithoutValues(ofInput, order.input)]
    if ('problems' in read || problems.length > 0) {
      if (wrongId.length > 0) throw invalidInput(problems)
      await this.writeRefusal(sagaId, order, problems)
      const standing = await this.get(sagaId)
      if (standing && standing.firstRunId !== order.firstRunId) {
        throw sagaIdTaken(sagaId, 'it belongs to a saga with another input')
      }
      throw invalidInput(problems)
    }
    const keys = await this.keys()
    const input = read.input as Json
    const { failures } = read
    const { nestedIn } = order
    // What is injected into a nested saga comes from its parent.
    const hashed = hashedText(input, nestedIn ? undefined : failures)
    const insert = async (db: Queryable, there: { failures: Failures | undefined; parentsSecrets?: string[] }) => {
      if (!described || 'problems' in described) return
      // What its parent knows to be secret may come with its input.
      const secrets = [...new Set([...described.secrets, ...(there.parentsSecrets ?? [])])]
      await db.query(
        `INSERT INTO saga (saga_id, type, label, view, input, sealing, secrets, input_hash, failures, steps, parent_id, parent_step)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) ON CONFLICT DO NOTHING`,
        [
          ...[sagaId, saga.type, described.label, toJsonb(described.view)],
          ...[toJsonb(keys.seal(input, inputPlace(sagaId))), SEALED, toJsonb(hidden(sagaId, secrets, keys))],
          keys.hash(hashed),
          there.failures ? toJsonb(there.failures) : null,
          ...[toJsonb(pendingSteps(sagaId, order.steps)), nestedIn?.sagaId ?? null, nestedIn?.step ?? null],
        ],
      )
    }
    if (nestedIn) {
      await this.#insertNested(order.type, nestedIn, keys, (tx, theirs) =>
        insert(tx, { ...theirs, failures: theirs.failures ?? failures }),
      )
      if (!(await this.get(sagaId))) throw lateInvoke(nestedIn)
    } else if (!seen) {
      await insert(this.pool, { failures })
    }
    return this.#change(
      sagaId,
      async (record, save) => {
        const isOurs = !nestedIn || record.parentId === nestedIn.sagaId
        if (record.type !== order.type || !keys.isHashOf(record.inputHash, hashed) || !isOurs) {
          throw sagaIdTaken(sagaId, 'it belongs to a saga with another input')
        }
        if (isEnded(record)) {
          // Asked once more by its parent a nested saga answers as it has ended, like a barrier.
          if (record.firstRunId === order.firstRunId || nestedIn) return ended(record)
          throw sagaIdTaken(sagaId, `that saga has ended as ${record.status}`)
        }
        if (record.handedOverAt) return handedOver(record)
        return this.#takeUp(record, save, { firstRunId: order.firstRunId, carriedBy: null }, times)
      },
      nestedIn ? undefined : seen,
    )
  }

  /**
   * Opens a saga of a group. One that has a run already, or has had one, is left to that. A bulk takes its own up again,
   * whichever of its runs had them.
   */
  async openMember(
    sagaId: string,
    { type, firstRunId, carriedBy }: MemberOrder,
    times: Times,
  ): Promise<Opening | { go: 'elsewhere' }> {
    return this.#change(sagaId, async (record, save) => {
      const isFree = record.bulkId === null && (record.firstRunId ?? firstRunId) === firstRunId
      if (record.type !== type || !(isFree || record.carriedBy === carriedBy)) return { go: 'elsewhere' }
      if (isEnded(record)) return ended(record)
      return this.#takeUp(record, save, { firstRunId, carriedBy }, times)
    })
  }

  /** A saga that has not ended goes on in a run. */
  async #takeUp(
    record: SagaRecord,
    save: Save,
    { firstRunId, carriedBy }: Pick<SagaRecord, 'carriedBy'> & { firstRunId: string },
    times: Times,
  ): Promise<Opening> {
    const openings = record.openings + 1
    // Not a reset, nor a run that goes on in another: Temporal has no trace left of the last one, or somebody ended it.
    const isAnew = record.firstRunId !== null && record.firstRunId !== firstRunId
    const begunAt = record.begunAt ?? (record.bulkId === null ? null : record.readAt)
    const opened = await save({ ...afterOpening(record), openings, firstRunId, carriedBy, begunAt }, [
      ...(record.openings === 0 ? [{ service: 'SAGA', status: 'started', message: `${record.type} started` }] : []),
      ...(isAnew ? [{ service: 'SAGA', status: 'recovered', message: STARTED_ANEW }] : []),
    ])
    const settings = { ...times, regularOnly: openings > 1, version: 2 } as const
    const view = toView(opened)
    const decided = decidedSteps(opened, this.#correctionOf(opened))
    const inputs = inputsOf(opened)
    const isClaimed = record.fate === 'rollback'
    const leftMs = (begunAt ?? record.startedAt).getTime() + times.deadlineMs - record.readAt.getTime()
    const pastPivot = isPastPivot(record)
    const cause = isClaimed
      ? causeOf(record)
      : record.cancel
        ? cancelCause(record.cancel)
        : (record.stopping ?? (leftMs <= 0 ? deadlineExceeded(times) : undefined))
    return cause && !pastPivot
      ? { go: 'rollback', cause, settings, view, isClaimed, decided, inputs }
      : {
          go: 'forward',
          input: openInput(record, this.#keys),
          settings,
          view,
          leftMs: Math.max(0, leftMs),
          pastPivot,
          decided,
          inputs,
        }
  }

  /** Takes a saga out of its group: from here on it has no run, until it is started. Undefined where it has ended, or left before. */
  async release(sagaId: string): Promise<SagaRecord | undefined> {
    const { rows } = await this.pool.query(
      `UPDATE saga SET first_run_id = NULL, carried_by = NULL
       WHERE saga_id = $1 AND fate IN ('open', 'rollback') AND carried_by IS NOT NULL RETURNING ${recordColumns}`,
      [sagaId],
    )
    return rows[0]
  }

  /**
   * Writes a nested saga's row, with what `insert` makes of it, unless its parent goes forward no more: in the transaction
   * that holds the parent's row, so that a rollback which is claimed later finds it. `failures` are those that the parent
   * brings along for it.
   */
  async #insertNested(
    type: string,
    { sagaId, step }: Nesting,
    keys: PayloadKeys,
    insert: (tx: Client, theirs: { failures: Failures | undefined; parentsSecrets: string[] }) => Promise<unknown>,
  ): Promise<void> {
    if (!(await this.get(sagaId))) return
    await this.#changeLocked(sagaId, async (parent, save, tx) => {
      if (parent.fate !== 'open') return
      if (!parent.steps.some((one) => one.step === step)) {
        const declared = pendingSteps(sagaId, { [step]: { service: type, kind: 'compensatable', isSaga: true } })
        await save({ steps: [...parent.steps, ...declared] }, [])
      }
      await insert(tx, {
        failures: parent.failures ? failuresWithin(parent.failures, step) : undefined,
        parentsSecrets: this.#known(parent, keys),
      })
    })
  }

  /** Takes up a saga whose run is gone. What was stuck is tried again; the log says so. */
  async recover(
    sagaId: string,
    { firstRunId, loss }: { firstRunId: string; loss?: Loss },
    times: Times,
  ): Promise<Recovery> {
    const keys = await this.keys()
    return this.#change(sagaId, async (record, save) => {
      if (isEnded(record)) return ended(record)
      if (record.handedOverAt) return handedOver(record)
      const message = redacted(loss?.message ?? 'its run was gone', this.#known(record, keys), [sagaId])
      const entry = { service: 'SAGA', status: 'recovered', message: `taken up again: ${message}` }
      // Its own opening once more, as after a lost workflow task, is no second recovery. Nor is the first run of its own of a
      // saga that has left the one it shared.
      const isNew = record.firstRunId !== firstRunId && (loss !== undefined || record.firstRunId !== null)
      const recovered = await save(
        { ...(isNew && afterRecovery(record)), firstRunId, carriedBy: null, openings: record.openings + 1 },
        isNew ? [entry] : [],
      )
      const isClaimed = record.fate === 'rollback'
      const terminated = { failedStep: null, error: { type: FailureType.Terminated, message } }
      return {
        go: 'recover',
        type: record.type,
        request: this.requestOf(record),
        steps: declaredSteps(record),
        cause: isClaimed
          ? causeOf(record)
          : record.cancel
            ? cancelCause(record.cancel)
            : (record.stopping ?? terminated),
        settings: { ...times, regularOnly: true, version: 2 },
        isClaimed,
        pastPivot: isPastPivot(record),
        inputs: inputsOf(recovered),
        view: toView(recovered),
      }
    })
  }

  /** Read before each attempt. Throws where the saga has no row. */
  async beginAttempt(sagaId: string, order: InvokeOrder | CompensateOrder): Promise<AttemptStart> {
    const { step, op } = order
    const found = await this.#table.getForAttempt(sagaId)
    if (!found) throw new Error(`Saga ${sagaId} has no row in table saga`)
    const { record, inForce } = found
    if (
      record.fate === 'open' &&
      order.op !== 'compensate' &&
      !record.steps.some((one: StepRecord) => one.step === step)
    ) {
      await this.#declare(sagaId, step, {
        service: order.service,
        kind: order.op === 'invoke' ? order.kind : 'pivot',
        ...(order.nestedId !== undefined && { isSaga: true }),
      })
      return this.beginAttempt(sagaId, order)
    }
    const own: Failures | null = record.failures
    return {
      fate: record.fate,
      isCancelled: record.cancel !== null && !isPastPivot(record),
      ended: endedAttempts(record, { step, op }),
      injection: {
        scope: own ? `saga ${sagaId}` : `all ${inForce.generation}`,
        failures: (own ?? inForce.everywhere)[step] ?? [],
      },
      secrets: await this.secretsOf(record),
      seen: record,
    }
  }

  /**
   * Adds a step that the saga's code has gained since the saga was written down: before it is called, or nobody would know
   * to undo it. Where a rollback was claimed first it is not called any more.
   */
  async #declare(sagaId: string, step: string, declaration: StepDeclaration): Promise<void> {
    await this.#change(sagaId, async (record, save) => {
      if (record.fate !== 'open' || record.steps.some((one) => one.step === step)) return
      await save({ steps: [...record.steps, ...pendingSteps(sagaId, { [step]: declaration })] }, [])
    })
  }

  /**
   * Writes the row of an attempt that has ended, with the next number of its saga and service, and brings the projection
   * up to date. Returns what it made of the step. One that comes after its step was settled is appended, says so, and
   * changes nothing. `seen`: the saga as the attempt found it, which is mostly how it still is.
   */
  async endAttempt(sagaId: string, attempt: AttemptEnd, seen?: ReadRecord): Promise<Changed> {
    const keys = await this.keys()
    const after = (record: SagaRecord) => {
      const { order } = attempt
      if (order.op === 'invoke' || !order.cause) return afterAttempt(record, attempt)
      return afterAttempt(record, { ...attempt, order: { ...order, cause: this.#speak(record, order.cause, keys) } })
    }
    if (seen) {
      const { changes, entries, changed } = after(seen)
      if (entries.length === 0) return changed
      if ((await this.#table.write({ record: seen, changes, entries })) !== undefined) return changed
    }
    return this.#changeLocked(sagaId, async (record, save, tx) => {
      const written = await tx.query('SELECT FROM saga_log WHERE entry_id = $1', [attempt.entryId])
      if (written.rowCount) return {}
      const { changes, entries, changed } = after(record)
      if (entries.length > 0) await save(changes, entries)
      return changed
    })
  }

  /**
   * open → completed, its nested sagas with it. A cancel that was acknowledged before wins, but for a saga past its point of
   * no return. A nested saga hands its undo over to its parent instead, and stays open.
   */
  async complete(sagaId: string, result: Json): Promise<CompletionClaim> {
    const keys = await this.keys()
    return this.#change(sagaId, async (record, save, tx) => {
      if (isEnded(record)) {
        return { go: 'ended', ending: endingOf(record), endedAt: record.endedAt?.toISOString() }
      }
      if (record.fate === 'rollback') return { go: 'rollback', cause: causeOf(record) }
      if (record.cancel && !isPastPivot(record)) return { go: 'rollback', cause: cancelCause(record.cancel) }
      if (record.parentId !== null) {
        await save({ result, handedOverAt: record.handedOverAt ?? record.readAt }, [])
        return { go: 'ended', ending: { fate: 'completed', result }, endedAt: undefined }
      }
      // Its nested sagas in the same transaction.
      if (!tx && hasNested(record)) throw new LockFirst()
      // A row that an earlier version has written has none.
      const secrets = record.secrets ?? hidden(sagaId, this.#known(record, keys), keys)
      const { changes, entries, endedAt } = afterCompletion({ ...record, secrets }, result)
      await save(changes, entries)
      if (tx) await completeNested(tx, record, this.onLogged)
      return { go: 'ended', ending: { fate: 'completed', result }, endedAt: endedAt.toISOString() }
    })
  }

  /**
   * A parent that rolls back wants its nested saga undone: from here on that can't hand over any more, and the sweep looks
   * after it like after any other. One that never opened has nothing to undo, and finds its parent's fate decided.
   */
  async claimNested(parentId: string, { nestedId: id }: { nestedId: string }): Promise<NestedClaim> {
    if ((await this.get(id))?.parentId !== parentId) return { go: 'over' }
    return this.#change(id, async (record, save) => {
      if (isEnded(record)) return { go: 'over' }
      if (record.fate === 'open') {
        const at = record.readAt.toISOString()
        const cancel = record.cancel ?? { actor: `saga ${parentId}`, reason: 'it is rolled back', at }
        // A run of its own that is gone for good reason is not lost.
        await save({ cancel, ...(record.handedOverAt && { handedOverAt: null, firstRunId: null }) }, [])
      }
      return { go: 'run', type: record.type, input: openInput(record, this.#keys) }
    })
  }

  /** open → rollback, with the log's one ROLLBACK row. One that is claimed already keeps its first cause. */
  async claimRollback(sagaId: string, { cause, reached }: RollbackOrder): Promise<RollbackClaim> {
    const keys = await this.keys()
    return this.#change(sagaId, async (record, save) => {
      if (isEnded(record)) return ended(record)
      // By an earlier run of it, whose last call outlived it: whether that stays is its parent's to say.
      if (record.handedOverAt) return handedOver(record)
      const claims = record.claims + 1
      const claimed = (now: SagaRecord): RollbackClaim => {
        const due = dueCompensations(now.steps, now.compensations, this.#correctionOf(now))
        return { go: 'rollback', regularOnly: claims > 1, due, view: toView(now) }
      }
      if (record.fate === 'rollback') return claimed(await save({ claims }, []))
      const spoken = this.#speak(record, record.cancel ? cancelCause(record.cancel) : cause, keys)
      const { changes, entries } = afterClaim(record, { cause: spoken, reached })
      return claimed(await save({ ...changes, claims }, entries))
    })
  }

  /** Says that a step waits for a person; or has the decision that came already. */
  async park(
    sagaId: string,
    order: ParkOrder,
  ): Promise<Exclude<Parking, { go: 'wait' }> | { go: 'wait'; view: SagaView }> {
    const keys = await this.keys()
    return this.#change(sagaId, async (record, save) => {
      if (isEnded(record)) return ended(record)
      const records = order.at === 'compensate' ? record.compensations : record.steps
      const known = records.find(({ step }) => step === order.step)
      const decision = known?.decision
      if (decision && decision.number > order.decisions) {
        return { go: 'on', decision: openDecision(sagaId, decision, this.#keys), view: toView(record) }
      }
      const isDone = known?.status === 'succeeded' || known?.status === 'done' || known?.status === 'empty'
      if (isDone && order.at !== 'code') return { go: 'again', view: toView(record) }
      const secrets = this.#known(record, keys)
      const spoken = (error: SagaError) => ({ ...error, message: redacted(error.message, secrets, idsOf(record)) })
      const { changes, entries } = afterParking(record, {
        ...order,
        error: order.error && spoken(order.error),
        ...(order.cause && { cause: { ...order.cause, error: spoken(order.cause.error) } }),
      })
      const parked = await save(changes, entries)
      return { go: 'wait', view: toView(parked) }
    })
  }

  /**
   * Writes a person's decision down, by compare-and-set on what is stuck: of two at once one wins. The same one again, as
   * after a lost answer, is taken as the first. `refused` says why it can't be.
   */
  async decide(sagaId: string, decision: ToldDecision): Promise<DecisionAnswer> {
    // What a run is told of stands in the row already.
    const wrong = decision.number === undefined ? problemsOf(decision.input) : []
    if (wrong.length > 0) return { kind: 'refused', why: `The input cannot be kept as it is: ${inWords(wrong)}.` }
    if (!(await this.get(sagaId))) return { kind: 'unknown' }
    const keys = await this.keys()
    return this.#change(sagaId, async (record, save) => {
      const repeated = repeatedDecision(record, decision, keys)
      if (repeated) return { kind: 'recorded', decision: repeated, record }
      const refused =
        decision.number === undefined
          ? refusalOf(record, decision, keys)
          : 'A later decision has taken the place of this one.'
      if (refused !== undefined) return { kind: 'refused', why: refused }
      const known = this.#readableOf(record, keys)
      const { changes, entries, recorded } = afterDecision(record, decision, { keys, known })
      return { kind: 'recorded', decision: recorded, record: await save(changes, entries) }
    })
  }

  /**
   * A decision for one of many, in the transaction of its caller, who notes there what became of it: so it is made once,
   * however often it is tried. Only on what was `matched`: what is stuck anew since then waits for a word of its own.
   */
  async decideMatched(tx: Client, sagaId: string, decision: Decision, matched: Matched): Promise<MatchedAnswer> {
    const keys = await this.keys()
    return this.#changeLocked(
      sagaId,
      async (record, save) => {
        const refused = refusalOf(record, decision, keys) ?? changeOf(record, decision, matched)
        if (refused !== undefined) return { kind: 'refused', why: refused }
        const known = this.#readableOf(record, keys)
        const { changes, entries, recorded } = afterDecision(record, decision, { keys, known })
        await save(changes, entries)
        return { kind: 'recorded', decision: recorded }
      },
      tx,
    )
  }

  /** Notes that a run acts on a decision: from then on nobody needs to be told of it. With what operators have settled. */
  takeDecision(
    sagaId: string,
    order: { step: string; number: number },
  ): Promise<{ view: SagaView; byHand: Decided[] }> {
    return this.#change(sagaId, async (record, save) => {
      const taken = record.decidedAt ? await save(afterTaking(record, order), []) : record
      const done = taken.steps.filter(({ isByHand }) => isByHand).map(({ step }) => ({ step, op: 'invoke' as const }))
      return { view: toView(taken), byHand: [...done, ...undoneByHand(taken)] }
    })
  }

  /** Writes down what the participants have found of a rolled back saga. */
  async endVerification(sagaId: string, findings: Findings): Promise<void> {
    await this.#change(sagaId, async (record, save) => {
      if (record.fate !== 'rollback') return
      const { changes, entries } = afterVerification(record, findings)
      await save(changes, entries)
    })
  }

  /**
   * rollback → rolledBack, once every compensation is done, and nothing is left where there was any doubt. `bar`: before
   * that, calls of these steps that may still be on their way are to be barred, for a person has had the last word on them.
   */
  closeRolledBack(
    sagaId: string,
    { verified, isBarred }: { verified: boolean; isBarred: boolean },
  ): Promise<Closing | { go: 'bar'; steps: Decided[] }> {
    return this.#change(sagaId, async (record, save) => {
      if (record.fate !== 'rollback') return ended(record)
      const all = dueCompensations(record.steps, record.compensations, this.#correctionOf(record))
      const due = all.filter(({ reached }) => reached)
      if (due.length > 0) return { go: 'on', due, view: toView(record) }
      const byHand = undoneByHand(record)
      if (byHand.length > 0 && !isBarred) return { go: 'bar', steps: byHand }
      if (!verified && isDoubtful(record)) return { go: 'verify' }
      const { changes, entries } = afterRollback(record)
      return ended(await save(changes, entries))
    })
  }

  /**
   * Notes that somebody wants the saga cancelled; from then on it can't complete. The first reason stays. A saga past its
   * point of no return is left as it is.
   */
  async requestCancel(sagaId: string, cancel: Omit<CancelRequest, 'at'>): Promise<SagaRecord | undefined> {
    if (!(await this.get(sagaId))) return undefined
    const keys = await this.keys()
    return this.#change(sagaId, async (record, save) => {
      if (isCancellable(record)) {
        const secrets = this.#readable(record, keys)
        const [reason, actor] = [cancel.reason, cancel.actor].map((text) => redacted(text, secrets, [sagaId])) as [
          string,
          string,
        ]
        await save({ cancel: { reason, actor, at: record.readAt.toISOString() } }, [])
      }
      return record
    })
  }

  async writeRefusal(sagaId: string, order: OpenOrder, problems: InputProblem[]): Promise<void> {
    // The names of its fields stand in it, and may be what PostgreSQL refuses.
    const message = invalidInput(problems).message.replaceAll('\0', '\ufffd')
    const error = { type: FailureType.InvalidInput, message }
    await this.pool.query(
      `WITH refused AS (
         INSERT INTO saga (saga_id, type, fate, status, view, input_hash, first_run_id, steps, error, ended_at,
                           parent_id, parent_step)
         VALUES ($1, $2, 'rolledBack', 'COMPENSATED', '{}', '', $3, $4, $5, now(), $7, $8)
         ON CONFLICT DO NOTHING RETURNING saga_id
       )
       INSERT INTO saga_log (saga_id, service, status, message) SELECT saga_id, 'SAGA', 'compensated', $6 FROM refused`,
      [
        sagaId,
        order.type,
        order.firstRunId,
        toJsonb(pendingSteps(sagaId, order.steps)),
        toJsonb(error),
        message,
        order.nestedIn?.sagaId ?? null,
        order.nestedIn?.step ?? null,
      ],
    )
  }

  /** The cause in words for people: who cancelled and why, what a step first failed with, and no secret in any of it. */
  #speak(record: SagaRecord, cause: RollbackCause, keys: PayloadKeys): RollbackCause {
    const isCancel = cause.failedStep === null && cause.error.type === FailureType.Cancelled
    const { error } = record.steps.find(({ step }) => step === cause.failedStep) ?? {}
    const isLate = cause.error.type === FailureType.LateInvoke && error !== undefined
    const spoken = isCancel ? cancelCause(record.cancel) : isLate ? { ...cause, error } : cause
    const message = redacted(spoken.error.message, this.#known(record, keys), idsOf(record))
    return { ...spoken, error: { ...spoken.error, message } }
  }

  /** The texts that must not stand in any message of the saga. */
  async secretsOf(record: WithSecrets): Promise<string[]> {
    return this.#known(record, await this.keys())
  }

  /** The same, as far as they can be read: nobody's cancel waits for a key that is gone. */
  async readableSecretsOf(record: WithSecrets): Promise<string[]> {
    return this.#readable(record, await this.keys())
  }

  #readable(record: WithSecrets, keys: PayloadKeys): string[] {
    try {
      return this.#known(record, keys)
    } catch (error) {
      if (error instanceof UnreadablePayload) return []
      throw error
    }
  }

  #known(record: WithSecrets, keys: PayloadKeys): string[] {
    const { sagaId, type, input, secrets } = record
    if (secrets) return openSecrets(sagaId, secrets, keys)
    // There are none, or an earlier version has written the row.
    return input === null ? [] : (this.#types.get(type)?.secrets(openInput(record, keys)) ?? [])
  }

  /** Of what is secret, all that can be read, as it is kept and in the clear. */
  #readableOf(record: WithSecrets, keys: PayloadKeys): { kept: Sealed[]; secrets: string[] } {
    const { sagaId, secrets: all } = record
    const kept = all ? readable(sagaId, all, keys) : (hidden(sagaId, this.#known(record, keys), keys) ?? [])
    return { kept, secrets: openSecrets(sagaId, kept, keys) }
  }

  /** What starts the saga again, as it was started. */
  requestOf(record: SagaRecord): Json {
    const { failures, parentId } = record
    const input = openInput(record, this.#keys)
    if (input === null) return null
    return failures && parentId === null ? { ...(input as object), failures: failures as unknown as Json } : input
  }

  /** What people have decided of it, and no run has acted on. */
  undecidedOf({ sagaId, steps, compensations }: SagaRecord): RecordedDecision[] {
    return [...steps, ...compensations].flatMap(({ decision }) =>
      decision?.isTaken === false ? [openDecision(sagaId, decision, this.#keys)] : [],
    )
  }

  #correctionOf({ sagaId }: SagaRecord): Correction {
    return (decision) => openCorrection(sagaId, decision, this.#keys)
  }

  /**
   * Runs `work` on a saga's record, as it was `seen` or is read now; `save`, called once at most, writes changes and log
   * rows, and announces them. Somebody may have changed the row meanwhile: then nothing is written, and `work` runs once
   * more on the locked row.
   */
  async #change<T>(sagaId: string, work: Work<T, Client | undefined>, seen?: ReadRecord): Promise<T> {
    const record = seen ?? (await this.get(sagaId))
    if (!record) throw new Error(`Saga ${sagaId} has no row in table saga`)
    try {
      return await work(record, saveBy(this.#table.write, record), undefined)
    } catch (error) {
      if (!(error instanceof LockFirst)) throw error
    }
    return this.#changeLocked(sagaId, work)
  }

  /**
   * The same with the row locked from the start, and in one transaction with what `work` does besides: the caller's, where
   * it has one.
   */
  #changeLocked<T>(sagaId: string, work: Work<T, Client>, within?: Client): Promise<T> {
    const locked = async (tx: Client) => {
      const { rows } = await tx.query<ReadRecord>(`SELECT ${readColumns} FROM saga WHERE saga_id = $1 FOR UPDATE`, [
        sagaId,
      ])
      const [record] = rows
      if (!record) throw new Error(`Saga ${sagaId} has no row in table saga`)
      return work(
        record,
        saveBy((change) => write(tx, change, this.onLogged), record),
        tx,
      )
    }
    return within ? locked(within) : withTransaction(this.pool, locked)
  }
}

/** Compensations that operators have resolved or skipped. */
function undoneByHand({ compensations }: SagaRecord): Decided[] {
  return compensations
    .filter(({ status }) => status === 'resolved' || status === 'skipped')
    .map(({ step }) => ({ step, op: 'compensate' }))
}

/** What of a record says what is secret of its saga. */
export type WithSecrets = Pick<SagaRecord, 'sagaId' | 'type' | 'input' | 'sealing' | 'secrets'>

/** Of a row of `saga`. */
export const withSecrets = 'saga_id AS "sagaId", type, input, sealing, secrets'

/** As a saga's row keeps what is secret of it; null: nothing. */
function hidden(sagaId: string, secrets: string[], keys: PayloadKeys): Sealed[] | null {
  return secrets.length > 0 ? [keys.hide(secrets, secretsPlace(sagaId))] : null
}

/** What messages about a saga name, and nobody takes for a secret. */
function idsOf({ sagaId, parentId }: SagaRecord): string[] {
  return parentId === null ? [sagaId] : [sagaId, parentId]
}

type Work<T, Tx> = (record: SagaRecord, save: Save, tx: Tx) => Promise<T>

/** A run, or an attempt to end the saga, that finds it ended. */
function ended(record: SagaRecord): { go: 'ended'; ending: Ending; view: SagaView } {
  return { go: 'ended', ending: endingOf(record), view: toView(record) }
}

/** A nested saga that is done, and whose parent decides whether that stays. */
function handedOver(record: SagaRecord): { go: 'ended'; ending: Ending; view: SagaView } {
  return { go: 'ended', ending: { fate: 'completed', result: record.result }, view: toView(record) }
}

/** Completes the nested sagas of one that has completed, and theirs. */
async function completeNested(tx: Client, record: SagaRecord, onLogged: OnLogged): Promise<void> {
  if (!hasNested(record)) return
  const { rows } = await tx.query<ReadRecord>(
    `SELECT ${readColumns} FROM saga WHERE parent_id = $1 AND handed_over_at IS NOT NULL AND fate = 'open'
     ORDER BY saga_id FOR UPDATE`,
    [record.sagaId],
  )
  for (const nested of rows) {
    const { changes, entries } = afterCompletion(nested, nested.result)
    await saveBy((change) => write(tx, change, onLogged), nested)(changes, entries)
    await completeNested(tx, nested, onLogged)
  }
}

function hasNested({ steps }: SagaRecord): boolean {
  return steps.some((step) => step.sagaId !== undefined)
}

/** What a saga's failures say of one that is nested in it: those of its step "x" stand under "step.x". */
function failuresWithin(failures: Failures, step: string): Failures {
  const prefix = `${step}.`
  return Object.fromEntries(
    Object.entries(failures).flatMap(([key, those]) =>
      key.startsWith(prefix) ? [[key.slice(prefix.length), those]] : [],
    ),
  )
}

function pendingSteps(sagaId: string, steps: StepDeclarations): StepRecord[] {
  return Object.entries(steps).map(([step, { service, kind, isSaga }]) => ({
    step,
    service,
    ...(isSaga && { sagaId: nestedId(sagaId, step) }),
    kind,
    status: 'pending',
    attempts: 0,
  }))
}

/** Workflow ids that can be saga ids: anything PostgreSQL and people can handle, up to the contract's 255 characters. */
function idProblems(sagaId: string): InputProblem[] {
  const fits = Array.from(sagaId).length <= 255 && !/\p{Cc}|\p{Cs}/u.test(sagaId)
  return fits ? [] : [{ path: 'workflow id', message: 'must have at most 255 characters and no control characters' }]
}

/** As they may be kept and shown. The path names fields only, some of which may be of somebody's making. */
export function problemsWithoutValues(problems: InputProblem[], refused: unknown): InputProblem[] {
  return problems.map(({ path, message }) => ({ path: redacted(path, []), message: withoutValues(message, refused) }))
}

/** The same for the same JSON, whatever its layout. */
export function hashedText(input: Json, failures: Failures | undefined): string {
  return canonical({ input, failures: failures ?? null })
}

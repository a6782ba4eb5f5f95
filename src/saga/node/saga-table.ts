import { prepared, type Pool } from './db.js'
import type { Failures } from '../failure.js'
import type { Json } from '../types.js'
import { Gathering, type GatheringOptions } from './gathering.js'
import type { Sealed } from './payload-keys.js'
import type { OnLogged } from './saga-metrics.js'
import { recordColumns, type SagaRecord, type StepRecord } from './saga-record.js'
import {
  announcement,
  readColumns,
  toJsonb,
  write,
  writeMany,
  type Change,
  type ReadRecord,
  type Write,
} from './saga-row.js'

/** What the row of a saga begins with, by column. */
export interface IntentRow {
  saga_id: string
  type: string
  label: string
  view: object
  input: Json
  sealing: number
  secrets: Sealed[] | null
  input_hash: string
  failures: Failures | null
  steps: StepRecord[]
}

/** Sagas of a statement at most, and such statements at once: what is read first is gone on with while others are read. */
const AT_ONCE = { most: 125, atOnce: 4 }

/** The row of a saga that is to be written where there is room. */
export type NewRow = IntentRow & { idempotency_key: string | null; maxOpen: number }

/** What is injected into sagas without failures of their own. */
export interface FailuresInForce {
  everywhere: Failures
  /** To the digit, as text. */
  generation: string
}

export interface SagaTableOptions {
  onLogged: OnLogged
  /** What is read and written at the same time is then one statement, of which this says when it is made. */
  gathering?: Pick<GatheringOptions, 'ready' | 'isMoreComing'> | undefined
}

/** The table of sagas: each row read and written for itself, or together with those of others at the same time. */
export class SagaTable {
  readonly #together:
    | {
        inserts: Gathering<NewRow, SagaRecord | undefined>
        reads: Gathering<string, ReadRecord | undefined>
        writes: Gathering<Change, string | undefined>
        failures: Gathering<undefined, FailuresInForce>
      }
    | undefined

  constructor(
    private readonly pool: Pool,
    private readonly options: SagaTableOptions,
  ) {
    const { gathering, onLogged } = options
    if (!gathering) return
    const atOnce = { ...AT_ONCE, ...gathering }
    this.#together = {
      inserts: new Gathering((rows) => this.#insertMany(rows), atOnce),
      reads: new Gathering((ids) => this.#readMany(ids), atOnce),
      writes: new Gathering((changes) => writeMany(pool, changes, onLogged), atOnce),
      failures: new Gathering((asks) => this.#readFailures().then((found) => asks.map(() => found)), {
        most: Infinity,
      }),
    }
  }

  async get(sagaId: string): Promise<ReadRecord | undefined> {
    if (this.#together) return this.#together.reads.add(sagaId)
    const { rows } = await this.pool.query(prepared(`SELECT ${readColumns} FROM saga WHERE saga_id = $1`, [sagaId]))
    return rows[0]
  }

  /** With what is in force. */
  async getForAttempt(sagaId: string): Promise<{ record: ReadRecord; inForce: FailuresInForce } | undefined> {
    if (this.#together) {
      const { reads, failures } = this.#together
      const [record, inForce] = await Promise.all([reads.add(sagaId), failures.add(undefined)])
      return record && { record, inForce }
    }
    const { rows } = await this.pool.query<ReadRecord & FailuresInForce>(
      prepared(
        `SELECT ${readColumns}, everywhere, generation
         FROM saga CROSS JOIN (SELECT failures AS everywhere, generation FROM failure_injection) WHERE saga_id = $1`,
        [sagaId],
      ),
    )
    const [found] = rows
    if (!found) return undefined
    const { everywhere, generation, ...record } = found
    return { record, inForce: { everywhere, generation } }
  }

  /** Writes a new row; undefined where there is no room for it, or its id or key is taken. */
  async insert(row: NewRow): Promise<SagaRecord | undefined> {
    return this.#together ? this.#together.inserts.add(row) : (await this.#insertMany([row])).at(0)
  }

  readonly write: Write = (change) =>
    this.#together ? this.#together.writes.add(change) : write(this.pool, change, this.options.onLogged)

  /** Those that there is room for, and whose id and key nobody has. */
  async #insertMany(rows: NewRow[]): Promise<(SagaRecord | undefined)[]> {
    const { rows: written } = await this.pool.query<SagaRecord>(
      prepared(
        `WITH written AS (
         INSERT INTO saga (saga_id, type, label, view, input, sealing, secrets, input_hash, failures, steps, idempotency_key)
         SELECT saga_id, type, label, view, input, sealing, secrets, input_hash, failures, steps, idempotency_key
         FROM jsonb_to_recordset($1) AS one (saga_id text, type text, label text, view jsonb, input jsonb, sealing smallint, secrets jsonb, input_hash text,
                                             failures jsonb, steps jsonb, idempotency_key text)
         LIMIT (SELECT greatest(0, $2 - count(*)) FROM saga
                WHERE fate IN ('open', 'rollback') AND bulk_id IS NULL AND status <> 'NEEDS_ATTENTION' AND parent_id IS NULL)
         ON CONFLICT DO NOTHING
         RETURNING *
       ), told AS (SELECT saga_id AS told_id, ${announcement} FROM written)
       SELECT ${recordColumns} FROM written LEFT JOIN told ON told_id = saga_id`,
        [toJsonb(rows), rows[0]?.maxOpen ?? 0],
      ),
    )
    const byId = new Map(written.map((record) => [record.sagaId, record]))
    return rows.map((row) => byId.get(row.saga_id))
  }

  async #readMany(sagaIds: string[]): Promise<(ReadRecord | undefined)[]> {
    const { rows } = await this.pool.query<ReadRecord>(
      prepared(`SELECT ${readColumns} FROM saga WHERE saga_id = ANY ($1)`, [sagaIds]),
    )
    const byId = new Map(rows.map((row) => [row.sagaId, row]))
    return sagaIds.map((sagaId) => byId.get(sagaId))
  }

  async #readFailures(): Promise<FailuresInForce> {
    const { rows } = await this.pool.query(
      prepared('SELECT failures AS everywhere, generation FROM failure_injection', []),
    )
    return rows[0]
  }
}

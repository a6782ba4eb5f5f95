import { prepared, type Queryable } from './db.js'
import type { LogEntry } from './projection.js'
import type { OnLogged } from './saga-metrics.js'
import { BULK_RUN, recordColumns, type SagaRecord } from './saga-record.js'

// How the row of a saga is read and written, with the log rows that tell of each change.

/** A record as it was read, with the version of its row: a change by whomever makes it another one. */
export type ReadRecord = SagaRecord & { version: string }

/** Any change of a row gives it another xmin: that of the transaction that made it. */
export const readColumns = `saga.xmin::text AS version, ${recordColumns}`

/** Thrown where a change can't be made without a lock on the saga's row. */
export class LockFirst extends Error {}

/** The columns that change in the course of a saga. */
const columnNames = {
  fate: 'fate',
  status: 'status',
  input: 'input',
  secrets: 'secrets',
  firstRunId: 'first_run_id',
  carriedBy: 'carried_by',
  begunAt: 'begun_at',
  openings: 'openings',
  claims: 'claims',
  cancel: 'cancel',
  stopping: 'stopping',
  steps: 'steps',
  compensations: 'compensations',
  result: 'result',
  failedStep: 'failed_step',
  error: 'error',
  endedAt: 'ended_at',
  decidedAt: 'decided_at',
  handedOverAt: 'handed_over_at',
} as const satisfies Partial<Record<keyof SagaRecord, string>>

type Changes = Partial<Pick<SagaRecord, keyof typeof columnNames>>

/** Returns the record as it stands then. */
export type Save = (changes: Changes, entries: LogEntry[]) => Promise<SagaRecord>

const jsonColumns = new Set(['steps', 'compensations', 'result', 'error', 'cancel', 'stopping', 'input', 'secrets'])

/** What is to be written of a saga that was read. */
export interface Change {
  record: ReadRecord
  changes: Changes
  entries: LogEntry[]
}

/** Writes a change, the row's new version; undefined, with nothing written, where the row is another one than was read. */
export type Write = (change: Change) => Promise<string | undefined>

export function saveBy(write: Write, record: ReadRecord): Save {
  return async (changes, entries) => {
    if ((await write({ record, changes, entries })) === undefined) throw new LockFirst()
    return { ...record, ...changes }
  }
}

/**
 * Writes changes of a saga and the log rows behind them, in one statement: the row first and only then, from what that
 * returns, the log's ids.
 */
export async function write(
  db: Queryable,
  { record, changes, entries }: Change,
  onLogged: OnLogged,
): Promise<string | undefined> {
  const names = Object.keys(changes) as (keyof Changes)[]
  const values = names.map((name) => {
    const value = changes[name]
    return jsonColumns.has(name) && value !== null ? toJsonb(value) : value
  })
  const columns = names.map((name, i) => `${columnNames[name]} = $${i + 4}`)
  const { rows } = await db.query<{ version: string }>(
    prepared(
      `WITH changed AS (
         UPDATE saga SET ${[...columns, 'progress_at = clock_timestamp()'].join(', ')}
         WHERE saga_id = $1 AND xmin = $2 RETURNING saga_id, fate, status, saga.xmin::text AS version, carried_by
       ), logged AS (
         INSERT INTO saga_log (saga_id, service, status, message, attempt, entry_id)
         SELECT saga_id, e.service, e.status, e.message, e.attempt, e."entryId"
         FROM changed, jsonb_to_recordset($3)
           AS e (service text, status text, message text, attempt integer, "entryId" uuid)
       )
       SELECT version, ${announcement} FROM changed`,
      [record.sagaId, record.version, toJsonb(entries), ...values],
    ),
  )
  const [written] = rows
  if (written) tell(onLogged, record, changes, entries)
  return written?.version
}

/** Without a copy of the whole record for each log row. */
function tell(
  onLogged: OnLogged,
  { sagaId, type, status, startedAt }: SagaRecord,
  changes: Changes,
  entries: LogEntry[],
): void {
  onLogged({ sagaId, type, status: changes.status ?? status, startedAt }, entries)
}

/**
 * The same for many sagas at once, a statement for those of which the same columns change. Of two changes of one saga the
 * second is not written: it was made without the first, and PostgreSQL would take either of them.
 */
export async function writeMany(db: Queryable, all: Change[], onLogged: OnLogged): Promise<(string | undefined)[]> {
  const firsts = new Map<string, Change>()
  for (const one of all) if (!firsts.has(one.record.sagaId)) firsts.set(one.record.sagaId, one)
  const alike = new Map<string, Change[]>()
  for (const one of firsts.values()) {
    const key = Object.keys(one.changes).join()
    const some = alike.get(key)
    if (some) some.push(one)
    else alike.set(key, [one])
  }
  const written = new Map<string, string>()
  for (const some of alike.values()) {
    const names = Object.keys(some[0]?.changes ?? {}) as (keyof Changes)[]
    const rows = some.map(({ record, changes, entries }) => ({
      ...changes,
      sagaId: record.sagaId,
      version: record.version,
      entries,
    }))
    const columns = names.map((name) => `${columnNames[name]} = given."${name}"`)
    const given = names.map((name) => `"${name}" ${columnTypes[name]}`)
    const { rows: changed } = await db.query<{ sagaId: string; version: string }>(
      prepared(
        `WITH given AS MATERIALIZED (
         SELECT * FROM jsonb_to_recordset($1) AS one ("sagaId" text, version text, entries jsonb ${given.map((one) => `, ${one}`).join('')})
       ), changed AS (
         UPDATE saga SET ${[...columns, 'progress_at = clock_timestamp()'].join(', ')} FROM given
         WHERE saga_id = given."sagaId" AND saga.xmin::text = given.version
         RETURNING saga_id, saga.fate, saga.status, saga.carried_by, saga.xmin::text AS new_version, given.entries
       ), logged AS (
         INSERT INTO saga_log (saga_id, service, status, message, attempt, entry_id)
         SELECT saga_id, e.service, e.status, e.message, e.attempt, e."entryId"
         FROM changed, ROWS FROM (jsonb_to_recordset(entries)
           AS (service text, status text, message text, attempt integer, "entryId" uuid)) WITH ORDINALITY
           AS e (service, status, message, attempt, "entryId", position)
         ORDER BY saga_id, position
       )
       SELECT saga_id AS "sagaId", new_version AS version, ${announcement} FROM changed`,
        [toJsonb(rows)],
      ),
    )
    for (const { sagaId, version } of changed) written.set(sagaId, version)
  }
  for (const { record, changes, entries } of firsts.values()) {
    if (written.has(record.sagaId)) tell(onLogged, record, changes, entries)
  }
  return all.map((one) => (firsts.get(one.record.sagaId) === one ? written.get(one.record.sagaId) : undefined))
}

const columnTypes: Record<keyof typeof columnNames, string> = {
  fate: 'text',
  status: 'text',
  input: 'jsonb',
  secrets: 'jsonb',
  firstRunId: 'text',
  carriedBy: 'text',
  begunAt: 'timestamptz',
  openings: 'integer',
  claims: 'integer',
  cancel: 'jsonb',
  stopping: 'jsonb',
  steps: 'jsonb',
  compensations: 'jsonb',
  result: 'jsonb',
  failedStep: 'text',
  error: 'jsonb',
  endedAt: 'timestamptz',
  decidedAt: 'timestamptz',
  handedOverAt: 'timestamptz',
}

/** As PostgreSQL takes it: it refuses NUL and lone surrogates, and a saga whose error has one would never end. */
export function toJsonb(value: unknown): string {
  const json = JSON.stringify(value)
  // JSON.stringify writes both as escapes; a text that only looks like one is cleaned for nothing.
  if (!/\\u(0000|d[89a-f])/.test(json)) return json
  return JSON.stringify(value, (_key, one: unknown) =>
    typeof one === 'string' ? one.replaceAll('\0', '\ufffd').replace(/\p{Cs}/gu, '\ufffd') : one,
  )
}

/** The channel on which changes of sagas are announced; `readChange` reads what comes. */
export const CHANGES = 'saga_changed'

/**
 * Of a row of `saga`: tells whoever follows it. Not while the run of a bulk carries it: a commit that announces something
 * takes a lock of the whole server.
 */
export const announcement = `CASE WHEN carried_by LIKE '${BULK_RUN}%' THEN NULL
  ELSE pg_notify('${CHANGES}', fate || ' ' || status || ' ' || saga_id) END`

/** How a saga stands, as its change is announced. */
export type Standing = Pick<SagaRecord, 'fate' | 'status'>

/** Reads a notification's payload: how the saga stands now, and its id, which may have spaces. */
export function readChange(payload: string): { sagaId: string; standing: Standing } {
  const [fate, status, ...id] = payload.split(' ')
  return { sagaId: id.join(' '), standing: { fate, status } as Standing }
}

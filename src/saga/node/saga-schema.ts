import { isPassing, type Queryable } from './db.js'

/** What a file of sql/ leaves in the database, and no file before it. */
interface Trace {
  /** A table or an index. */
  relation: string
  /** A column of that table. */
  column?: string
  /** A value that a check of that table speaks of. */
  check?: string
}

/**
 * By file of sql/, in their order. Found by what they leave and not by a list of what was applied: whoever copies the files
 * applies them with a tool, and under names, of their own.
 */
const SAGA_FILES: Record<string, Trace> = {
  '0004_saga_barrier.sql': { relation: 'saga_barrier' },
  '0005_saga.sql': { relation: 'saga' },
  '0006_saga_log.sql': { relation: 'saga_log' },
  '0007_failure_injection.sql': { relation: 'failure_injection' },
  '0008_saga_barrier_decision.sql': { relation: 'saga_barrier', column: 'decisions' },
  '0009_saga_attention.sql': { relation: 'saga', column: 'progress_at' },
  '0010_saga_nested.sql': { relation: 'saga', column: 'handed_over_at' },
  '0011_saga_lists.sql': { relation: 'saga_by_status' },
  '0012_saga_decisions.sql': { relation: 'saga_decisions' },
  '0013_saga_mirror.sql': { relation: 'saga', column: 'mirrored_at' },
  '0014_saga_by_failed_step.sql': { relation: 'saga_by_failed_step' },
  '0015_overview.sql': { relation: 'saga_by_end' },
  '0016_saga_bulk.sql': { relation: 'saga', column: 'carried_by' },
  '0017_saga_barrier_forbidden.sql': { relation: 'saga_barrier', check: 'forbidden' },
  '0018_saga_secrets.sql': { relation: 'saga_installation' },
}

/** The same of sql/service/, for the own database of a participant that is served over HTTP. */
const PARTICIPANT_FILES: Record<string, Trace> = {
  'service/0001_saga_barrier.sql': { relation: 'saga_barrier', column: 'decisions' },
  'service/0004_saga_barrier_forbidden.sql': { relation: 'saga_barrier', check: 'forbidden' },
}
const INJECTION_FILES: Record<string, Trace> = { 'service/0002_failure_call.sql': { relation: 'failure_call' } }

/** The database lacks files of sql/, which the message names. */
export class SagaSchemaError extends Error {}

/**
 * Throws a SagaSchemaError that names every file of sql/ which the database of the sagas' rows lacks. `startSagaWorker` asks at
 * its start; a program of one's own that has a SagaStore does well to ask, too. Where the database can't be reached nothing
 * is known, and nothing is thrown.
 */
export function requireSagaSchema(db: Queryable): Promise<void> {
  return requireFiles(db, SAGA_FILES)
}

/** The same for the own database of a participant; what counts its calls is asked for only with failure injection. */
export function requireParticipantSchema(
  db: Queryable,
  { failureInjection }: { failureInjection: boolean },
): Promise<void> {
  return requireFiles(db, { ...PARTICIPANT_FILES, ...(failureInjection && INJECTION_FILES) })
}

async function requireFiles(db: Queryable, files: Record<string, Trace>): Promise<void> {
  const missing = await missingFiles(db, files).catch((error: unknown) => {
    if (isPassing(error)) return []
    throw error
  })
  if (missing.length === 0) return
  throw new SagaSchemaError(
    `The database lacks ${missing.map((file) => `sql/${file}`).join(', ')} of the saga engine. ` +
      'Apply what is missing, in this order, then start again.',
  )
}

async function missingFiles(db: Queryable, files: Record<string, Trace>): Promise<string[]> {
  const { rows } = await db.query<{ file: string }>(
    `SELECT file FROM jsonb_to_recordset($1) AS one (file text, relation text, "column" text, "check" text)
     WHERE to_regclass(relation) IS NULL
       OR "column" IS NOT NULL AND NOT EXISTS (
         SELECT FROM pg_attribute WHERE attrelid = to_regclass(relation) AND attname = "column" AND NOT attisdropped)
       OR "check" IS NOT NULL AND NOT EXISTS (
         SELECT FROM pg_constraint
         WHERE conrelid = to_regclass(relation) AND strpos(pg_get_constraintdef(oid), quote_literal("check")) > 0)
     ORDER BY file`,
    [JSON.stringify(Object.entries(files).map(([file, trace]) => ({ file, ...trace })))],
  )
  return rows.map(({ file }) => file)
}

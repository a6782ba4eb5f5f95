import { setTimeout as sleep } from 'node:timers/promises'
import { Pool, type PoolClient, type QueryConfig } from 'pg'

// The driver's own parsers hold, for they are the whole process's: an int8 comes as text, to the digit. Counts are far below
// 2^53, and cast to integer or float8 in the statement that reads them.

export type { Pool }
export type Client = PoolClient
/** Anything that runs a statement: the pool itself, or a client inside a transaction. */
export type Queryable = Pick<Pool, 'query'>

/** Bounds for statements on the saga's own tables: one that waits for a lock must not keep its connection from the others. */
export const sagaBounds = {
  lock_timeout: 3_000,
  statement_timeout: 4_000,
  idle_in_transaction_session_timeout: 8_000,
}

/** Bounds of a participant's transaction: a call left behind by its time-out is gone well before its compensation gives up. */
export const participantBounds = {
  lock_timeout: 3_000,
  statement_timeout: 4_000,
  idle_in_transaction_session_timeout: 8_000,
  transaction_timeout: 10_000,
}

export interface PoolOptions {
  /** Connections at most. */
  max: number
  /** Shown in pg_stat_activity. */
  name: string
  /** Server-side bounds in ms, by setting name, such as `lock_timeout`. */
  bounds?: Record<string, number>
  /** A statement without an answer for so long counts as lost, in ms: for a server that is frozen or out of reach. */
  queryTimeoutMs?: number
  /** How long to wait for a connection, in ms; 3,000 where it is left out. */
  waitMs?: number
  /** Told of connections that broke while idle; the pool replaces them. */
  onError?: (error: Error) => void
}

/**
 * A pool that survives its server: an idle or checked-out connection that breaks is an event, not the end of the
 * process (node-postgres emits 'error' on both, and without a listener Node exits).
 */
export function makePool(
  databaseUrl: string,
  { max, name, bounds = {}, queryTimeoutMs, waitMs = 3_000, onError = () => {} }: PoolOptions,
): Pool {
  const { connectionString, options } = bounded(databaseUrl, bounds, { queryTimeoutMs })
  const pool = new Pool({
    connectionString,
    max,
    application_name: name,
    connectionTimeoutMillis: waitMs,
    keepAlive: true,
    // Statements go out as they are asked for, and not each behind the answer to the one before.
    pipeline: true,
    ...(queryTimeoutMs !== undefined && { query_timeout: queryTimeoutMs }),
    options,
  })
  pool.on('error', onError)
  pool.on('connect', (client) => client.on('error', onError))
  return pool
}

/**
 * The bounds hold also where the URL, or PGOPTIONS, has options of its own: node-postgres takes what stands in a URL in the
 * place of what it is given here, and PostgreSQL the last of two settings, so ours come last.
 */
function bounded(
  databaseUrl: string,
  bounds: Record<string, number>,
  { queryTimeoutMs }: { queryTimeoutMs: number | undefined },
): { connectionString: string; options: string } {
  const url = URL.canParse(databaseUrl) ? new URL(databaseUrl) : undefined
  const own = url?.searchParams.get('options') ?? process.env['PGOPTIONS'] ?? ''
  const options = [own, ...Object.entries(bounds).map(([setting, ms]) => `-c ${setting}=${ms}`)].join(' ').trim()
  const replaced = ['options', ...Object.keys(bounds), ...(queryTimeoutMs === undefined ? [] : ['query_timeout'])]
  const isClean = !url || !replaced.some((name) => url.searchParams.has(name))
  if (isClean) return { connectionString: databaseUrl, options }
  for (const name of replaced) url.searchParams.delete(name)
  return { connectionString: url.href, options }
}

const names = new Map<string, string>()

/**
 * A statement that each connection parses and plans once. For those of every saga; their texts must be few, and hold no
 * values.
 */
export function prepared(text: string, values: unknown[]): QueryConfig {
  const name = names.get(text) ?? `saga_${names.size}`
  names.set(text, name)
  return { name, text, values }
}

/** Of a transaction: a last statement that goes out with the COMMIT. Where it fails nothing is committed. */
export type AndCommit = (last: Promise<unknown>) => void

/**
 * Runs `work` in one READ COMMITTED transaction; any error rolls it back and is thrown on, also that of a statement which
 * `work` did not pass on or did not await. BEGIN goes out with the first statement. The client is lent: once `work` has ended
 * it takes no more statements. Where the server is away it waits for it, `waitMs` at most (0: not at all), before the
 * transaction begins; never once it has.
 */
export async function withTransaction<T>(
  pool: Pool,
  work: (tx: Client, andCommit: AndCommit) => Promise<T>,
  { waitMs = 0 }: { waitMs?: number } = {},
): Promise<T> {
  const client = await whileAway(waitMs, () => pool.connect())
  const lent = lend(client)
  let broken: Error | undefined
  try {
    const begun = client.query('BEGIN')
    // It is heard of below, unless the first statement has failed with it.
    begun.catch(() => {})
    let last: Promise<unknown> = begun
    const result = await work(lent.tx, (statement) => {
      last = statement
      statement.catch(() => {})
    })
    lent.takeBack()
    const [{ command }] = await Promise.all([client.query('COMMIT'), begun, last])
    // Behind a statement that failed PostgreSQL rolls back, and calls that no error.
    if (command !== 'COMMIT')
      throw new RolledBack('PostgreSQL rolled the transaction back: a statement in it had failed')
    return result
  } catch (error) {
    lent.takeBack()
    await client.query('ROLLBACK').catch((rollbackError: Error) => (broken = rollbackError))
    throw lent.failureBehind(error)
  } finally {
    client.release(broken)
  }
}

/** SQLSTATE of a statement in a transaction that an earlier one has broken. */
const IN_FAILED_TRANSACTION = '25P02'

/**
 * A client for one transaction. Taken back it refuses statements: one that nobody awaited would run in the transaction of
 * whoever has the connection next.
 */
function lend(client: Client) {
  let isOver = false
  let failure: unknown
  const query = (...args: unknown[]): unknown => {
    if (isOver) {
      const late = new Error('The transaction of this statement has ended: await each statement before the work ends')
      // As it answers where it is given no callback.
      return Promise.reject(late)
    }
    const answer = (client.query as (...args: unknown[]) => unknown)(...args)
    if (answer instanceof Promise) {
      // Also where nobody awaits it: what the COMMIT answers tells of it then.
      answer.catch((error: unknown) => {
        if ((error as { code?: string }).code !== IN_FAILED_TRANSACTION) failure = error
      })
    }
    return answer
  }
  const release = () => {
    throw new Error('This connection is lent for one transaction, and is given back when that has ended')
  }
  return {
    tx: Object.create(client, { query: { value: query }, release: { value: release } }) as Client,
    takeBack() {
      isOver = true
    },
    /** What has broken the transaction, where the error is only that it is broken. */
    failureBehind(error: unknown): unknown {
      const { code } = (error ?? {}) as { code?: string }
      const isEcho = code === IN_FAILED_TRANSACTION || error instanceof RolledBack
      return isEcho && failure !== undefined ? failure : error
    },
  }
}

/** What COMMIT answers behind a statement that failed, as the error that it is. */
class RolledBack extends Error {}

/**
 * Repeats `work` while it fails because PostgreSQL is away, `waitMs` at most; then the last error is thrown. Only for
 * work that may be done twice: an answer can be lost after the commit.
 */
export async function whileAway<T>(waitMs: number, work: () => Promise<T>): Promise<T> {
  const until = Date.now() + waitMs
  for (;;) {
    try {
      return await work()
    } catch (error) {
      if (!isDatabaseAway(error) || Date.now() + RETRY_MS > until) throw error
      await sleep(RETRY_MS)
    }
  }
}

const RETRY_MS = 100

const AWAY_CODES = new Set([
  'ECONNREFUSED',
  'ECONNRESET',
  'EPIPE',
  'ENOTFOUND',
  'EAI_AGAIN',
  'ETIMEDOUT',
  '57P01', // admin shutdown
  '57P02', // crash shutdown
  '57P03', // cannot connect now: starting up or shutting down
  '57P05', // a connection that was idle for too long
  '58000', // an error of the system that it runs on
  '58030', // its disk cannot be read or written
  '08000',
  '08001',
  '08003',
  '08006',
  '25006', // read-only: a standby that is not yet the primary
  '53100', // disk full
  '53200', // out of memory
  '53300', // too many connections
])

/** Whether the error says that PostgreSQL can't serve now: refused, restarting, connection lost, disk or memory full. */
export function isDatabaseAway(error: unknown): boolean {
  if (typeof error !== 'object' || error === null) return false
  const { code, message, errors } = error as { code?: unknown; message?: unknown; errors?: unknown[] }
  if (Array.isArray(errors) && errors.some(isDatabaseAway)) return true
  if (typeof code === 'string' && AWAY_CODES.has(code)) return true
  return typeof message === 'string' && AWAY_MESSAGE.test(message)
}

/** What may be shown of an error that `isDatabaseAway`: of one that has an answer how PostgreSQL calls it. */
export function awayMessage(error: unknown): string {
  const { code } = error as { code?: unknown }
  return typeof code === 'string' && /^5[38]\w{3}$/.test(code)
    ? `PostgreSQL has no room or a broken disk (SQLSTATE ${code})`
    : 'PostgreSQL was away'
}

/** Whether a statement has waited too long for a row that another transaction holds. */
export function isLockedOut(error: unknown): boolean {
  return (error as { code?: unknown } | undefined)?.code === '55P03'
}

/** Whether a statement that failed may well succeed later: the server is away, or a lock or its own time was too long. */
export function isPassing(error: unknown): boolean {
  return isDatabaseAway(error) || ['55P03', '57014', '40P01', '40001'].includes((error as { code?: string }).code ?? '')
}

/** What may be shown of an error with which the database refused a statement; undefined for any other error. */
export function refusedStatement(error: unknown): string | undefined {
  const { severity, code, table } = (error ?? {}) as { severity?: string; code?: string; table?: string }
  if (severity === undefined || code === undefined) return undefined
  return `the database refused the statement (SQLSTATE ${code}${table ? ` on ${table}` : ''})`
}

/** What node-postgres says without a code. */
const AWAY_MESSAGE =
  /Connection terminated|Query read timeout|timeout exceeded when trying to connect|Client has encountered a connection error|not queryable/i

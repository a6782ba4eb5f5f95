import { Client } from 'pg'
import { followLog, type LogRow } from '../node/saga-log.js'
import { isEnded, recordColumns, type SagaRecord } from '../node/saga-record.js'
import { CHANGES, readChange } from '../node/saga-row.js'
import { whileAway, type Pool } from '../node/db.js'

/** A saga as it stands: its row and its log, oldest first. */
export interface Seen {
  record: SagaRecord
  log: LogRow[]
}

/** On a busy machine a connection may take its time. */
const WAIT_MS = 60_000
/** Looked at also without a notification: the connection that hears them may break. */
const LOOK_EVERY_MS = 5_000

/** Waits for what becomes of sagas, by the notifications of their changes. */
export class Watch {
  readonly #looks = new Map<string, Set<() => void>>()

  private constructor(
    private readonly pool: Pool,
    private readonly client: Client,
  ) {}

  static async start(databaseUrl: string, pool: Pool): Promise<Watch> {
    const client = new Client({ connectionString: databaseUrl })
    client.on('error', () => {}) // from then on all is looked at every few seconds
    await client.connect()
    await client.query(`LISTEN ${CHANGES}`)
    const watch = new Watch(pool, client)
    client.on('notification', ({ payload = '' }) => {
      watch.#looks.get(readChange(payload).sagaId)?.forEach((look) => look())
    })
    return watch
  }

  async stop(): Promise<void> {
    await this.client.end()
  }

  /** The saga now; undefined where it has no row. */
  async see(sagaId: string): Promise<Seen | undefined> {
    return whileAway(WAIT_MS, async () => {
      const query = `SELECT ${recordColumns} FROM saga WHERE saga_id = $1`
      const { rows } = await this.pool.query<SagaRecord>(query, [sagaId])
      const log = await followLog(this.pool, { sagaId, afterId: 0n })
      return rows[0] && { record: rows[0], log }
    })
  }

  /** Resolves with the saga as soon as `is` holds of it; rejects, with `what` was waited for, where it does not in time. */
  until(sagaId: string, what: string, is: (seen: Seen) => boolean, timeoutMs: number): Promise<Seen> {
    return new Promise((resolve, reject) => {
      const looks = this.#looks.get(sagaId) ?? new Set()
      this.#looks.set(sagaId, looks)
      let isLooking = false
      let isAgain = false
      const end = (settle: () => void) => {
        looks.delete(notify)
        clearTimeout(timer)
        clearInterval(again)
        settle()
      }
      const look = async () => {
        isAgain = isLooking
        if (isLooking) return
        isLooking = true
        // What changes meanwhile is looked at once more.
        const seen = await this.see(sagaId).catch(() => undefined)
        isLooking = false
        if (seen && is(seen)) end(() => resolve(seen))
        else if (isAgain) void look()
      }
      const timer = setTimeout(() => {
        end(() => reject(new Error(`waited ${timeoutMs / 1_000} s in vain until ${what}`)))
      }, timeoutMs)
      const notify = () => void look()
      const again = setInterval(notify, LOOK_EVERY_MS)
      // A case that has failed already waits for nothing, and must not keep its program.
      timer.unref()
      again.unref()
      looks.add(notify)
      notify()
    })
  }
}

export function isOver({ record }: Seen): boolean {
  return isEnded(record)
}

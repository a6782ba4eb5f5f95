import { Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { Client } from 'pg'
import type { Logger } from 'pino'
import { isInBulk, type SagaRecord } from '../saga/node/saga-record.js'
import { CHANGES, readChange, type Standing } from '../saga/node/saga-row.js'

/**
 * How often the connection is checked, and how long its answer may take. If its other end has gone without a word, such as
 * after a firewall has dropped it, only TCP's own keep-alive would notice, after two hours.
 */
const CHECK_MS = { every: 10_000, within: 5_000 }

/** Told nothing where something may have been missed. */
type Wake = (standing?: Standing) => void

/**
 * Tells readers that a saga has changed, as PostgreSQL announces it on one connection (LISTEN). What has changed they
 * read themselves. After a lost connection everybody is woken, for something may have been missed.
 */
export class SagaFeed {
  /** Readers of changes: who waits for a saga, or reads its events. */
  readonly watchers = new Set<Changes>()
  readonly #wakers = new Map<string, Set<Wake>>()
  readonly #stopping = new AbortController()
  #client: Client | undefined

  constructor(
    private readonly databaseUrl: string,
    private readonly logger: Logger,
  ) {}

  /** Listens until `stop`, and connects again whenever the connection breaks. */
  async start(): Promise<void> {
    await this.#listen()
  }

  async stop(): Promise<void> {
    this.#stopping.abort()
    this.#wakeAll()
    await this.#client?.end().catch(() => {})
  }

  /** Calls `wake` whenever the saga may have changed; returns what ends that. */
  subscribe(sagaId: string, wake: Wake): () => void {
    const wakers = this.#wakers.get(sagaId) ?? new Set()
    this.#wakers.set(sagaId, wakers.add(wake))
    return () => {
      // Once: under the same id there may be others by then.
      if (wakers.delete(wake) && wakers.size === 0) this.#wakers.delete(sagaId)
    }
  }

  async #listen(): Promise<void> {
    const socket = new Socket()
    const client = new Client({
      connectionString: this.databaseUrl,
      application_name: 'saga-feed',
      connectionTimeoutMillis: 4_000,
      query_timeout: CHECK_MS.within,
      keepAlive: true,
      stream: () => socket,
    })
    client.on('notification', ({ payload = '' }) => {
      const { sagaId, standing } = readChange(payload)
      this.#wakers.get(sagaId)?.forEach((wake) => wake(standing))
    })
    client.on('error', () => {})
    try {
      await client.connect()
      await client.query(`LISTEN ${CHANGES}`)
    } catch (error) {
      client.end().catch(() => {})
      throw error
    }
    // It is told of an end, and only of that.
    const check = setInterval(() => void client.query('SELECT 1').catch(() => socket.destroy()), CHECK_MS.every)
    // Only now: a client whose connect failed says 'end' as well, and each one heard would begin another reconnect.
    client.once('end', () => {
      clearInterval(check)
      if (!this.#stopping.signal.aborted) void this.#reconnect()
    })
    this.#client = client
    if (this.#stopping.signal.aborted) return this.stop()
    this.#wakeAll()
  }

  async #reconnect(): Promise<void> {
    this.logger.warn('The feed of saga changes lost its connection')
    while (!this.#stopping.signal.aborted) {
      await sleep(500, undefined, { signal: this.#stopping.signal }).catch(() => {})
      try {
        return await this.#listen()
      } catch {
        // PostgreSQL is still away.
      }
    }
  }

  #wakeAll(): void {
    for (const wakers of this.#wakers.values()) wakers.forEach((wake) => wake())
  }
}

interface ReadUntil {
  read: () => Promise<SagaRecord>
  enough: (saga: Standing) => boolean
  signal: AbortSignal
}

/** Reads the saga now and again once it stands as is `enough`, until that or `signal`; the last reading. */
export async function readUntil(
  feed: SagaFeed,
  sagaId: string,
  { read, enough, signal }: ReadUntil,
): Promise<SagaRecord> {
  const changes = new Changes(feed, sagaId, enough)
  try {
    for (;;) {
      const value = await read()
      if (enough(value) || signal.aborted) return value
      await changes.next(signal, lookAgainMs(value))
    }
  } finally {
    changes.close()
  }
}

/** Changes of a saga that a bulk carries are not announced: how soon it is to be read again. Undefined for any other. */
export function lookAgainMs(saga: Pick<SagaRecord, 'carriedBy'>): number | undefined {
  return isInBulk(saga) ? 1_000 : undefined
}

/** The changes of one saga, or those of `interest`, as something to wait for; one that comes while nobody waits is kept. */
export class Changes {
  #changed = false
  #resolve: (() => void) | undefined
  readonly #unsubscribe: () => void

  constructor(feed: SagaFeed, sagaId: string, interest: (saga: Standing) => boolean = () => true) {
    const unsubscribe = feed.subscribe(sagaId, (standing) => {
      if (standing && !interest(standing)) return
      this.#changed = true
      this.#resolve?.()
    })
    feed.watchers.add(this)
    this.#unsubscribe = () => {
      unsubscribe()
      feed.watchers.delete(this)
    }
  }

  /** Resolves at the next change, or when `signal` aborts, or after so long. */
  async next(signal: AbortSignal, withinMs?: number): Promise<void> {
    if (!this.#changed && !signal.aborted) {
      await new Promise<void>((resolve) => {
        const timer = withinMs === undefined ? undefined : setTimeout(() => done(), withinMs)
        const done = () => {
          clearTimeout(timer)
          signal.removeEventListener('abort', done)
          resolve()
        }
        this.#resolve = done
        signal.addEventListener('abort', done)
      })
    }
    this.#changed = false
  }

  close(): void {
    this.#unsubscribe()
  }
}

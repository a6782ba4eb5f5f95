import { setTimeout as sleep } from 'node:timers/promises'
import { Client } from 'pg'
import type { Logger } from 'pino'
import { CHANGES } from '../saga/node/saga-store.js'

/**
 * Tells readers that a saga has changed, as PostgreSQL announces it on one connection (LISTEN). What has changed they
 * read themselves. After a lost connection everybody is woken, for something may have been missed.
 */
export class SagaFeed {
  readonly #wakers = new Map<string, Set<() => void>>()
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
  subscribe(sagaId: string, wake: () => void): () => void {
    const wakers = this.#wakers.get(sagaId) ?? new Set()
    this.#wakers.set(sagaId, wakers.add(wake))
    return () => {
      wakers.delete(wake)
      if (wakers.size === 0) this.#wakers.delete(sagaId)
    }
  }

  async #listen(): Promise<void> {
    const client = new Client({
      connectionString: this.databaseUrl,
      application_name: 'saga-feed',
      connectionTimeoutMillis: 4_000,
      keepAlive: true,
    })
    client.on('notification', ({ payload }) => this.#wakers.get(payload ?? '')?.forEach((wake) => wake()))
    client.on('error', () => {})
    try {
      await client.connect()
      await client.query(`LISTEN ${CHANGES}`)
    } catch (error) {
      client.end().catch(() => {})
      throw error
    }
    // Only now: a client whose connect failed says 'end' as well, and each one heard would begin another reconnect.
    client.once('end', () => {
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

interface ReadUntil<T> {
  read: () => Promise<T>
  enough: (value: T) => boolean
  waitMs: number
  signal: AbortSignal
}

/** Reads `read` now and again after every change of the saga, until `enough`, the time or `signal` is up; the last reading. */
export async function readUntil<T>(
  feed: SagaFeed,
  sagaId: string,
  { read, enough, waitMs, signal }: ReadUntil<T>,
): Promise<T> {
  const changes = new Changes(feed, sagaId)
  const until = AbortSignal.any([signal, AbortSignal.timeout(waitMs)])
  try {
    for (;;) {
      const value = await read()
      if (enough(value) || until.aborted) return value
      await changes.next(until)
    }
  } finally {
    changes.close()
  }
}

/** The changes of one saga as something to wait for; one that comes while nobody waits is kept. */
export class Changes {
  #changed = false
  #resolve: (() => void) | undefined
  readonly #unsubscribe: () => void

  constructor(feed: SagaFeed, sagaId: string) {
    this.#unsubscribe = feed.subscribe(sagaId, () => {
      this.#changed = true
      this.#resolve?.()
    })
  }

  /** Resolves at the next change, or when `signal` aborts. */
  async next(signal: AbortSignal): Promise<void> {
    if (!this.#changed && !signal.aborted) {
      await new Promise<void>((resolve) => {
        const done = () => {
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

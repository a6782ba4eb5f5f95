import { setTimeout as sleep } from 'node:timers/promises'
import { Gathering } from './gathering.js'
import { isEnded, type SagaRecord } from './saga-record.js'
import type { Standing } from './saga-row.js'
import { groupId, type SagaStarter } from './saga-starter.js'
import type { SagaStore } from './saga-store.js'

/** Sagas of a group at most. */
const MOST = 256

/**
 * While a shared run is under way others wait, and share the next: until it has ended, or until half of its sagas have and
 * whoever waited for those has had time to come again, for others may wait for a retry; so long at most. Measured on two
 * cores, 64 in flight: with two under way, each of half as many, a tenth less throughput. For one that runs alone nobody
 * waits: where sagas come one by one, the next would wait until its end is heard of.
 */
const WAIT_MS = 500
const COME_AGAIN_MS = 50

/** A run that a saga has for itself is not watched to its end, which would cost a call; by then it has opened the saga's row. */
const OPENED_MS = 10_000

/**
 * Starts sagas: those that come while others are under way share a run. Nobody waits for a group to fill, and one that comes
 * alone runs alone. One that comes once more while its run is under way, as with a key that is repeated, is in that run.
 */
export class SagaGrouper {
  readonly #starts: Gathering<SagaRecord, string | null>
  /** The workflow that carries a saga until that has ended, null for its own. */
  readonly #carriers = new Map<string, Promise<string | null>>()
  /** The shared runs that are waited for. */
  readonly #busy = new Set<Promise<void>>()

  /** `changes`: tells of a saga's changes until it is called what it returns. */
  constructor(
    private readonly starter: SagaStarter,
    private readonly store: Pick<SagaStore, 'requestOf'>,
    private readonly changes: { subscribe(sagaId: string, told: (standing?: Standing) => void): () => void },
  ) {
    const ready = () => Promise.all(this.#busy)
    this.#starts = new Gathering((records) => this.#startMany(records), { most: MOST, ready })
  }

  /** The workflow that carries the saga; null: its own. */
  start(record: SagaRecord): Promise<string | null> {
    const { sagaId } = record
    const known = this.#carriers.get(sagaId)
    if (known) return known
    const carrier = this.#starts.add(record)
    this.#carriers.set(sagaId, carrier)
    carrier.catch(() => this.#carriers.delete(sagaId))
    return carrier
  }

  async #startMany(records: SagaRecord[]): Promise<(string | null)[]> {
    const types = new Map<string, SagaRecord[]>()
    for (const record of records) types.set(record.type, [...(types.get(record.type) ?? []), record])
    const carriers = new Map<string, string | null>()
    await Promise.all(
      [...types].map(async ([type, some]) => {
        const carrier = await this.#startAlike(type, some)
        for (const { sagaId } of some) carriers.set(sagaId, carrier)
      }),
    )
    return records.map(({ sagaId }) => carriers.get(sagaId) ?? null)
  }

  async #startAlike(type: string, records: SagaRecord[]): Promise<string | null> {
    const [first] = records
    if (!first) return null
    const sagaIds = records.map(({ sagaId }) => sagaId)
    if (records.length === 1) {
      await this.starter.start(first, this.store.requestOf(first))
      setTimeout(() => this.#carriers.delete(first.sagaId), OPENED_MS).unref()
      return null
    }
    const carrier = groupId(first.sagaId)
    await this.starter.startGroup(type, sagaIds)
    const ended = this.starter.ended(carrier).finally(() => {
      for (const sagaId of sagaIds) this.#carriers.delete(sagaId)
    })
    const busy = this.#untilDone(ended, sagaIds).finally(() => this.#busy.delete(busy))
    this.#busy.add(busy)
    return carrier
  }

  /** Until a run is to be waited for no longer. */
  async #untilDone(ended: Promise<void>, sagaIds: string[]): Promise<void> {
    let left = Math.ceil(sagaIds.length / 2)
    let halfEnded = () => {}
    const half = new Promise<void>((resolve) => (halfEnded = resolve))
    const told = (standing?: Standing) => {
      if (standing && isEnded(standing) && --left === 0) halfEnded()
    }
    const endings = sagaIds.map((sagaId) => this.changes.subscribe(sagaId, told))
    const over = new AbortController()
    const pause = (ms: number) => sleep(ms, undefined, { signal: over.signal }).catch(() => {})
    await Promise.race([ended, half.then(() => pause(COME_AGAIN_MS)), pause(WAIT_MS)])
    over.abort()
    for (const end of endings) end()
  }
}

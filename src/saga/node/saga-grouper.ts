import { setTimeout as sleep } from 'node:timers/promises'
import { Gathering } from './gathering.js'
import type { SagaRecord } from './saga-record.js'
import { groupId, type SagaStarter } from './saga-starter.js'
import type { SagaStore } from './saga-store.js'

/** Sagas of a group at most. */
const MOST = 256

/**
 * Where a shared run is under way others wait for its end, and share the next; so long at most. Measured on two cores, 64 in
 * flight: with two under way a fifth less throughput. For one that runs alone nobody waits: where sagas come one by one, the
 * next would wait until its end is heard of.
 */
const WAIT_MS = 100

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
  /** Of runs that are shared. */
  readonly #underWay = new Set<Promise<unknown>>()

  constructor(
    private readonly starter: SagaStarter,
    private readonly store: Pick<SagaStore, 'requestOf'>,
  ) {
    this.#starts = new Gathering((records) => this.#startMany(records), { most: MOST, ready: () => this.#place() })
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

  async #place(): Promise<void> {
    if (this.#underWay.size === 0) return
    const waited = new AbortController()
    const inTime = sleep(WAIT_MS, undefined, { signal: waited.signal }).catch(() => {})
    await Promise.race([...this.#underWay, inTime])
    waited.abort()
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
    const end = this.starter.ended(carrier)
    this.#underWay.add(end)
    void end.finally(() => {
      this.#underWay.delete(end)
      for (const sagaId of sagaIds) this.#carriers.delete(sagaId)
    })
    return carrier
  }
}

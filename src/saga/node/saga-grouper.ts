import { setTimeout as sleep } from 'node:timers/promises'
import { Gathering } from './gathering.js'
import type { SagaRecord } from './saga-record.js'
import { groupId, type SagaStarter } from './saga-starter.js'
import type { SagaStore } from './saga-store.js'

/** Sagas of a group at most. */
const MOST = 256

/** With so many runs under way others wait for one of them to end, and share the next; so long at most. */
const UNDER_WAY = 2
const WAIT_MS = 100

/**
 * Starts sagas: those that come while others are under way share a run. Nobody waits for a group to fill, and one that comes
 * alone runs alone.
 */
export class SagaGrouper {
  readonly #starts: Gathering<SagaRecord, void>
  readonly #underWay = new Set<Promise<unknown>>()

  constructor(
    private readonly starter: SagaStarter,
    private readonly store: Pick<SagaStore, 'requestOf'>,
  ) {
    this.#starts = new Gathering((records) => this.#startMany(records), { most: MOST, ready: () => this.#place() })
  }

  start(record: SagaRecord): Promise<void> {
    return this.#starts.add(record)
  }

  async #place(): Promise<void> {
    if (this.#underWay.size < UNDER_WAY) return
    const waited = new AbortController()
    const inTime = sleep(WAIT_MS, undefined, { signal: waited.signal }).catch(() => {})
    await Promise.race([...this.#underWay, inTime])
    waited.abort()
  }

  async #startMany(records: SagaRecord[]): Promise<void[]> {
    const types = new Map<string, SagaRecord[]>()
    for (const record of records) types.set(record.type, [...(types.get(record.type) ?? []), record])
    await Promise.all([...types].map(([type, some]) => this.#startAlike(type, some)))
    return []
  }

  async #startAlike(type: string, [first, ...others]: SagaRecord[]): Promise<void> {
    if (!first) return
    const isAlone = others.length === 0
    if (isAlone) await this.starter.start(first, this.store.requestOf(first))
    else
      await this.starter.startGroup(
        type,
        [first, ...others].map(({ sagaId }) => sagaId),
      )
    const end = this.starter.ended(isAlone ? first.sagaId : groupId(first.sagaId))
    this.#underWay.add(end)
    void end.then(() => this.#underWay.delete(end))
  }
}

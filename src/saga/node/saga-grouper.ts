import { Gathering } from './gathering.js'
import type { SagaRecord } from './saga-record.js'
import type { SagaStarter } from './saga-starter.js'
import type { SagaStore } from './saga-store.js'

/** Sagas of a group at most. */
const MOST = 256

/**
 * Starts sagas: those that come while others are being started share a run. Nobody waits for a group to fill, and one that
 * comes alone runs alone.
 */
export class SagaGrouper {
  readonly #starts: Gathering<SagaRecord, void>

  constructor(
    private readonly starter: SagaStarter,
    private readonly store: Pick<SagaStore, 'requestOf'>,
  ) {
    this.#starts = new Gathering((records) => this.#startMany(records), MOST)
  }

  start(record: SagaRecord): Promise<void> {
    return this.#starts.add(record)
  }

  async #startMany(records: SagaRecord[]): Promise<void[]> {
    const types = new Map<string, SagaRecord[]>()
    for (const record of records) types.set(record.type, [...(types.get(record.type) ?? []), record])
    await Promise.all([...types].map(([type, some]) => this.#startAlike(type, some)))
    return []
  }

  async #startAlike(type: string, [first, ...others]: SagaRecord[]): Promise<void> {
    if (first && others.length === 0) await this.starter.start(first, this.store.requestOf(first))
    else if (first)
      await this.starter.startGroup(
        type,
        [first, ...others].map(({ sagaId }) => sagaId),
      )
  }
}

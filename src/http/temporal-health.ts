import type { Temporal } from '../temporal.js'

const PING_EVERY_MS = 1_000
const PING_TIMEOUT_MS = 1_500

/**
 * Whether Temporal is known to be away, by a call a second that reads from its store: a server whose store fails every call
 * still answers those that do without. And whether anybody polls the task queue.
 */
export class TemporalHealth {
  #missed = 0
  #timer: NodeJS.Timeout | undefined
  #stopped = false
  #polled = { at: 0, pollers: false }

  constructor(
    private readonly temporal: Temporal,
    private readonly taskQueue: string,
  ) {}

  get isAway(): boolean {
    // One ping may be late under load; two in a row are not.
    return this.#missed > 1
  }

  async start(): Promise<void> {
    await this.#ping()
  }

  stop(): void {
    this.#stopped = true
    clearTimeout(this.#timer)
  }

  /** Whether workflow and activity pollers were seen on the task queue; asked at most every 2 s. */
  async hasPollers(): Promise<boolean> {
    if (Date.now() - this.#polled.at > 2_000 || !this.#polled.pollers) {
      const seen = await Promise.all([1, 2].map((type) => this.#isPolled(type)))
      this.#polled = { at: Date.now(), pollers: seen.every(Boolean) }
    }
    return this.#polled.pollers
  }

  async #isPolled(taskQueueType: number): Promise<boolean> {
    try {
      const { pollers } = await this.temporal.client.withDeadline(Date.now() + PING_TIMEOUT_MS, () =>
        this.temporal.client.workflowService.describeTaskQueue({
          namespace: this.temporal.namespace,
          taskQueue: { name: this.taskQueue },
          taskQueueType,
        }),
      )
      // The server remembers pollers for five minutes; one that polls shows up at least once a minute.
      const recent = Date.now() / 1_000 - 75
      return (pollers ?? []).some(({ lastAccessTime }) => Number(lastAccessTime?.seconds ?? 0) > recent)
    } catch {
      return false
    }
  }

  async #ping(): Promise<void> {
    try {
      const { client, namespace } = this.temporal
      await client.withDeadline(Date.now() + PING_TIMEOUT_MS, () =>
        client.workflowService.describeNamespace({ namespace }),
      )
      this.#missed = 0
    } catch {
      this.#missed += 1
    }
    if (this.#stopped) return
    this.#timer = setTimeout(() => void this.#ping(), PING_EVERY_MS)
    this.#timer.unref()
  }
}

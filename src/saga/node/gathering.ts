import { setTimeout as sleep } from 'node:timers/promises'

export interface GatheringOptions {
  /** Of a batch. */
  most: number
  /** Batches under way. */
  atOnce?: number
  /** Awaited before each batch: what is asked for meanwhile goes along. */
  ready?: () => Promise<unknown>
  /** While more are on their way a batch that is not full waits for them, 100 ms at most. */
  isMoreComing?: () => boolean
}

/** Calls of a transaction each end some 800 times a second on two cores: in so many ms there are enough for a batch. */
const PATIENCE_MS = 100

/**
 * Does together what is asked for at the same time: as long as so many batches are under way the others wait, and then go as
 * one. `work` answers for each, in order; where it throws, all of its batch fail.
 */
export class Gathering<T, R> {
  #waiting: { item: T; resolve: (answer: R) => void; reject: (error: unknown) => void }[] = []
  #underWay = 0
  #isAsked = false
  #isPatient = false

  constructor(
    private readonly work: (items: T[]) => Promise<R[]>,
    private readonly options: GatheringOptions,
  ) {}

  add(item: T): Promise<R> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ item, resolve, reject })
      if (this.#isAsked) return
      this.#isAsked = true
      // Whoever asks in this turn of the event loop is in the first batch.
      setImmediate(() => {
        this.#isAsked = false
        const { most, atOnce = 1 } = this.options
        for (let left = this.#waiting.length; left > 0 && this.#underWay < atOnce; left -= most) void this.#run()
      })
    })
  }

  async #run(): Promise<void> {
    const { most, ready, isMoreComing = () => false } = this.options
    this.#underWay += 1
    while (this.#waiting.length > 0) {
      if (this.#waiting.length < most && isMoreComing()) {
        // One batch waits, and what would be another goes along with it.
        if (this.#isPatient) break
        this.#isPatient = true
        await sleep(PATIENCE_MS)
        this.#isPatient = false
      }
      if (ready) await ready()
      const batch = this.#waiting.splice(0, most)
      if (batch.length === 0) break
      try {
        const answers = await this.work(batch.map(({ item }) => item))
        for (const [i, { resolve }] of batch.entries()) resolve(answers[i] as R)
      } catch (error) {
        for (const { reject } of batch) reject(error)
      }
    }
    this.#underWay -= 1
  }
}

/** So long behind what others last did, in ms, they count as being at work. */
const AT_WORK_MS = 100
/** Meanwhile there is a turn every so many ms: a bulk beside single sagas then has some 350 a second on two cores. */
const TURN_MS = 50

/** Lets others go first, in this process: while they are at work, turns are few. */
export class Deference {
  #othersAt = 0
  #nextAt = 0

  /** Others are at work. */
  note(): void {
    this.#othersAt = Date.now()
  }

  /** Resolves when it is one's turn. */
  async turn(): Promise<void> {
    const now = Date.now()
    if (now - this.#othersAt > AT_WORK_MS) return
    const at = Math.max(now, this.#nextAt)
    this.#nextAt = at + TURN_MS
    if (at > now) await sleep(at - now)
  }
}

/** Lets so many at once through, the others behind them in their order. */
export class Slots {
  readonly #waiting: (() => void)[] = []
  #free: number

  constructor(slots: number) {
    this.#free = slots
  }

  /** Somebody waits for one. */
  get isCrowded(): boolean {
    return this.#waiting.length > 0
  }

  async hold<T>(work: () => Promise<T>): Promise<T> {
    if (this.#free > 0) this.#free -= 1
    else await new Promise<void>((resolve) => this.#waiting.push(resolve))
    try {
      return await work()
    } finally {
      const next = this.#waiting.shift()
      if (next) next()
      else this.#free += 1
    }
  }
}

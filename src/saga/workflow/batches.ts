import { CancellationScope, Trigger, sleep } from '@temporalio/workflow'
import { ApplicationFailure } from '@temporalio/common'
import type { Answer, BulkCalls, CallBatch, GroupedCalls } from '../types.js'

/** Sagas of one call at most: what it brings back has to fit a payload. */
const MOST_CALLS = 500

/** Microtasks without a further move behind which no saga of this turn has more to say. */
const QUIET = 64

/** How far a wait may be longer than asked, in ms, so that those of many sagas are one timer. */
const TIMER_GRAIN = 100

interface Waiting {
  sagaId: string
  order: unknown
  answer: Trigger<unknown>
}

/**
 * Gathers the calls that the sagas of a group make in the same turn, as a data loader gathers queries: all that ask for the
 * same become one activity. Deterministic, for a workflow's turns are. One activity at a time: a replay does not keep the
 * answers of two local ones apart (temporalio/sdk-python#1578).
 */
export class Batches {
  readonly #waiting = new Map<string, Waiting[]>()
  readonly #forgotten = new Set<string>()
  #isSending = false
  /** Calls that sagas have made, waits that they have begun, ends that they have come to. */
  #moves = 0
  readonly #timers = new Map<number, Promise<void>>()

  /** Out of the reach of what cancels one of the sagas. */
  readonly #home = CancellationScope.current()

  /** To be made in a scope that nothing cancels. */
  constructor(private readonly callMany: (batch: CallBatch) => Promise<Answer[]>) {}

  /** The engine's calls for one saga of the group, or for the bulk whose run it is. */
  callsOf(id: string): GroupedCalls & BulkCalls {
    return new Proxy({} as GroupedCalls & BulkCalls, {
      get: (_, name: CallBatch['name']) => (order: unknown) => this.#call(name, id, order),
    })
  }

  /** The same timer for all that wait equally long. */
  async sleep(ms: number): Promise<void> {
    this.#moves += 1
    const until = Math.ceil((Date.now() + ms) / TIMER_GRAIN) * TIMER_GRAIN
    let timer = this.#timers.get(until)
    if (!timer) {
      timer = this.#home.run(() => sleep(Math.max(1, until - Date.now()))).finally(() => this.#timers.delete(until))
      this.#timers.set(until, timer)
    }
    await timer
  }

  /** A saga has come to its end. */
  moved(): void {
    this.#moves += 1
  }

  /** A saga leaves the group: what its code still calls is not done any more. */
  forget(sagaId: string): void {
    this.#forgotten.add(sagaId)
  }

  #call(name: CallBatch['name'], sagaId: string, order: unknown): Promise<unknown> {
    this.#moves += 1
    if (this.#forgotten.has(sagaId) && name !== 'leaveGroup') return new Promise<never>(() => {})
    // Calls of different steps are made apart: a saga that hangs in one must not hold the others.
    const { step } = (order ?? {}) as { step?: string }
    const key = step === undefined ? name : `${name} ${step}`
    const answer = new Trigger<unknown>()
    const waiting = this.#waiting.get(key)
    if (waiting) waiting.push({ sagaId, order, answer })
    else this.#waiting.set(key, [{ sagaId, order, answer }])
    if (!this.#isSending) {
      this.#isSending = true
      void this.#send()
    }
    return Promise.resolve(answer)
  }

  async #send(): Promise<void> {
    await this.#quiet(Infinity)
    for (;;) {
      const [key, all] = this.#most() ?? []
      if (key === undefined || all === undefined) break
      const calls = all.splice(0, MOST_CALLS)
      if (all.length === 0) this.#waiting.delete(key)
      const moves = this.#moves
      await this.#sendOne(key, calls)
      await this.#quiet(moves + calls.length)
    }
    this.#isSending = false
  }

  async #sendOne(key: string, calls: Waiting[]): Promise<void> {
    try {
      const name = key.split(' ')[0] as CallBatch['name']
      const answers = await this.#home.run(() =>
        this.callMany({ name, calls: calls.map(({ sagaId, order }) => ({ sagaId, order })) }),
      )
      for (const [i, { answer }] of calls.entries()) {
        const given = answers[i]
        if (given && 'failure' in given) answer.reject(ApplicationFailure.create(given.failure))
        else answer.resolve(given?.ok)
      }
    } catch (error) {
      for (const { answer } of calls) answer.reject(error)
    }
  }

  /** What most sagas wait for; the bulk's own call comes first, or it would be left until they have all ended. */
  #most(): [string, Waiting[]] | undefined {
    const window = this.#waiting.get('nextWindow')
    if (window) return ['nextWindow', window]
    let most: [string, Waiting[]] | undefined
    for (const one of this.#waiting) if (!most || one[1].length > most[1].length) most = one
    return most
  }

  /** Until the sagas that go on in this turn have all moved, or seem to: one that waits for two steps at once may not. */
  async #quiet(moves: number): Promise<void> {
    for (let left = QUIET, known = this.#moves; left > 0 && this.#moves < moves; left -= 1) {
      await undefined
      if (known !== this.#moves) {
        known = this.#moves
        left = QUIET
      }
    }
  }
}

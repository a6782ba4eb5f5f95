import { CancellationScope, sleep } from '@temporalio/workflow'
import { ApplicationFailure } from '@temporalio/common'
import type { Stop } from './stop.js'
import type { Answer, BulkCalls, CallBatch, GroupedCalls } from '../types.js'

/** Sagas of one call at most: what it brings back has to fit a payload. */
const MOST_CALLS = 500

/** Microtasks without a further move behind which no saga of this turn has more to say. */
const QUIET = 64

/** How far a wait may be longer than asked, in ms, so that many sagas go on together. */
const TIMER_GRAIN = 100

type CallName = CallBatch['name']

interface Waiting {
  sagaId: string
  order: unknown
  resolve: (answer: unknown) => void
  reject: (error: unknown) => void
}

/**
 * Gathers the calls that the sagas of a group make in the same turn, as a data loader gathers queries: all that ask for the
 * same become one activity. Deterministic, for a workflow's turns are. One activity at a time: a replay does not keep the
 * answers of two local ones apart (temporalio/sdk-python#1578). Every promise counts here: the SDK notes a stack for each.
 */
export class Batches {
  readonly #waiting = new Map<string, { name: CallName; calls: Waiting[] }>()
  readonly #forgotten = new Set<string>()
  #isSending = false
  /** Sagas that go on in this turn, as far as is known, and have not made a move yet. */
  #moving = 0
  #asleep = 0
  readonly #alarms = new Map<number, Set<() => void>>()
  /** When the next timer fires. */
  #timerAt = Infinity

  /** Out of the reach of what cancels one of the sagas. */
  readonly #home = CancellationScope.current()

  /** To be made in a scope that nothing cancels. */
  constructor(private readonly callMany: (batch: CallBatch) => Promise<Answer[]>) {}

  /** So many sagas more begin in this turn. */
  begin(sagas: number): void {
    this.#moving += sagas
  }

  /** The engine's calls for one saga of the group, or for the bulk whose run it is. */
  callsOf(id: string): GroupedCalls & BulkCalls {
    const call = (name: CallName) => (order?: unknown) => this.#call(name, id, order) as Promise<never>
    return {
      openMember: call('openMember'),
      invoke: call('invoke'),
      compensate: call('compensate'),
      settle: call('settle'),
      claimNested: call('claimNested'),
      completeSaga: call('completeSaga'),
      claimRollback: call('claimRollback'),
      parkSaga: call('parkSaga'),
      verifyCompensations: call('verifyCompensations'),
      closeRolledBack: call('closeRolledBack'),
      leaveGroup: call('leaveGroup'),
      nextWindow: call('nextWindow'),
    }
  }

  /** Sagas that wait between two attempts. */
  get asleep(): number {
    return this.#asleep
  }

  /** Until then, or until it is stopped. */
  async sleep(ms: number, stop?: Stop): Promise<void> {
    this.moved()
    this.#asleep += 1
    await new Promise<void>((resolve) => {
      this.alarm(ms, resolve)
      stop?.onStop(resolve)
    })
    this.#asleep -= 1
  }

  /** Those that are to be rung equally late are rung together. Call what it returns to be rung no more. */
  alarm(ms: number, ring: () => void): () => void {
    const at = Math.ceil((Date.now() + ms) / TIMER_GRAIN) * TIMER_GRAIN
    const bells = this.#alarms.get(at) ?? new Set()
    this.#alarms.set(at, bells.add(ring))
    return () => {
      bells.delete(ring)
      if (bells.size === 0 && this.#alarms.get(at) === bells) this.#alarms.delete(at)
    }
  }

  /** Rings what is due. */
  #ring(): void {
    for (const [at, bells] of this.#alarms) {
      if (at > Date.now()) continue
      this.#alarms.delete(at)
      this.#moving += bells.size
      for (const ring of bells) ring()
    }
  }

  /**
   * Only where nothing else is to be done: as long as one local activity follows another the workflow task goes on, and its
   * timers are begun at its end.
   */
  #setTimer(): void {
    const at = Math.min(...this.#alarms.keys())
    if (at >= this.#timerAt) return
    this.#timerAt = at
    void this.#home.run(() => sleep(Math.max(1, at - Date.now()))).then(() => this.#fired(at))
  }

  #fired(at: number): void {
    if (this.#timerAt === at) this.#timerAt = Infinity
    this.#ring()
    this.#wakeSending()
  }

  /** A saga waits for something else, or has come to its end. */
  moved(): void {
    this.#moving -= 1
  }

  /** A saga leaves the group: what its code still calls is not done any more. */
  forget(sagaId: string): void {
    this.#forgotten.add(sagaId)
  }

  #call(name: CallName, sagaId: string, order: unknown): Promise<unknown> {
    this.#moving -= 1
    if (this.#forgotten.has(sagaId) && name !== 'leaveGroup') return new Promise<never>(() => {})
    // Calls of different steps are made apart: a saga that hangs in one must not hold the others.
    const { step } = (order ?? {}) as { step?: string }
    const key = step === undefined ? name : `${name} ${step}`
    return new Promise((resolve, reject) => {
      const one = { sagaId, order, resolve, reject }
      const waiting = this.#waiting.get(key)
      if (waiting) waiting.calls.push(one)
      else this.#waiting.set(key, { name, calls: [one] })
      this.#wakeSending()
    })
  }

  #wakeSending(): void {
    if (this.#isSending) return
    this.#isSending = true
    void this.#send()
  }

  async #send(): Promise<void> {
    await this.#quiet()
    for (;;) {
      const [key, most] = this.#most() ?? []
      if (key === undefined || most === undefined) break
      const calls = most.calls.splice(0, MOST_CALLS)
      if (most.calls.length === 0) this.#waiting.delete(key)
      await this.#sendOne(most.name, calls)
      this.#ring()
      await this.#quiet()
    }
    this.#isSending = false
    this.#setTimer()
  }

  async #sendOne(name: CallName, calls: Waiting[]): Promise<void> {
    try {
      const answers = await this.#home.run(() =>
        this.callMany({ name, calls: calls.map(({ sagaId, order }) => ({ sagaId, order })) }),
      )
      for (const [i, { resolve, reject }] of calls.entries()) {
        const given = answers[i]
        if (given && 'failure' in given) reject(ApplicationFailure.create(given.failure))
        else resolve(given?.ok)
      }
    } catch (error) {
      for (const { reject } of calls) reject(error)
    }
    this.#moving += calls.length
  }

  /** What most sagas wait for. */
  #most(): [string, { name: CallName; calls: Waiting[] }] | undefined {
    let most: [string, { name: CallName; calls: Waiting[] }] | undefined
    for (const one of this.#waiting) if (!most || one[1].calls.length > most[1].calls.length) most = one
    return most
  }

  /** Until the sagas that go on in this turn have all moved, or seem to: one that waits for two steps at once may not. */
  async #quiet(): Promise<void> {
    for (let left = QUIET, known = this.#moving; left > 0 && this.#moving > 0; left -= 1) {
      await Promise.resolve()
      if (known !== this.#moving) {
        known = this.#moving
        left = QUIET
      }
    }
    this.#moving = 0
  }
}

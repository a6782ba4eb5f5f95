import { COMPLETION, OPENING, ROLLBACK, type Case } from './cases.js'
import type { Answer, Asked } from './worker.js'

/** A call of the saga's, as it was made. */
export interface Observed {
  /** Its place among all calls of the saga. */
  order: number
  sagaId: string
  /** The saga's own step; of a nested saga's call the step that this is. */
  step: string
  op: string
  isNested: boolean
  /** What the script made of it. */
  made: Answer
  /** What the participant's barrier said. */
  verdict?: string
  /** Its row may have been lost with the process. */
  isInKilledProcess?: true
  end?: 'answered' | 'killed' | { error: string }
}

/** What a script can have done. */
export interface Hands {
  stop(): Promise<void>
  /** Never resolves: the process that asks is killed. */
  crash(): Promise<never>
  /** Resolves once so many attempts of the step have failed, as the log says. */
  failed(step: string, times: number): Promise<unknown>
  /** The saga has ended. */
  ended: Promise<unknown>
}

/** Makes one saga go as its case says: the answers to what its calls ask. */
export class Script {
  readonly calls: Observed[] = []
  /** The undo that failed for good works from now on. */
  isHealed = false
  #isStopped = false
  readonly #byCall = new Map<string, { observed: Observed; nth: number }>()
  readonly #lateCommit = makeSignal()
  readonly #allEnded = makeSignal()
  readonly #undoFails = makeSignal()
  #fail: (error: Error) => void = () => {}
  /** Rejects where the saga can't be driven as its case says. */
  readonly undriven = new Promise<never>((_, reject) => (this.#fail = reject))

  constructor(
    private readonly one: Case,
    private readonly sagaId: string,
    private readonly hands: Hands,
  ) {
    this.undriven.catch(() => {})
  }

  /** Resolves when its undo has failed for the first time: it only waits for long now. */
  get undoFails(): Promise<void> {
    return this.#undoFails.promise
  }

  /** `process` tells calls of different processes apart. Never rejects: the call goes on where its saga can't be driven. */
  async answer(asked: Asked, process: string): Promise<Answer> {
    try {
      return await this.#answer(asked, process)
    } catch (error) {
      this.#fail(error as Error)
      return 'go'
    }
  }

  async #answer(asked: Asked, process: string): Promise<Answer> {
    const key = `${process} ${asked.call}`
    if (asked.at === 'before') {
      const isNested = asked.sagaId !== this.sagaId
      const step = isNested ? (asked.sagaId.slice(this.sagaId.length + 1).split('.')[0] ?? '') : asked.step
      const { sagaId, op } = asked
      const nth = this.calls.filter((call) => call.op === op && call.step === step).length + 1
      const observed: Observed = { order: this.calls.length, sagaId, step, op, isNested, made: 'go' }
      this.calls.push(observed)
      this.#byCall.set(key, { observed, nth })
      observed.made = await this.#before(observed, nth)
      return observed.made
    }
    const known = this.#byCall.get(key)
    if (!known) return 'go'
    const { observed, nth } = known
    if (asked.end && 'error' in asked.end) {
      this.#end(observed, asked.end)
      return 'go'
    }
    if (asked.end) observed.verdict = asked.end.verdict
    const answer = await this.#after(observed, nth)
    if (answer === 'fail') observed.made = 'fail'
    this.#end(observed, 'answered')
    return answer
  }

  /** What was under way in a process that was killed has no other end. */
  killed(process: string): void {
    for (const [key, { observed }] of this.#byCall) {
      if (!key.startsWith(`${process} `)) continue
      observed.isInKilledProcess = true
      if (!observed.end) this.#end(observed, 'killed')
    }
  }

  /** Resolves when no call is under way. */
  async settled(): Promise<void> {
    while (this.calls.some(({ end }) => end === undefined)) await this.#allEnded.next()
  }

  #end(observed: Observed, end: NonNullable<Observed['end']>): void {
    observed.end = end
    if (observed.op === 'invoke' && observed.step === this.one.step) this.#lateCommit.resolve()
    this.#allEnded.resolve()
  }

  async #before({ step, op, isNested }: Observed, nth: number): Promise<Answer> {
    const { one, hands } = this
    if (op === 'completeSaga' && !isNested) await this.#stopAt(COMPLETION)
    if (op === 'invoke' && step === one.refused) return 'refuse'
    if (step !== one.step) return 'go'
    if (op === 'settle' || op === 'compensate') {
      // The late call has had its chance before.
      if (one.fault === 'late commit' && nth === 1) await this.#lateCommit.promise
    }
    if (op === 'compensate') return this.#beforeUndo(nth)
    if (op !== 'invoke' || !this.#isStruck(nth)) return 'go'
    switch (one.fault) {
      case 'error before commit':
        await this.#stopAt(step, nth)
        return 'fail'
      case 'rejection':
        await this.#stopAt(step, nth)
        return 'refuse'
      case 'duplicate delivery':
        return 'twice'
      case 'crash before commit':
        await this.#stopAt(step, nth)
        return hands.crash()
      case 'late commit':
      case 'commit after the end':
        await this.#stopAt(step, nth)
        await (one.fault === 'late commit' && nth === 1 ? hands.failed(step, 1) : hands.ended)
        return 'go'
      default:
        return 'go'
    }
  }

  async #beforeUndo(nth: number): Promise<Answer> {
    const { undo } = this.one
    await this.#stopAt(ROLLBACK, nth)
    if (undo === 'undo finds nothing' && nth === 1) return 'clear'
    if (undo === 'undo fails twice' && nth === 1) return 'fail'
    if (undo !== 'undo fails for good' || this.isHealed) return 'go'
    this.#undoFails.resolve()
    return 'fail'
  }

  async #after({ step, op, isNested }: Observed, nth: number): Promise<Answer> {
    const { one, hands } = this
    if (op === 'openSaga') await (isNested ? undefined : this.#stopAt(OPENING))
    if (op === 'compensate' && step === one.step) return one.undo === 'undo fails twice' && nth === 2 ? 'fail' : 'go'
    if (op !== 'invoke') return 'go'
    const isStruck = step === one.step && this.#isStruck(nth)
    await this.#stopAt(step, nth)
    if (isStruck && one.fault === 'crash after commit') return hands.crash()
    return isStruck && one.fault === 'error after commit' ? 'fail' : 'go'
  }

  #isStruck(nth: number): boolean {
    return nth === 1 || this.one.forGood
  }

  async #stopAt(place: string, nth = 1): Promise<void> {
    const { stop } = this.one
    if (stop?.at !== place || this.#isStopped || nth < (stop.atCall ?? 1)) return
    this.#isStopped = true
    await this.hands.stop()
  }
}

function makeSignal() {
  let resolve = () => {}
  let promise = new Promise<void>((done) => (resolve = done))
  return {
    get promise() {
      return promise
    },
    resolve: () => resolve(),
    /** Resolves when it is resolved again. */
    next() {
      promise = new Promise<void>((done) => (resolve = done))
      return promise
    },
  }
}

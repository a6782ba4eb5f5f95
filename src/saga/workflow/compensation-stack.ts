/** The steps that a run has reached, in the order in which they were registered: each before its invoke is called. */
export class CompensationStack {
  readonly #reached: string[] = []
  #closed = false

  /** Throws where a saga calls a step twice: the barrier would answer the second call with the first one's result. */
  register(step: string): void {
    if (this.#closed) throw new Error(`Step ${step} was called while the saga was being rolled back`)
    if (this.#reached.includes(step)) {
      throw new Error(`Step ${step} was called twice. Each step of a saga happens once: declare a step of its own.`)
    }
    this.#reached.push(step)
  }

  /** Ends the way forward: what the saga's code still calls in parallel is refused from now on. */
  close(): void {
    this.#closed = true
  }

  /** Newest first: the order in which they are compensated. */
  get reached(): string[] {
    return this.#reached.toReversed()
  }
}

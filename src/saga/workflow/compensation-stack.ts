import type { StepDeclarations } from '../types.js'

/** The steps that a run has reached, in the order in which they were registered: each before its invoke is called. */
export class CompensationStack {
  readonly #reached: string[] = []

  constructor(private readonly declared: StepDeclarations) {}

  /** Throws where a saga calls a step twice: the barrier would answer the second call with the first one's result. */
  register(step: string): void {
    if (this.#reached.includes(step)) {
      throw new Error(`Step ${step} was called twice. Each step of a saga happens once: declare a step of its own.`)
    }
    this.#reached.push(step)
  }

  /** Newest first: the order in which they are compensated. */
  get reached(): string[] {
    return this.#reached.toReversed()
  }

  /**
   * Declared steps that this run has not reached, last declared first. They are compensated as well, and before the
   * others: a lost run may have reached them, and left nothing of it in history.
   */
  get unreached(): string[] {
    return Object.keys(this.declared)
      .filter((step) => !this.#reached.includes(step))
      .toReversed()
  }
}

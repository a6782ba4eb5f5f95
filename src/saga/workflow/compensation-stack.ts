import type { StepDeclarations } from '../types.js'

/**
 * The steps that a run has reached, in the order in which they were registered: each before its invoke is called. Refuses
 * calls that the declared kinds rule out; these are mistakes in the saga's own code.
 */
export class CompensationStack {
  readonly #reached: string[] = []
  readonly #underWay = new Set<string>()
  #closed = false
  #isPivotApplied = false

  constructor(private readonly steps: StepDeclarations) {}

  /** Throws where a saga calls a step twice: the barrier would answer the second call with the first one's result. */
  register(step: string): void {
    const kind = this.steps[step]?.kind
    const pivot = pivotOf(this.steps)
    if (this.#closed) throw new Error(`Step ${step} was called when the saga's code had ended already`)
    if (this.#reached.includes(step)) {
      throw new Error(`Step ${step} was called twice. Each step of a saga happens once: declare a step of its own.`)
    }
    if (kind === 'compensatable' && pivot !== undefined && this.#reached.includes(pivot)) {
      throw new Error(
        `Step ${step} was called behind the pivot ${pivot}, where nothing is undone any more. Call it before, or declare it as retriable.`,
      )
    }
    if (kind === 'pivot' && this.#underWay.size > 0) {
      throw new Error(
        `The pivot ${step} was called while ${[...this.#underWay].join(', ')} had not ended. Await it first.`,
      )
    }
    if (kind === 'retriable' && !this.#isPivotApplied) {
      throw new Error(
        `Step ${step} is retriable and was called before the pivot ${pivot} had succeeded. Await it first.`,
      )
    }
    this.#reached.push(step)
    this.#underWay.add(step)
  }

  ended(step: string, { applied }: { applied: boolean }): void {
    this.#underWay.delete(step)
    if (applied && this.steps[step]?.kind === 'pivot') this.#isPivotApplied = true
  }

  /** Ends the way forward: what the saga's code still calls in parallel is refused from now on. */
  close(): void {
    this.#closed = true
  }

  /** Newest first: the order in which they are compensated. */
  get reached(): string[] {
    return this.#reached.toReversed()
  }

  get underWay(): ReadonlySet<string> {
    return this.#underWay
  }
}

export function pivotOf(steps: StepDeclarations): string | undefined {
  return Object.keys(steps).find((step) => steps[step]?.kind === 'pivot')
}

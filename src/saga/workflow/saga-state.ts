import { planOf } from '../plan.js'
import { fieldsOf } from '../plan.js'
import type { Changed, CompletionClaim, Plan, SagaView, StepDeclarations, StepInputs } from '../types.js'
import type { CompensationStack } from './compensation-stack.js'

/** The run's own picture of the saga, for those who ask it: what its activities have told of the saga's row. */
export class SagaState {
  #view: SagaView | undefined
  readonly #inputs: StepInputs = {}
  #declared: StepDeclarations = {}
  #stack: CompensationStack | undefined

  /** The saga as its row stands; `undefined` until the run has been opened. */
  get view(): SagaView | undefined {
    if (!this.#view) return undefined
    const isUnderWay = (step: string) => this.#stack?.underWay.has(step)
    const steps = this.#view.steps.map((one) =>
      one.status === 'pending' && isUnderWay(one.step) ? { ...one, status: 'running' as const } : one,
    )
    return { ...this.#view, steps }
  }

  get plan(): Plan {
    if (!this.view) return { steps: [] }
    return planOf(this.view, this.#declared, this.#inputs, this.#stack?.reached)
  }

  /** The steps that the run declares, and the stack of those it reaches. */
  follow(declared: StepDeclarations, stack?: CompensationStack): void {
    this.#declared = declared
    this.#stack = stack
  }

  /** Takes over the saga as its row stands; `inputs`: what earlier runs have given its steps. */
  see(view: SagaView, inputs: StepInputs = {}): void {
    this.#view = view
    Object.assign(this.#inputs, inputs)
  }

  /** Takes over what an attempt made of a step and its compensation. */
  change({ step, compensation }: Changed): void {
    if (!this.#view) return
    const { steps, compensations } = this.#view
    if (step) {
      const { input, ...shown } = step
      if (input !== undefined) this.#inputs[step.step] = input
      this.#view = { ...this.#view, steps: steps.map((one) => (one.step === step.step ? shown : one)) }
    }
    if (compensation) {
      const isKnown = compensations.some((one) => one.step === compensation.step)
      const others = compensations.map((one) => (one.step === compensation.step ? compensation : one))
      this.#view = { ...this.#view, compensations: isKnown ? others : [...compensations, compensation] }
    }
  }

  /** Takes over how the saga has ended. */
  end({ ending, endedAt }: CompletionClaim & { go: 'ended' }): void {
    if (!this.#view || ending.fate !== 'completed') return
    this.#view = { ...fieldsOf(ending.result), ...this.#view, status: 'COMPLETED', ...(endedAt && { endedAt }) }
  }
}

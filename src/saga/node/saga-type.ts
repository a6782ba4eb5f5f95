import type { InputProblem } from '../errors.js'
import type { Failures } from '../failure.js'

/**
 * The Node half of a saga: what its workflow can't know, for its input is checked and masked outside the sandbox. `Input` is
 * whatever the saga's code works with, and JSON.
 */
export interface SagaType<Input = unknown> {
  readonly type: string
  parse(request: unknown): { input: Input; failures?: Failures } | { problems: InputProblem[] }
  /** The input as people may see it. */
  view(input: Input): object
  label(input: Input): string
  /** Texts that must not stand in any message (docs/secrets.md). */
  secrets(input: Input): string[]
}

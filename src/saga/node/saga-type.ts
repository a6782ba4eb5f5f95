import type { InputProblem } from '../errors.js'
import type { Failures } from '../failure.js'
import type { Json } from '../types.js'

/** The Node half of a saga: what its workflow can't know, for its input is checked and masked outside the sandbox. */
export interface SagaType<Input = Json> {
  readonly type: string
  parse(request: unknown): { input: Input; failures?: Failures } | { problems: InputProblem[] }
  /** The input as people may see it. */
  view(input: Input): object
  label(input: Input): string
  /** Texts that must not stand in any message. */
  secrets(input: Input): string[]
}

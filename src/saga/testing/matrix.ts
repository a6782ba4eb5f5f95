import type { DataConverter } from '@temporalio/common'
import type { SagaType } from '../node/saga-type.js'
import type { AnyForwardParticipant, Json, StepDeclarations } from '../types.js'

/** A saga with all that it needs to run, as the kit is given it. */
export interface Matrix {
  /** The saga, as defineSaga has made it. */
  saga: { readonly type: string; readonly steps: StepDeclarations }
  /** The module that exports the saga with `recoverSaga` and `sagaSweep`, as a path, or bundled already. */
  workflows: { workflowsPath: string } | { codePath: string }
  dataConverter?: DataConverter
  /** The participants of the saga's steps, and of its nested sagas'. Each needs a `verify` that names every effect it finds. */
  participants: readonly AnyForwardParticipant[]
  /** The Node halves of the saga and its nested ones. */
  sagas: readonly SagaType[]
  /** The input of the n-th saga, another each time where that matters. Every declared step must be called with it. */
  input(n: number): Json
}

/** A matrix as `defineMatrix` has made it. */
export interface DefinedMatrix extends Matrix {
  /** The program that the kit's workers run. */
  readonly workerProgram: string
}

/** Where a matrix runs. */
export interface MatrixPlace {
  /** A database of its own, with the engine's tables and the participants', and nothing in them. */
  databaseUrl: string
  temporalAddress: string
  /** A namespace that no worker of the saga serves. */
  namespace: string
}

export interface MatrixOptions {
  /** The cases whose names have this in them; all where it is left out. */
  only?: string | RegExp | undefined
  /**
   * Sagas under way at once, on a worker for each kind: those that are only struck by errors (16), those with calls that come
   * late (24), and those whose worker is killed under all of them (30).
   */
  atOnce?: Partial<AtOnce>
  /** How long a case may take until its saga has come to rest, in ms: 150,000; twice that where its worker is killed each time. */
  caseMs?: number
  /** Gets a line as each case ends; they go to stderr where it is left out. */
  tell?: (line: string) => void
}

export interface AtOnce {
  plain: number
  late: number
  crash: number
}

/** One case, once its saga has come to rest. */
export interface CaseReport {
  name: string
  sagaId: string
  /** What was not as it must be; empty: all is well. */
  problems: string[]
  /** What is needed to understand them: what the model expected, the calls that were made, and the saga's log. */
  account: string
}

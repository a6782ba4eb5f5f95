import { CancelledFailure, ContinueAsNew } from '@temporalio/workflow'
import { toSagaError } from '../errors.js'
import { bytesOf, checkedResult, MAX_JSON_BYTES } from '../result.js'
import type { InvokeOrder, Json, RollbackCause, RunSettings, SagaError, StepDeclarations } from '../types.js'
import { SagaEnded } from './attention.js'
import { invokePolicy, retriablePolicy } from '../policy.js'
import { CompensationStack, pivotOf } from './compensation-stack.js'
import type { SagaBody, StepCalls } from './define-saga.js'
import { callOf, settlePivot, type Run } from './run.js'
import { Stop } from './stop.js'

/** Behind the pivot a step is tried until the saga's deadline, and at least so long. */
const LEAST_RETRIABLE_MS = 30_000

/** How the saga's code has ended. `bug`: behind the point of no return, where it can't be undone any more. */
export type CodeEnd =
  | { kind: 'result'; result: Json }
  | { kind: 'stopped'; cause: RollbackCause }
  | { kind: 'bug'; step: string; error: SagaError }

/**
 * One run of a saga's own code: it calls the steps by their kinds, until the code ends or something stops it: a step that
 * fails for good, a cancel, the deadline. What stops it first is the cause. Once the pivot is applied nothing stops it.
 */
export class WayForward {
  readonly stack: CompensationStack
  #isPastPivot: boolean
  /** Inputs have a largest size. */
  readonly #isLimited: boolean
  #isPivotSettled = false
  #stoppedBy: RollbackCause | undefined
  /** Stops the calls. */
  readonly #stop = new Stop()
  /** Stops the pivot's call. While that is under way it alone is stopped, for the pivot may prove to be applied. */
  #pivotStop: Stop | undefined
  /** Leaves the code where it stands: nothing that it might still do counts. */
  #halt = () => {}
  #underWay = 0
  /** Told when the last call that is under way has ended. */
  #onIdle = () => {}
  /** What calls have failed with, the code stopped with them. */
  readonly #failures: unknown[] = []

  constructor(
    private readonly run: Run,
    { pastPivot, settings }: { pastPivot: boolean; settings: RunSettings },
    /** In workflow time, ms since 1970. */
    private readonly deadlineAt: number,
  ) {
    this.stack = new CompensationStack(run.steps)
    this.#isPastPivot = pastPivot
    this.#isLimited = settings.version === 2
  }

  /** Ends the way forward, unless it is past its point of no return. The first cause counts. */
  stop(cause: RollbackCause): void {
    if (this.#isPastPivot || this.#stoppedBy) return
    this.#stoppedBy = cause
    if (this.#pivotStop) {
      this.#pivotStop.stop()
      return
    }
    this.#stop.stop()
    this.#halt()
  }

  /** The pivot has not happened, and never will. */
  get isPivotSettled(): boolean {
    return this.#isPivotSettled
  }

  /**
   * Runs the saga's code until it ends or is stopped, and waits for every call that it has made. Stopped it is not gone on
   * with: no promise of a step is rejected, for what the code made of that would count for nothing, and a rejection that
   * nobody handles would fail the workflow task for ever. Throws SagaEnded.
   */
  async follow<Steps extends StepDeclarations, Input, Result>(
    body: SagaBody<Steps, Input, Result>,
    input: Input,
  ): Promise<CodeEnd> {
    const end = await this.#codeEnd(body, input)
    let result: Json = null
    let bug = 'error' in end ? end : undefined
    try {
      // Here and not when the run closes: a result that is no JSON, or too large, is a mistake like any other.
      if ('result' in end) result = checkedResult(end.result, 'the saga').result
    } catch (error) {
      bug = { error }
    }
    this.stack.close()
    if (bug && !this.#isPastPivot) this.stop(causeOf(bug.error))
    // Calls that the code did not wait for: a rollback must not overtake them, and one that fails fails the saga.
    if (this.#underWay > 0) await new Promise<void>((resolve) => (this.#onIdle = resolve))
    const failures = [...(bug ? [bug.error] : []), ...this.#failures]
    const over = failures.find(isOver)
    if (over) throw over
    if (this.#stoppedBy) return { kind: 'stopped', cause: this.#stoppedBy }
    if (failures.length === 0) return { kind: 'result', result }
    return {
      kind: 'bug',
      step: this.stack.reached[0] ?? pivotOf(this.run.steps) ?? '',
      error: toSagaError(failures[0]),
    }
  }

  /** How the code itself ends; without a result where it is left. */
  #codeEnd<Steps extends StepDeclarations, Input, Result>(
    body: SagaBody<Steps, Input, Result>,
    input: Input,
  ): Promise<{ result?: Result } | { error: unknown }> {
    return new Promise((resolve) => {
      this.#halt = () => resolve({})
      const failed = (error: unknown) => resolve({ error })
      try {
        body(this.#stepCalls<Steps>(), input).then((result) => resolve({ result }), failed)
      } catch (error) {
        failed(error)
      }
      if (this.#stoppedBy) this.#halt()
    })
  }

  #stepCalls<Steps extends StepDeclarations>(): StepCalls<Steps> {
    return Object.fromEntries(
      Object.keys(this.run.steps).map((step) => [step, (input: Json) => this.#call(step, input)]),
    ) as unknown as StepCalls<Steps>
  }

  #call(step: string, input: Json): Promise<Json | undefined> {
    if (this.#stoppedBy) return this.#fail(stoppedError(this.#stoppedBy))
    try {
      const bytes = this.#isLimited ? bytesOf(JSON.stringify(input ?? null)) : 0
      if (bytes > MAX_JSON_BYTES) {
        throw new TypeError(`the input of step ${step} has ${bytes} bytes as JSON; ${MAX_JSON_BYTES} is the most`)
      }
      // Before the call: one whose answer never comes may have taken effect.
      this.stack.register(step)
    } catch (error) {
      this.stop(causeOf(error))
      return this.#fail(error)
    }
    this.#underWay += 1
    return this.#callByKind(step, input).then(
      ({ result }) => {
        this.#ended(step, { applied: true })
        return this.#stoppedBy ? this.#fail(stoppedError(this.#stoppedBy)) : result
      },
      (error: unknown) => {
        if (!isOver(error)) this.stop({ failedStep: step, error: toSagaError(error) })
        this.#ended(step, { applied: false })
        return this.#fail(error)
      },
    )
  }

  #ended(step: string, { applied }: { applied: boolean }): void {
    this.stack.ended(step, { applied })
    this.#underWay -= 1
    if (this.#underWay === 0) this.#onIdle()
  }

  #fail(error: unknown): Promise<never> {
    this.#failures.push(error)
    this.#halt()
    return never
  }

  #callByKind(step: string, input: Json): Promise<{ result?: Json }> {
    if (this.#isPastPivot) return this.#callUntilDone(step, input)
    if (this.run.steps[step]?.kind === 'pivot') return this.#callPivot(step, input)
    return this.#callOnce(step, input, this.#stop)
  }

  #callOnce(step: string, input: Json, stop: Stop): Promise<{ result: Json }> {
    const order = { ...this.#order(step, input), budget: invokePolicy.attempts }
    return this.run.caller.invoke(order, invokePolicy, { stop })
  }

  /** The pivot: whatever keeps its answer back, its barrier says in the end whether it is applied. */
  async #callPivot(step: string, input: Json): Promise<{ result: Json }> {
    let failure: unknown
    this.#pivotStop = new Stop()
    try {
      const answer = await this.#callOnce(step, input, this.#pivotStop)
      this.#pass()
      return answer
    } catch (error) {
      failure = error
    }
    const failed = { failedStep: step, error: toSagaError(failure) }
    const settled = await settlePivot(this.run, step, { reached: true, cause: () => this.#stoppedBy ?? failed })
    if (settled.verdict === 'applied') {
      this.#pass()
      return settled
    }
    this.#isPivotSettled = true
    this.#pivotStop = undefined
    throw failure
  }

  /** From here on nothing stops the saga, also what did so while the pivot was under way. */
  #pass(): void {
    this.#pivotStop = undefined
    this.#stoppedBy = undefined
    this.#isPastPivot = true
  }

  /** Behind the pivot: tried for as long as the saga has time, then again whenever a person says so. */
  async #callUntilDone(step: string, given: Json): Promise<{ result?: Json }> {
    const decided = this.run.decided.get(step)
    if (decided?.isByHand) return {}
    let isStuck = decided?.at === 'invoke' && decided.isStuck
    let input = decided?.at === 'invoke' && decided.input !== undefined ? decided.input : given
    for (;;) {
      let error: SagaError | null = null
      if (!isStuck) {
        try {
          const withinMs = Math.max(LEAST_RETRIABLE_MS, this.deadlineAt - Date.now())
          const order = { ...this.#order(step, input), budget: null }
          return await this.run.caller.invoke(order, retriablePolicy, { withinMs })
        } catch (failure) {
          error = toSagaError(failure)
        }
      }
      const decision = await this.run.people.wait({ step, at: 'invoke', error })
      if (decision.action === 'resolve') return {}
      isStuck = false
      if (decision.input !== undefined) input = decision.input
    }
  }

  #order(step: string, input: Json): Omit<InvokeOrder, 'budget' | 'timeoutMs'> {
    const { kind = 'compensatable' } = this.run.steps[step] ?? {}
    return { ...callOf(this.run, step), op: 'invoke', kind, input }
  }
}

/** What a mistake in the saga's own code, or whatever else it throws, makes of the saga. */
export function causeOf(error: unknown): RollbackCause {
  return { failedStep: null, error: toSagaError(error) }
}

const never = new Promise<never>(() => {})

function stoppedError({ failedStep, error }: RollbackCause): Error {
  return new CancelledFailure(
    failedStep
      ? `The saga is rolled back, for step ${failedStep} has failed`
      : `The saga is rolled back: ${error.message}`,
  )
}

/** This run has nothing more to do, whatever the code makes of it. */
function isOver(error: unknown): boolean {
  return error instanceof SagaEnded || error instanceof ContinueAsNew
}

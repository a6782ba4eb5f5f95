import { CancellationScope } from '@temporalio/workflow'
import { applicationFailureOf, toSagaError } from '../errors.js'
import type { Changed, Closing, DueCompensation, Ending, RollbackCause, RunSettings, SagaError } from '../types.js'
import { compensatePolicy } from '../policy.js'
import { pivotOf } from './compensation-stack.js'
import { callOf, settlePivot, type Run } from './run.js'
import type { SagaState } from './saga-state.js'

/** How often a call is ordered that the engine fails to make. */
const UNMADE_CALLS = 3

interface Rollback {
  cause: RollbackCause
  /** What this run has reached, newest first. */
  reached: string[]
  /** The saga's fate is decided already, or its pivot settled: no need to ask for it. */
  isDecided: boolean
  settings: RunSettings
  state: SagaState
}

/**
 * Claims the rollback and carries it out, out of the reach of cancellation: first the declared steps that no run is known
 * to have reached (the barrier answers `empty` for what never happened, and refuses it from then on), then those that were,
 * by this run's stack and by the saga's row, newest first. After Garcia-Molina and Salem, Sagas (1987), but for the steps
 * not on the stack: a lost run may have reached them, and left nothing of it in history. A pivot has its say before: where
 * it proves to be applied the saga goes on forward instead. Throws SagaEnded.
 */
export function rollBack(run: Run, { cause, reached, isDecided, settings, state }: Rollback): Promise<Ending> {
  return CancellationScope.nonCancellable(async () => {
    const pivot = pivotOf(run.steps)
    if (pivot !== undefined && !isDecided) {
      const settled = await settlePivot(run, pivot, { reached: reached.includes(pivot), cause: () => cause })
      if (settled.verdict === 'applied') return run.again()
    }
    const claim = await run.store.claimRollback({ cause, reached })
    state.see(claim.view)
    if (claim.go === 'ended') return claim.ending
    settings.regularOnly ||= claim.regularOnly

    const silent = new Set<DueCompensation>()
    for (const due of claim.due.filter(({ reached }) => !reached)) {
      // What can't be asked now must not hold what is known to need its compensation.
      if (!(await isSettled(run, due))) silent.add(due)
    }
    /** Asks once more who was silent: what they have left may be what keeps a compensation from its end. */
    const hasClearedTheWay = async () => {
      const before = silent.size
      for (const due of silent) if (await isSettled(run, due)) silent.delete(due)
      return silent.size < before
    }
    for (const due of claim.due.filter(({ reached }) => reached)) await compensate(run, due, hasClearedTheWay)
    for (const due of silent) await compensate(run, due)

    return close(run, state)
  })
}

/**
 * Settles a step that no run is known to have reached: false where nothing was heard of its participant. One that answers
 * and can't undo has something to undo, and what was done before it has to wait.
 */
async function isSettled(run: Run, due: DueCompensation): Promise<boolean> {
  if (due.isStuck) return false
  const { step } = due
  const { attempts: budget, firstDelayMs } = compensatePolicy
  const order = { ...callOf(run, step, due), op: 'compensate', budget, reached: false } as const
  for (let left = UNMADE_CALLS; left > 0; left -= 1) {
    try {
      await run.caller.compensate(order, { ...compensatePolicy, attempts: 1 })
      return true
    } catch (failure) {
      const { details, nonRetryable } = applicationFailureOf(failure) ?? {}
      const [changed] = (details ?? []) as [Changed?]
      if (changed && !changed.isSilent) {
        await compensate(run, { ...due, reached: true })
        return true
      }
      if (changed || nonRetryable) return false
    }
    // The engine's own: its process was gone, or its database.
    await run.sleep(firstDelayMs)
  }
  return false
}

/**
 * Compensates a step: by its policy, once more where its way has been cleared meanwhile, and then as a person decides.
 */
async function compensate(
  run: Run,
  due: DueCompensation,
  hasClearedTheWay = () => Promise.resolve(false),
): Promise<void> {
  const { caller, people } = run
  const { step, reached } = due
  let { isStuck, input } = due
  let budget = compensatePolicy.attempts
  people.know(step, due.decisions)
  for (;;) {
    let error: SagaError | null = null
    if (!isStuck) {
      try {
        const op = 'compensate'
        const order = { ...callOf(run, step, due), op, budget, reached } as const
        await caller.compensate({ ...order, ...(input !== undefined && { input }) }, compensatePolicy)
        return
      } catch (failure) {
        error = toSagaError(failure)
      }
      if (await hasClearedTheWay()) {
        budget += compensatePolicy.attempts
        continue
      }
    }
    const decision = await people.wait({ step, at: 'compensate', error })
    if (decision.action !== 'retry') return
    isStuck = false
    if (decision.input !== undefined) input = decision.input
  }
}

/** rollback → rolledBack, once the participants have said, where there was any doubt, that nothing is left. */
async function close(run: Run, state: SagaState): Promise<Ending> {
  let verified = false
  for (;;) {
    const closing: Closing = await run.store.closeRolledBack({ verified })
    verified = closing.go === 'verify'
    if (closing.go === 'verify') {
      await run.store.verifyCompensations()
      continue
    }
    state.see(closing.view)
    if (closing.go === 'ended') return closing.ending
    for (const due of closing.due) await compensate(run, due)
  }
}

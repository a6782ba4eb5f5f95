import { CancellationScope } from '@temporalio/workflow'
import { applicationFailureOf, toSagaError } from '../errors.js'
import type { Changed, Closing, DueCompensation, Ending, RollbackCause, RunSettings, SagaError } from '../types.js'
import { compensatePolicy, store } from './calls.js'
import { pivotOf } from './compensation-stack.js'
import { callOf, settlePivot, type Run } from './run.js'
import type { SagaState } from './saga-state.js'

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
    const claim = await store.claimRollback({ cause, reached })
    state.see(claim.view)
    if (claim.go === 'ended') return claim.ending
    settings.regularOnly ||= claim.regularOnly

    const later: DueCompensation[] = []
    for (const due of claim.due.filter(({ reached }) => !reached)) {
      const end = due.isStuck ? 'silent' : await settle(run, due)
      // What can't be asked now must not hold what is known to need its compensation.
      if (end === 'silent') later.push(due)
      // It answers and can't undo: so there is something, and what was done before it has to wait.
      if (end === 'failed') await compensate(run, { ...due, reached: true })
    }
    for (const due of claim.due.filter(({ reached }) => reached)) await compensate(run, due)
    for (const due of later) await compensate(run, due)

    return close(run, state)
  })
}

/** One attempt to settle a step that no run is known to have reached; `silent`: nothing was heard of its participant. */
async function settle(run: Run, { step }: DueCompensation): Promise<'settled' | 'silent' | 'failed'> {
  const op = 'compensate'
  const order = { ...callOf(run, step), op, budget: compensatePolicy.attempts, reached: false } as const
  try {
    await run.caller.compensate(order, { ...compensatePolicy, attempts: 1 })
    return 'settled'
  } catch (failure) {
    const [changed] = (applicationFailureOf(failure)?.details ?? []) as [Changed?]
    return changed && !changed.isSilent ? 'failed' : 'silent'
  }
}

/** Compensates a step: by its policy, and where that is used up as a person decides. */
async function compensate(run: Run, due: DueCompensation): Promise<void> {
  const { caller, attention } = run
  const { step, reached } = due
  let { isStuck, input } = due
  attention.know(step, due.decisions)
  for (;;) {
    let error: SagaError | null = null
    if (!isStuck) {
      try {
        const op = 'compensate'
        const order = { ...callOf(run, step), op, budget: compensatePolicy.attempts, reached } as const
        await caller.compensate({ ...order, ...(input !== undefined && { input }) }, compensatePolicy)
        return
      } catch (failure) {
        error = toSagaError(failure)
      }
    }
    const decision = await attention.wait({ step, at: 'compensate', error })
    if (decision.action !== 'retry') return
    isStuck = false
    input = decision.input ?? input
  }
}

/** rollback → rolledBack, once the participants have said, where there was any doubt, that nothing is left. */
async function close(run: Run, state: SagaState): Promise<Ending> {
  let verified = false
  for (;;) {
    const closing: Closing = await store.closeRolledBack({ verified })
    verified = closing.go === 'verify'
    if (closing.go === 'verify') {
      await store.verifyCompensations()
      continue
    }
    state.see(closing.view)
    if (closing.go === 'ended') return closing.ending
    for (const due of closing.due) await compensate(run, due)
  }
}

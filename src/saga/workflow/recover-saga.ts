import { makeContinueAsNewFunc, workflowInfo } from '@temporalio/workflow'
import type { Json, Loss } from '../types.js'
import { store } from './calls.js'
import { rollBack } from './roll-back.js'
import { makeRun, withAttention } from './run-saga.js'

/**
 * Takes up a saga whose run is gone (terminated, timed out, failed), under the saga's own workflow id, so that Temporal
 * itself keeps it apart from any other run of it. It needs no stack: every declared step is compensated, in reverse, but
 * for what a person has resolved or skipped. Where the pivot is applied the saga's own type goes on instead, and the
 * barrier answers what is done.
 */
export function recoverSaga(loss?: Loss): Promise<Json> {
  // Behind the opening, which knows the saga's type.
  let next = (): Promise<never> => makeContinueAsNewFunc<typeof recoverSaga>()(loss)
  return withAttention(
    () => next(),
    async (around) => {
      const { state } = around
      const recovery = await store.openRecovery({
        firstRunId: workflowInfo().firstExecutionRunId,
        ...(loss && { loss }),
      })
      state.see(recovery.view, recovery.go === 'ended' ? {} : recovery.inputs)
      if (recovery.go === 'ended') return recovery.ending
      const { type, request, steps, settings, cause, isClaimed, pastPivot } = recovery
      // One that is compensated after its end has no input left to be started with.
      next = () =>
        isClaimed && request === null
          ? makeContinueAsNewFunc<typeof recoverSaga>()()
          : makeContinueAsNewFunc({ workflowType: type })(request)
      if (pastPivot) return around.again()
      state.follow(steps)
      const run = makeRun(steps, { settings }, around)
      await around.attention.show()
      return rollBack(run, { cause, reached: [], isDecided: isClaimed, settings, state })
    },
  )
}

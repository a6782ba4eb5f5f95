import { CancellationScope, continueAsNew, isCancellation, proxyActivities, workflowInfo } from '@temporalio/workflow'
import type { DecisionsActivities, DecisionsCall, DecisionsState } from '../types.js'

const { decideSome, stopDecisions } = proxyActivities<DecisionsActivities>({
  startToCloseTimeout: '1m',
  // Said several times a second: a worker that was killed is missed soon.
  heartbeatTimeout: '10s',
  retry: { initialInterval: '1s', maximumInterval: '10s' },
})

/** A run begins anew behind so many events: some eighty activities, or seven minutes. */
const LONG_HISTORY = 500

/**
 * Carries out a call that decides for many sagas. Which they are, how far it has come, and how soon the next decision may be
 * made stand in PostgreSQL, so that no repetition of this run or its activities makes one twice. Cancelling the run stops the
 * call; one that is terminated the sweep starts again.
 */
export async function sagaDecisions(call: DecisionsCall): Promise<DecisionsState> {
  try {
    while (!workflowInfo().continueAsNewSuggested && workflowInfo().historyLength < LONG_HISTORY) {
      const state = await decideSome(call)
      if (state.status !== 'running') return state
    }
  } catch (error) {
    if (isCancellation(error)) {
      await CancellationScope.nonCancellable(() => stopDecisions({ ...call, because: 'its run was cancelled' }))
    }
    throw error
  }
  return continueAsNew<typeof sagaDecisions>(call)
}

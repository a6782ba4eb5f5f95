import { continueAsNew, proxyActivities, sleep, workflowInfo } from '@temporalio/workflow'
import type { SweepActivities } from '../types.js'

const { sweep } = proxyActivities<SweepActivities>({
  startToCloseTimeout: '1m',
  retry: { initialInterval: '1s', maximumInterval: '30s' },
})

/**
 * Watches over the sagas of a task queue for as long as there are workers: every 30 s it starts what a crash left between
 * PostgreSQL and Temporal. One activity and one timer and nothing else, so that no change of code breaks its replay.
 */
export async function sagaSweep(): Promise<void> {
  while (!workflowInfo().continueAsNewSuggested && workflowInfo().historyLength < 2_000) {
    await sweep()
    await sleep('30s')
  }
  await continueAsNew<typeof sagaSweep>()
}

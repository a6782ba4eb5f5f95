import {
  ChildWorkflowCancellationType,
  ParentClosePolicy,
  executeChild,
  getExternalWorkflowHandle,
  sleep,
} from '@temporalio/workflow'
import { WorkflowExecutionAlreadyStartedError } from '@temporalio/common'
import type { Json } from '../types.js'

/** How long a run that is there already is left alone before it is looked for again. */
const AGAIN_MS = { first: 500, most: 10_000 }

interface NestedRun {
  /** The saga that it is nested in. */
  sagaId: string
  /** The step of this saga that it is. */
  step: string
  nestedId: string
  type: string
  input: Json
  /** `compensate`: its row says that it goes back. */
  op: 'invoke' | 'compensate'
}

/**
 * Runs a nested saga under its own id, as a child workflow, and waits until no run of it is open. How it has ended is in
 * its row, however its run was closed. When this run is closed from outside the child is cancelled, and goes back by itself.
 */
export async function runNested({ sagaId, step, nestedId, type, input, op }: NestedRun): Promise<void> {
  for (let waitMs = AGAIN_MS.first; ; waitMs = Math.min(waitMs * 2, AGAIN_MS.most)) {
    try {
      await executeChild(type, {
        workflowId: nestedId,
        args: [input],
        memo: { nestedIn: { sagaId, step } },
        parentClosePolicy: ParentClosePolicy.REQUEST_CANCEL,
        cancellationType: ChildWorkflowCancellationType.WAIT_CANCELLATION_COMPLETED,
        staticSummary: `${step}: ${op} saga ${type}`,
      })
      return
    } catch (error) {
      // Open already: a run of it that an earlier run of this saga has left behind, or its recovery.
      if (!(error instanceof WorkflowExecutionAlreadyStartedError)) return
    }
    if (op === 'compensate') {
      await getExternalWorkflowHandle(nestedId)
        .cancel()
        .catch(() => {})
    }
    try {
      await sleep(waitMs)
    } catch {
      return // cancelled
    }
  }
}

import {
  CancellationScope,
  ParentClosePolicy,
  condition,
  continueAsNew,
  executeChild,
  proxyLocalActivities,
  sleep,
  workflowInfo,
} from '@temporalio/workflow'
import { WorkflowExecutionAlreadyStartedError } from '@temporalio/common'
import type { BulkActivities, BulkCall, BulkLane } from '../types.js'
import { definitionOf, type Definition } from './define-saga.js'
import { Members } from './saga-group.js'

/** A lane's run begins anew behind so many windows. */
const MOST_WINDOWS = 10

/** How often it is looked whether those that have left have ended too. */
const LEFT_MS = { first: 2_000, most: 60_000 }

const { bulkStanding } = proxyLocalActivities<BulkActivities>({
  startToCloseTimeout: '10s',
  retry: { initialInterval: '100ms', backoffCoefficient: 2, maximumInterval: '2s' },
})

/** Many sagas of one type that were started by one call. */
export interface Bulk extends BulkCall {
  type: string
}

/**
 * Works through the sagas of a bulk, in lanes side by side, until none of them goes on, or the bulk has paused. What is left
 * to be done stands in PostgreSQL, so that a later run takes up what this one has not brought to its end.
 */
export async function sagaBulk(bulk: Bulk): Promise<void> {
  const isOver = await CancellationScope.nonCancellable(() => workThrough(bulk))
  if (!isOver) await continueAsNew<typeof sagaBulk>(bulk)
}

async function workThrough(bulk: Bulk): Promise<boolean> {
  let hasRun = false
  for (let waitMs = LEFT_MS.first; !workflowInfo().continueAsNewSuggested;) {
    const { isOver, lanes } = await bulkStanding(bulk)
    if (isOver) return true
    // What a lane has not brought on it is not asked for again at once.
    if (lanes > 0 && !hasRun) {
      await Promise.all(Array.from({ length: lanes }, (_, lane) => runLane({ ...bulk, lane, lanes, after: 0 })))
      hasRun = true
    } else {
      await sleep(waitMs)
      waitMs = Math.min(waitMs * 2, LEFT_MS.most)
      hasRun = false
    }
  }
  return false
}

async function runLane(lane: Lane): Promise<void> {
  try {
    await executeChild(bulkLane, {
      workflowId: `${workflowInfo().workflowId}-lane-${lane.lane + 1}`,
      args: [lane],
      // A run of the bulk that is started later begins them anew.
      parentClosePolicy: ParentClosePolicy.TERMINATE,
    })
  } catch (error) {
    // One of an earlier run is about to be gone; how the bulk stands is asked again.
    if (!(error instanceof WorkflowExecutionAlreadyStartedError)) throw error
    await sleep(LEFT_MS.first)
  }
}

/** Every so manyth window of a bulk. */
interface Lane extends Bulk, BulkLane {}

/** Works through a lane's sagas, a window after the other: each with its own code, row, log and barrier, as in a group. */
export async function bulkLane(lane: Lane): Promise<void> {
  const after = await CancellationScope.nonCancellable(() => workThroughLane(definitionOf(lane.type), lane))
  if (after !== undefined) await continueAsNew<typeof bulkLane>({ ...lane, after })
}

/** Where the next run goes on; undefined where nothing is left to be run. */
async function workThroughLane(saga: Definition, { bulkId, lane, lanes, after }: Lane): Promise<number | undefined> {
  const members = new Members(saga, { carriedBy: workflowInfo().parent?.workflowId })
  const underWay = new Set<Promise<void>>()
  for (let windows = 0; windows < MOST_WINDOWS && !workflowInfo().continueAsNewSuggested; windows += 1) {
    // What a history says is kept to: two windows were under way before they were told.
    const { sagaIds, upTo, most, mostUnderWay = most * 2 } = await members.nextWindow(bulkId, { lane, lanes, after })
    if (sagaIds.length === 0) {
      await Promise.all(underWay)
      return undefined
    }
    for (const member of members.run(sagaIds)) {
      underWay.add(member)
      void member.then(() => underWay.delete(member))
    }
    after = upTo
    await condition(() => underWay.size - members.asleep < most && underWay.size < mostUnderWay)
  }
  await Promise.all(underWay)
  return after
}

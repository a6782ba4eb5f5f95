import { CancellationScope, condition, continueAsNew, sleep, workflowInfo } from '@temporalio/workflow'
import type { BulkCall } from '../types.js'
import { definitionOf, type Definition } from './define-saga.js'
import { Members } from './saga-group.js'

/** A run begins anew behind so many windows. */
const MOST_WINDOWS = 4

/** How often it is looked whether those that have left have ended too. */
const LEFT_MS = 2_000

/** Many sagas of one type that were started by one call; `after`: those up to that place have had their turn. */
export interface Bulk extends BulkCall {
  type: string
  after?: number
}

/**
 * Works through the sagas of a bulk, a window after the other: each with its own code, row, log and barrier, as in a group.
 * Which is next, and whether the bulk goes on at all, stands in PostgreSQL, so that a later run takes up what this one has
 * not brought to its end.
 */
export async function sagaBulk(bulk: Bulk): Promise<void> {
  const after = await CancellationScope.nonCancellable(() => workThrough(definitionOf(bulk.type), bulk))
  if (after !== undefined) await continueAsNew<typeof sagaBulk>({ ...bulk, after })
}

/** Where the next run goes on; undefined where nothing is left to be run. */
async function workThrough(saga: Definition, { bulkId, after = 0 }: Bulk): Promise<number | undefined> {
  const members = new Members(saga)
  const underWay = new Set<Promise<void>>()
  for (let windows = 0; windows < MOST_WINDOWS && !workflowInfo().continueAsNewSuggested; windows += 1) {
    const { sagaIds, upTo, most, isOver } = await members.nextWindow(bulkId, after)
    if (isOver) return undefined
    for (const member of members.run(sagaIds)) {
      underWay.add(member)
      void member.then(() => underWay.delete(member))
    }
    after = upTo
    if (sagaIds.length > 0) await condition(() => underWay.size <= most)
    else {
      if (underWay.size === 0) await sleep(LEFT_MS)
      await Promise.all(underWay)
      after = 0
    }
  }
  await Promise.all(underWay)
  return after
}

import type { Bulk, BulkSummary } from './api'
import type { Kind } from './components/shape'
import { counted, numeral } from './figures'
import type { Shown } from './saga-words'

/** The numbers of a bulk's sagas, which add up to its total; `status` as the list of sagas filters by it. */
export const parts = [
  { name: 'completed', word: 'Completed', kind: 'good', status: 'COMPLETED' },
  { name: 'compensated', word: 'Compensated', kind: 'undone', status: 'COMPENSATED' },
  { name: 'partiallyCompensated', word: 'Partially compensated', kind: 'warning', status: 'PARTIALLY_COMPENSATED' },
  { name: 'needsAttention', word: 'Needs attention', kind: 'warning', status: 'NEEDS_ATTENTION' },
  { name: 'running', word: 'To go', kind: 'pending', status: 'RUNNING,COMPENSATING' },
] as const satisfies readonly { name: keyof BulkSummary; word: string; kind: Kind; status: string }[]

/** Of what has not ended nothing goes forward any more. */
const isRollingBack = ({ status, running, compensating }: BulkSummary): boolean =>
  status !== 'ENDED' && running > 0 && compensating === running

/** How a bulk is shown: its word and its shape. */
export function shownBulk(bulk: BulkSummary): Shown {
  const { status, total, completed, needsAttention } = bulk
  if (isRollingBack(bulk)) return { word: 'Rolling back', kind: 'undoing' }
  if (status === 'RUNNING') return { word: 'Running', kind: 'running' }
  if (status === 'PAUSED') return { word: 'Paused', kind: 'warning' }
  if (completed === total) return { word: 'All completed', kind: 'good' }
  return needsAttention > 0 ? { word: 'Ended, some wait', kind: 'warning' } : { word: 'Ended', kind: 'note' }
}

/** Where a bulk stands, in a sentence or two; nothing of it changes from second to second. */
export function tellBulk(bulk: Bulk): string {
  const { status, total, completed, needsAttention, cancellable } = bulk
  if (isRollingBack(bulk)) return tellRollback(bulk)
  if (status !== 'ENDED' && cancellable === 0 && bulk.running > 0)
    return 'It goes on by itself. What is left can’t be cancelled: it has been, or is past its point of no return.'
  if (status === 'RUNNING') return 'It goes on by itself, also when this page is closed. Each saga is one of its own.'
  if (status === 'PAUSED') return 'What had begun goes on to its end; the others have not begun.'
  if (completed === total)
    return total === 1 ? 'Its saga has completed.' : `All ${numeral(total)} sagas have completed.`
  const waiting = `${counted(needsAttention, 'saga')} ${needsAttention === 1 ? 'waits' : 'wait'} for a person.`
  return `${numeral(completed)} of ${counted(total, 'saga')} completed. ${needsAttention > 0 ? waiting : 'The others were rolled back.'}`
}

/** Who wants it, and why, if somebody does. */
function tellRollback({ failures, compensating }: Bulk): string {
  const by = (type: string) => failures.find((one) => one.type === type)?.message
  const undone = by('CompensationRequested')
  if (undone !== undefined) return `What has completed is being undone: ${undone}.`
  const cancelled = by('Cancelled')
  if (cancelled !== undefined) return `What has not completed is being rolled back: ${cancelled}.`
  return `${counted(compensating, 'saga')} of it ${compensating === 1 ? 'rolls' : 'roll'} back; nothing else is left to do.`
}

/** The numbers that are not 0, in words: "6,200 completed, 12 need attention". */
export const sayParts = (bulk: BulkSummary): string =>
  parts
    .filter(({ name }) => bulk[name] > 0)
    .map(
      ({ name, word }) =>
        `${numeral(bulk[name])} ${bulk[name] !== 1 && name === 'needsAttention' ? 'need attention' : word.toLowerCase()}`,
    )
    .join(', ')

/** "/username must not be empty" as a person reads it: "username must not be empty". */
export const sayWrong = ({ path, message }: { path: string; message: string }): string =>
  [path.replace(/^\//, '').replaceAll('/', '.'), message].filter(Boolean).join(' ')

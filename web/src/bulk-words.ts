import type { BulkSummary } from './api'
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

/** How a bulk is shown: its word and its shape. */
export function shownBulk({ status, total, completed, needsAttention }: BulkSummary): Shown {
  if (status === 'RUNNING') return { word: 'Running', kind: 'running' }
  if (status === 'PAUSED') return { word: 'Paused', kind: 'warning' }
  if (completed === total) return { word: 'All completed', kind: 'good' }
  return needsAttention > 0 ? { word: 'Ended, some wait', kind: 'warning' } : { word: 'Ended', kind: 'note' }
}

/** Where a bulk stands, in a sentence or two; nothing of it changes from second to second. */
export function tellBulk({ status, total, completed, needsAttention }: BulkSummary): string {
  if (status === 'RUNNING') return 'It goes on by itself, also when this page is closed. Each saga is one of its own.'
  if (status === 'PAUSED') return 'What had begun goes on to its end; the others have not begun.'
  if (completed === total)
    return total === 1 ? 'Its saga has completed.' : `All ${numeral(total)} sagas have completed.`
  const waiting = `${counted(needsAttention, 'saga')} ${needsAttention === 1 ? 'waits' : 'wait'} for a person.`
  return `${numeral(completed)} of ${counted(total, 'saga')} completed. ${needsAttention > 0 ? waiting : 'The others were rolled back.'}`
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

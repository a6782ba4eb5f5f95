import { Link } from '@tanstack/react-router'
import { numeral } from '../figures'
import { useOverview } from '../use-overview'
import './attention-count.css'

/** How many sagas need attention, on every page, and the way to them; nothing where none does. */
export function AttentionCount() {
  const waiting = useOverview().data?.unfinished.NEEDS_ATTENTION ?? 0
  if (waiting === 0) return null
  return (
    <Link
      to="/sagas"
      search={{ status: 'NEEDS_ATTENTION' }}
      className="attention-count"
      title={`${waiting} ${needsWord(waiting)} attention`}
    >
      {numeral(waiting)}
      <span className="for-readers"> {needsWord(waiting)} attention</span>
    </Link>
  )
}

const needsWord = (count: number) => (count === 1 ? 'needs' : 'need')

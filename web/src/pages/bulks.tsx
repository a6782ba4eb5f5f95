import { useQuery } from '@tanstack/react-query'
import { Link } from '@tanstack/react-router'
import { useState } from 'react'
import { getBulks, messageOf, type BulkSummary, type Login } from '../api'
import { sayParts } from '../bulk-words'
import { bulkByCommand, bulkByCurl } from '../commands'
import { BulkBadge } from '../components/bulk-badge'
import { BulkBar } from '../components/bulk-bar'
import { BulkSend } from '../components/bulk-send'
import { Command } from '../components/command'
import { MomentAgo } from '../components/moment'
import { counted, numeral } from '../figures'
import { may } from '../rights'
import { useLogin } from '../use-login'
import './bulks.css'

const FEW = 20
const MOST = 100

/** All bulks, newest first, and how to start one. */
export function BulksPage() {
  const [login] = useLogin()
  const [limit, setLimit] = useState(FEW)
  const { data, failureReason } = useQuery({
    queryKey: ['bulks', limit],
    queryFn: () => getBulks(limit),
    refetchInterval: 2_000,
    placeholderData: (was) => was,
  })
  return (
    <main className="bulks">
      <h2>Bulk</h2>
      <p className="bulks-intro hint">
        Thousands of sagas in one call, each of them one of its own: with its id, its log, and its undo.
      </p>
      <div className="bulks-columns">
        <section aria-labelledby="bulks-title">
          <h3 id="bulks-title">Newest first</h3>
          {data ? (
            <List bulks={data} limit={limit} onMore={() => setLimit(MOST)} />
          ) : failureReason ? (
            <p className="blank" role="alert">
              <strong>The bulks can’t be read.</strong> {messageOf(failureReason)}
            </p>
          ) : (
            <p className="blank" role="status">
              Reading the bulks…
            </p>
          )}
        </section>
        {login && <Starter login={login} />}
      </div>
    </main>
  )
}

function List({ bulks, limit, onMore }: { bulks: BulkSummary[]; limit: number; onMore: () => void }) {
  if (bulks.length === 0) {
    return (
      <p className="blank" role="status">
        <strong>There is no bulk yet.</strong> One that is started appears here by itself.
      </p>
    )
  }
  return (
    <>
      <ul className="bulks-list">
        {bulks.map((bulk) => (
          <li key={bulk.bulkId} data-bulk-id={bulk.bulkId}>
            <Link to="/bulk/$bulkId" params={{ bulkId: bulk.bulkId }} className="row-link" title={bulk.bulkId}>
              {counted(bulk.total, 'saga')}
              <span className="for-readers"> of bulk {bulk.bulkId}</span>
            </Link>
            <BulkBadge bulk={bulk} />
            <span className="hint bulks-when">
              <MomentAgo iso={bulk.startedAt} />
            </span>
            <BulkBar bulk={bulk} label={`Of ${bulk.bulkId}`} />
            <span className="hint bulks-parts">
              {sayParts(bulk)}
              {bulk.rejected > 0 && `; ${counted(bulk.rejected, 'line')} left out`}
            </span>
          </li>
        ))}
      </ul>
      {bulks.length < limit ? (
        <p className="hint">That is all: {counted(bulks.length, 'bulk')}.</p>
      ) : limit < MOST ? (
        <button type="button" onClick={onMore}>
          Show more
        </button>
      ) : (
        <p className="hint">These are the newest {numeral(MOST)}.</p>
      )}
    </>
  )
}

function Starter({ login }: { login: Login }) {
  if (!may(login, 'starter')) {
    return (
      <p className="refused">
        To start sagas needs the role starter; {login.name} is {login.role}.
      </p>
    )
  }
  return (
    <div className="bulks-start">
      <BulkSend />
      <section aria-labelledby="bulk-commands-title">
        <h3 id="bulk-commands-title">The same from a shell</h3>
        <Command name="With its progress, where npm start was run" text={bulkByCommand(login.login)} />
        <Command name="curl" text={bulkByCurl(login.login)} />
        {login.login && <p className="hint">With your token in the variable TOKEN.</p>}
      </section>
    </div>
  )
}

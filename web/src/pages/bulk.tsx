import { useQuery } from '@tanstack/react-query'
import { Link, useParams } from '@tanstack/react-router'
import { useEffect, useRef, useState } from 'react'
import { getSagas, messageOf, resumeBulk, type ApiError, type Bulk, type Login } from '../api'
import { doneOf, rateOf, WINDOW_MS, type Pace } from '../bulk-pace'
import { parts, tellBulk } from '../bulk-words'
import { BulkBadge } from '../components/bulk-badge'
import { BulkBar } from '../components/bulk-bar'
import { BulkEnd } from '../components/bulk-end'
import { CopyId } from '../components/copy'
import { Fact } from '../components/fact'
import { Moment } from '../components/moment'
import { Rejections } from '../components/rejections'
import { Shape } from '../components/shape'
import { counted, duration, lasting, numeral, percent } from '../figures'
import { may } from '../rights'
import { troubleOf } from '../saga-trouble'
import { useBulk } from '../use-bulk'
import { useLogin } from '../use-login'
import { useNow } from '../use-now'
import './bulk.css'

/** One bulk as it goes on. */
export function BulkPage() {
  const { bulkId } = useParams({ from: '/bulk/$bulkId' })
  return (
    <main className="bulk">
      <Watched key={bulkId} bulkId={bulkId} />
    </main>
  )
}

function Watched({ bulkId }: { bulkId: string }) {
  const [{ bulk, stream, refusal, pace }, tell] = useBulk(bulkId)
  const title = useRef<HTMLHeadingElement>(null)

  // Who came by a link of another page goes on from here.
  useEffect(() => title.current?.focus({ preventScroll: true }), [])

  return (
    <section aria-labelledby="bulk-title">
      <header className="head">
        <h2 id="bulk-title" ref={title} tabIndex={-1}>
          Bulk
        </h2>
        {bulk && stream !== 'refused' && <BulkBadge bulk={bulk} />}
        <CopyId id={bulkId} name="bulk id" />
      </header>
      {stream === 'refused' ? (
        <Refused refusal={refusal} />
      ) : bulk ? (
        <>
          {stream === 'away' && (
            <p className="notice" role="status">
              Connection lost; it is taken up again by itself. The bulk goes on meanwhile, and this is how it stood.
            </p>
          )}
          <Shown bulk={bulk} pace={pace} onTold={tell} />
        </>
      ) : (
        <p className="blank" role="status">
          {stream === 'away'
            ? 'The bulk can’t be read, for the server does not answer. Trying again every 2 seconds; nothing has to be done here.'
            : 'Reading the bulk…'}
        </p>
      )}
    </section>
  )
}

function Refused({ refusal }: { refusal: ApiError | undefined }) {
  return (
    <div className="blank" role="alert">
      <p>{refusal?.message}</p>
      <p>
        {refusal?.problem.status === 404 ? 'Check the id, or look for it among ' : 'Go back to '}
        <Link to="/bulk">all bulks</Link>, or{' '}
        <button type="button" className="quiet" onClick={() => location.reload()}>
          look again
        </button>
        .
      </p>
    </div>
  )
}

function Shown({ bulk, pace, onTold }: { bulk: Bulk; pace: Pace; onTold: (bulk: Bulk) => void }) {
  const [login] = useLogin()
  const { bulkId, total, rejected, rejections, failures, startedAt, endedAt, links } = bulk
  return (
    <>
      {bulk.status === 'PAUSED' && bulk.cancellable > 0 && login && (
        <Paused bulk={bulk} login={login} onResumed={onTold} />
      )}
      <p className="tell" role="status">
        {tellBulk(bulk)}
      </p>
      <BulkBar bulk={bulk} />
      <Progress bulk={bulk} pace={pace} />
      <ul className="bulk-parts" aria-label="Its sagas">
        {parts.map(({ name, word, kind, status }) => (
          <li key={name} data-kind={kind} data-part={name}>
            <Shape kind={kind} />
            <Link to="/sagas" search={{ bulk: bulkId, status }}>
              {word}
            </Link>
            <strong>{numeral(bulk[name])}</strong>
            <span className="hint">{share(bulk[name], total)}</span>
          </li>
        ))}
      </ul>
      {login && <BulkEnd bulk={bulk} login={login} onAsked={onTold} />}
      {bulk.needsAttention > 0 && <Stuck bulk={bulk} />}
      {failures.length > 0 && <Failures bulk={bulk} />}
      {rejected > 0 && (
        <section aria-labelledby="rejected-title">
          <h3 id="rejected-title">{counted(rejected, 'line')} left out</h3>
          <p className="hint">
            What was not right has started no saga. Mend it, and send it as a new bulk.
            {rejections.length < rejected && ` The first ${numeral(rejections.length)} are here.`}
          </p>
          <Rejections of={rejections} />
        </section>
      )}
      <dl className="facts">
        <Fact name="Of type">{bulk.type}</Fact>
        <Fact name="Started">
          <Moment iso={startedAt} />
        </Fact>
        {endedAt !== undefined && (
          <Fact name="Ended">
            <Moment iso={endedAt} /> (after {duration(startedAt, endedAt)})
          </Fact>
        )}
      </dl>
      <p className="links">
        <Link to="/sagas" search={{ bulk: bulkId }}>
          All its sagas
        </Link>
        <a href={links.self} target="_blank" rel="noreferrer">
          All of it as JSON
        </a>
      </p>
    </>
  )
}

/** Why it has stopped by itself, and the way on. */
function Paused({ bulk, login, onResumed }: { bulk: Bulk; login: Login; onResumed: (bulk: Bulk) => void }) {
  const [isAsking, setAsking] = useState(false)
  const [error, setError] = useState<string>()

  async function resume() {
    setError(undefined)
    setAsking(true)
    try {
      onResumed(await resumeBulk(bulk.bulkId))
    } catch (error) {
      setError(messageOf(error))
    }
    setAsking(false)
  }

  return (
    <section className="bulk-paused" aria-labelledby="paused-title">
      <h3 id="paused-title">
        <Shape kind="warning" /> Paused, with {counted(bulk.cancellable, 'saga')} to go
      </h3>
      <p role="alert">{bulk.pausedBecause ?? 'It does not say why.'}</p>
      {may(login, 'operator') ? (
        <button type="button" className="primary" disabled={isAsking} onClick={() => void resume()}>
          {isAsking ? 'Asking…' : 'Resume'}
        </button>
      ) : (
        <p className="hint">
          To resume it takes the role operator; {login.name} is {login.role}. Somebody with that role can.
        </p>
      )}
      {error !== undefined && (
        <p className="error-text" role="alert">
          {error}
        </p>
      )}
    </section>
  )
}

/** How fast it goes and what is left; once it has ended, how fast it went. */
function Progress({ bulk, pace }: { bulk: Bulk; pace: Pace }) {
  const nowMs = useNow()
  const { status, total, running, startedAt, endedAt } = bulk
  const rate = status === 'RUNNING' ? rateOf(pace, nowMs) : undefined
  const inAllMs = endedAt === undefined ? 0 : Date.parse(endedAt) - Date.parse(startedAt)
  return (
    <dl className="facts bulk-progress">
      <Fact name="Done">
        {numeral(doneOf(bulk))} of {numeral(total)}
      </Fact>
      {status === 'RUNNING' && (
        <>
          <Fact name="Rate">{rate === undefined ? 'measuring…' : aSecond(rate)}</Fact>
          <Fact name="Time left">{rate === undefined ? 'measuring…' : timeLeft(running, rate)}</Fact>
        </>
      )}
      {inAllMs > 0 && (
        <>
          <Fact name="Rate in all">{aSecond(total / (inAllMs / 1_000))}</Fact>
          <Fact name="Took">{lasting(inAllMs)}</Fact>
        </>
      )}
    </dl>
  )
}

/** Few of many are not none. */
const share = (n: number, total: number): string =>
  n > 0 && n / total < 0.001 ? `under ${percent(0.001)}` : percent(n / Math.max(total, 1))

const aSecond = (rate: number): string => `${rate > 0 && rate < 10 ? rate.toFixed(1) : numeral(rate)} a second`

/** To the second: a tenth would only flicker. */
const timeLeft = (running: number, rate: number): string =>
  rate === 0
    ? `unknown: none has ended for ${lasting(WINDOW_MS)}`
    : `about ${lasting(Math.ceil(running / rate) * 1_000)}`

const STUCK_SHOWN = 5

/** The newest that wait for a person, each with the way to it. */
function Stuck({ bulk: { bulkId, needsAttention } }: { bulk: Bulk }) {
  const { data, error } = useQuery({
    queryKey: ['bulk-stuck', bulkId, needsAttention],
    queryFn: () => getSagas({ bulk: bulkId, status: 'NEEDS_ATTENTION', limit: String(STUCK_SHOWN) }),
    placeholderData: (was) => was,
  })
  return (
    <section aria-labelledby="stuck-title">
      <h3 id="stuck-title">
        {counted(needsAttention, 'saga')} {needsAttention === 1 ? 'waits' : 'wait'} for a person
      </h3>
      <p className="hint">Decide on each what becomes of it; the others go on meanwhile.</p>
      {error && (
        <p className="error-text" role="alert">
          Which they are can’t be read: {messageOf(error)}
        </p>
      )}
      <ul className="bulk-stuck">
        {data?.sagas.map((saga) => (
          <li key={saga.sagaId}>
            <Link to="/saga/$sagaId" params={{ sagaId: saga.sagaId }}>
              {saga.sagaId}
            </Link>
            <span>{[saga.input.username, troubleOf(saga)?.words].filter(Boolean).join(': ')}</span>
          </li>
        ))}
      </ul>
      {needsAttention > STUCK_SHOWN && (
        <Link to="/sagas" search={{ bulk: bulkId, status: 'NEEDS_ATTENTION' }}>
          All {numeral(needsAttention)} that wait
        </Link>
      )}
    </section>
  )
}

function Failures({ bulk: { bulkId, failures } }: { bulk: Bulk }) {
  return (
    <section aria-labelledby="failures-title">
      <h3 id="failures-title">What went wrong</h3>
      <table className="bulk-failures">
        <thead>
          <tr>
            <th scope="col">Sagas</th>
            <th scope="col">Step</th>
            <th scope="col">Error</th>
          </tr>
        </thead>
        <tbody>
          {failures.map(({ step, type, message, count }) => (
            <tr key={JSON.stringify([step, type, message])}>
              <td>{numeral(count)}</td>
              <td>
                {step !== undefined && (
                  <Link
                    to="/sagas"
                    search={{ bulk: bulkId, step }}
                    aria-label={`${step}: its sagas that failed or are stuck there`}
                  >
                    {step}
                  </Link>
                )}
              </td>
              <td>
                <strong>{type}</strong> {message}
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  )
}

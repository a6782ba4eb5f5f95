import { Link, useNavigate, useParams, useSearch } from '@tanstack/react-router'
import { useEffect, useRef, useState } from 'react'
import { sagaPath, type LogRow, type Saga } from '../api'
import { getByCurl } from '../commands'
import { Copy, CopyId } from '../components/copy'
import { Fact } from '../components/fact'
import { Moment } from '../components/moment'
import { SagaBadge } from '../components/saga-badge'
import { SagaCancel } from '../components/saga-cancel'
import { SagaDecide } from '../components/saga-decide'
import { SagaLog } from '../components/saga-log'
import { SagaTimeline } from '../components/saga-timeline'
import { duration } from '../figures'
import { tell } from '../saga-words'
import { useLogin } from '../use-login'
import { useSaga, type WatchedSaga } from '../use-saga'
import './saga.css'

/** What the address says of the view: whether only rows of what failed are shown. */
export const sagaSearch = ({ failed }: Record<string, unknown>): { failed?: 'only' } =>
  failed === 'only' ? { failed } : {}

/** One saga as it happens. */
export function SagaPage() {
  const { sagaId } = useParams({ from: '/saga/$sagaId' })
  return (
    <main>
      <Watched key={sagaId} sagaId={sagaId} />
    </main>
  )
}

function Watched({ sagaId }: { sagaId: string }) {
  const watched = useSaga(sagaId)
  const { saga, stream } = watched
  const title = useRef<HTMLHeadingElement>(null)

  // Who came by a link of another page goes on from here.
  useEffect(() => title.current?.focus({ preventScroll: true }), [])

  return (
    <section className="saga-page" aria-labelledby="saga-title">
      <header className="head">
        <h2 id="saga-title" ref={title} tabIndex={-1}>
          Saga
        </h2>
        {saga && stream !== 'refused' && <SagaBadge status={saga.status} />}
        <CopyId id={sagaId} />
      </header>
      {stream === 'refused' ? (
        <Refused {...watched} sagaId={sagaId} />
      ) : saga ? (
        <Shown watched={watched} saga={saga} />
      ) : (
        <p className="blank" role="status">
          {stream === 'away'
            ? 'The saga can’t be read, for the server does not answer. Trying again every 2 seconds; nothing has to be done here.'
            : 'Reading the saga…'}
        </p>
      )}
    </section>
  )
}

function Refused({ sagaId, detail, code }: WatchedSaga & { sagaId: string }) {
  return (
    <div className="blank" role="alert">
      <p>{detail}</p>
      {code === 404 ? (
        <p>
          Check the id, or look for it among <Link to="/sagas">all sagas</Link>: what it was started with finds it too.
          A saga that was started elsewhere is here once a worker has begun it; then{' '}
          <button type="button" className="quiet" onClick={() => location.reload()}>
            look again
          </button>
          .
        </p>
      ) : (
        <p>
          The server refused to show {sagaId}. Go back to <Link to="/sagas">all sagas</Link>, or{' '}
          <button type="button" className="quiet" onClick={() => location.reload()}>
            look again
          </button>
          .
        </p>
      )}
    </div>
  )
}

function Shown({ watched: { rows, stream, clockAheadMs }, saga }: { watched: WatchedSaga; saga: Saga }) {
  const [login] = useLogin()
  const { failed } = useSearch({ from: '/saga/$sagaId' })
  const navigate = useNavigate({ from: '/saga/$sagaId' })
  const [chosen, setChosen] = useState<bigint>()
  const [led, setLed] = useState(0)
  return (
    <>
      <p className="tell" role="status">
        {tell(saga)}
      </p>
      {saga.error && (
        <p className="error-text">
          {saga.failedStep !== undefined && `Step ${saga.failedStep}: `}
          {`${saga.error.type}: ${saga.error.message}`}
        </p>
      )}
      {saga.parent && (
        <p className="quiet-text">
          It is step {saga.parent.step} of saga{' '}
          <Link to="/saga/$sagaId" params={{ sagaId: saga.parent.sagaId }}>
            {saga.parent.sagaId}
          </Link>
          , and completes or is undone with it.
        </p>
      )}
      {saga.bulkId !== undefined && (
        <p className="quiet-text">
          It was started with the others of{' '}
          <Link to="/bulk/$bulkId" params={{ bulkId: saga.bulkId }}>
            bulk {saga.bulkId}
          </Link>
          .
        </p>
      )}
      {stream === 'away' && (
        <p className="notice" role="status">
          Connection lost; it is taken up again by itself. The saga goes on meanwhile, and this is how it stood.
        </p>
      )}
      <div className="saga-columns">
        <div className="saga-main">
          {login && <SagaDecide saga={saga} rows={rows} login={login} />}
          <SagaTimeline
            saga={saga}
            rows={rows}
            clockAheadMs={clockAheadMs}
            chosen={chosen}
            onChoose={(rowId, isPressed) => {
              setChosen(rowId)
              if (isPressed) setLed((times) => times + 1)
            }}
          />
          {login && <SagaCancel saga={saga} rows={rows} login={login} />}
          <About saga={saga} rows={rows} />
        </div>
        <SagaLog
          sagaId={saga.sagaId}
          rows={rows}
          isFailedOnly={failed === 'only'}
          onFailedOnly={(isOnly) => void navigate({ search: isOnly ? { failed: 'only' } : {}, replace: true })}
          chosen={chosen}
          led={led}
        />
      </div>
    </>
  )
}

function About({ saga, rows }: { saga: Saga; rows: LogRow[] }) {
  const [login] = useLogin()
  const { sagaId, input, startedAt, endedAt, links } = saga
  const nested = saga.steps.filter((step) => step.sagaId !== undefined)
  return (
    <section aria-labelledby="about-title">
      <h3 id="about-title">What it was given</h3>
      <dl className="facts">
        {Object.entries(input).map(([name, value]) => (
          <Fact key={name} name={name.charAt(0).toUpperCase() + name.slice(1)}>
            {typeof value === 'string' ? value : JSON.stringify(value)}
          </Fact>
        ))}
        <Fact name="Started">
          <Moment iso={startedAt} />
        </Fact>
        {endedAt !== undefined && (
          <Fact name="Ended">
            <Moment iso={endedAt} /> (after {duration(startedAt, endedAt)})
          </Fact>
        )}
        {nested.map((step) => (
          <Fact key={step.step} name={`Step ${step.step} is a saga`}>
            <Link to="/saga/$sagaId" params={{ sagaId: step.sagaId ?? '' }}>
              {step.sagaId}
            </Link>
          </Fact>
        ))}
      </dl>
      <p className="links">
        <a href={links.temporal} target="_blank" rel="noreferrer">
          This saga in Temporal’s Web UI
        </a>
        <Copy name="Copy as curl" text={() => getByCurl(sagaPath(sagaId), login?.login === true)} />
        <Copy name="Copy as JSON" text={() => JSON.stringify({ saga, logs: rows }, undefined, 2)} />
      </p>
    </section>
  )
}

import { useParams } from '@tanstack/react-router'
import { useEffect, useRef, type ReactNode } from 'react'
import { CancelForm } from '../components/cancel-form'
import { CopyId } from '../components/copy-id'
import { Moment } from '../components/moment'
import { SagaBadge } from '../components/saga-badge'
import { SagaTrack } from '../components/saga-track'
import { duration, tell } from '../saga-words'
import { useSaga } from '../use-saga'

/** One saga as it happens. */
export function SagaPage() {
  const { sagaId } = useParams({ from: '/saga/$sagaId' })
  return (
    <main className="plain">
      <WatchedSaga key={sagaId} sagaId={sagaId} />
    </main>
  )
}

function WatchedSaga({ sagaId }: { sagaId: string }) {
  const { saga, rows, stream, detail } = useSaga(sagaId)
  const title = useRef<HTMLHeadingElement>(null)

  useEffect(() => {
    if (title.current) bringIntoView(title.current)
  }, [])

  return (
    <section className="saga" aria-labelledby="saga-title">
      <header>
        <h2 id="saga-title" ref={title} tabIndex={-1}>
          Saga
        </h2>
        {saga && <SagaBadge status={saga.status} />}
      </header>
      <CopyId id={sagaId} />
      {stream === 'refused' ? (
        <p className="blank" role="status">
          {detail} Start a saga, or choose another one from the log.
        </p>
      ) : saga ? (
        <>
          <p className="tell" role="status">
            {tell(saga)}
          </p>
          {saga.error && !saga.failedStep && (
            <p className="error-text">{`${saga.error.type}: ${saga.error.message}`}</p>
          )}
          {stream === 'away' && (
            <p className="hint" role="status">
              Connection lost; it will be taken up again. The saga goes on meanwhile, and this is how it stood.
            </p>
          )}
          <SagaTrack saga={saga} rows={rows} />
          <div className="saga-foot">
            {saga.status === 'RUNNING' && <CancelForm sagaId={sagaId} />}
            <dl className="saga-facts">
              {saga.input.username !== undefined && <Fact name="Username">{saga.input.username}</Fact>}
              {saga.input.address !== undefined && <Fact name="Address">{saga.input.address}</Fact>}
              {saga.input.payment !== undefined && <Fact name="Payment">{saga.input.payment}</Fact>}
            </dl>
            <dl className="saga-facts">
              <Fact name="Started">
                <Moment iso={saga.startedAt} />
              </Fact>
              {saga.endedAt && (
                <Fact name="Ended">
                  <Moment iso={saga.endedAt} /> (after {duration(saga.startedAt, saga.endedAt)})
                </Fact>
              )}
            </dl>
            <a href={saga.links.temporal} target="_blank" rel="noreferrer">
              This saga in Temporal’s Web UI
            </a>
          </div>
        </>
      ) : (
        <p className="blank" role="status">
          {stream === 'away' ? 'The saga can’t be read. Trying again.' : 'Reading the saga…'}
        </p>
      )}
    </section>
  )
}

function Fact({ name, children }: { name: string; children: ReactNode }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{children}</dd>
    </div>
  )
}

/** On narrow screens the saga is not where it was asked for. Focus leaves the log for it, but stays in the form. */
function bringIntoView(title: HTMLElement) {
  if (document.activeElement?.closest('table')) title.focus({ preventScroll: true })
  const { top } = title.getBoundingClientRect()
  if (top < 0 || top > innerHeight / 2) title.scrollIntoView({ block: 'start' })
}

import { useEffect, useState } from 'react'
import { getSaga } from './api'
import { HomePage } from './pages/home'
import { useSagaId } from './route'
import { useLogs } from './use-logs'

export function App() {
  const sagaId = useSagaId()
  const logs = useLogs()
  const temporalUi = useTemporalUi(logs.rows?.[0]?.sagaId)
  return (
    <>
      <header className="top">
        <h1>
          <a href="#/">
            <svg viewBox="0 0 32 32" aria-hidden="true">
              <path d="M4 10h17a6 6 0 0 1 0 12H8m5-5-5 5 5 5" />
            </svg>
            Durable sagas
          </a>
        </h1>
        <nav aria-label="Elsewhere">
          {temporalUi && (
            <a href={temporalUi} target="_blank" rel="noreferrer">
              Temporal’s Web UI
            </a>
          )}
          <a href="/logs" target="_blank">
            Log as JSON
          </a>
        </nav>
      </header>
      <div className="away" role="status">
        {logs.trouble && (
          <p>
            <strong>{logs.trouble}</strong> Trying again every 2 seconds; sagas that were accepted go on when it is
            back.
          </p>
        )}
      </div>
      <HomePage sagaId={sagaId} logs={logs} />
    </>
  )
}

/** Temporal's list of workflows. The server tells where it is only with a saga, so it takes any one there is. */
function useTemporalUi(anySagaId: string | undefined): string | undefined {
  const [url, setUrl] = useState<string>()
  useEffect(() => {
    if (url !== undefined || anySagaId === undefined) return
    getSaga(anySagaId).then(
      ({ links }) => setUrl(links.temporal.slice(0, links.temporal.lastIndexOf('/'))),
      () => undefined,
    )
  }, [url, anySagaId])
  return url
}

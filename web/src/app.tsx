import { useEffect, useState } from 'react'
import { getSaga, logOut, type Login } from './api'
import { LoginForm } from './components/login-form'
import { HomePage } from './pages/home'
import { useSagaId } from './route'
import { useLogin } from './use-login'
import { useLogs } from './use-logs'

export function App() {
  const [login, setLogin] = useLogin()
  // Not before it is known, or the page would be there for a moment and then gone.
  if (!login) return null
  if (login.login && login.name === undefined) {
    return (
      <>
        <header className="top">
          <Title />
        </header>
        <main>
          <LoginForm onLogin={setLogin} />
        </main>
      </>
    )
  }
  return <Page login={login} onLogin={setLogin} />
}

function Page({ login, onLogin }: { login: Login; onLogin: (login: Login) => void }) {
  const sagaId = useSagaId()
  const logs = useLogs()
  const temporalUi = useTemporalUi(logs.rows?.[0]?.sagaId)
  return (
    <>
      <header className="top">
        <Title />
        <nav aria-label="Elsewhere">
          {temporalUi && (
            <a href={temporalUi} target="_blank" rel="noreferrer">
              Temporal’s Web UI
            </a>
          )}
          <a href="/logs" target="_blank">
            Log as JSON
          </a>
          {login.name !== undefined && (
            // Where no answer comes the session is still there, and so is the page.
            <button type="button" onClick={() => void logOut().then(onLogin, () => undefined)}>
              Log out {login.name}
            </button>
          )}
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

function Title() {
  return (
    <h1>
      <a href="#/">
        <svg viewBox="0 0 32 32" aria-hidden="true">
          <path d="M4 10h17a6 6 0 0 1 0 12H8m5-5-5 5 5 5" />
        </svg>
        Durable sagas
      </a>
    </h1>
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

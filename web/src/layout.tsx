import { Link, Outlet } from '@tanstack/react-router'
import { logOut, type Login } from './api'
import { AttentionCount } from './components/attention-count'
import { roleWords } from './rights'
import { useLogin } from './use-login'
import { useServer } from './use-server'

/** What every page has around it. */
export function Layout() {
  const [login, setLogin] = useLogin()
  return (
    <>
      <header className="top">
        <Title />
        <nav aria-label="Views">
          <Link to="/" activeOptions={{ exact: true }}>
            Start
          </Link>
          <Link to="/sagas" activeOptions={{ includeSearch: false }}>
            Sagas
          </Link>
          <AttentionCount />
          <Link to="/bulk">Bulk</Link>
          <Link to="/log" activeOptions={{ includeSearch: false }}>
            Log
          </Link>
          <Link to="/overview" activeOptions={{ includeSearch: false }}>
            Overview
          </Link>
          <Link to="/failures">Failures</Link>
        </nav>
        <nav aria-label="Elsewhere">
          <a href="/docs" target="_blank" rel="noreferrer">
            API
          </a>
          {login && <WhoAmI login={login} onLogin={setLogin} />}
        </nav>
      </header>
      <Away />
      <Outlet />
    </>
  )
}

function WhoAmI({ login, onLogin }: { login: Login; onLogin: (login: Login | undefined) => void }) {
  const { name, role } = login
  if (name === undefined || role === undefined) {
    return <span title="API_TOKENS is not set: whoever reaches this page may do everything.">No login</span>
  }
  const leave = () => {
    // Gone at once: what the page still asked for would be refused.
    onLogin(undefined)
    // Where no answer comes the session is still there, and so is the page.
    void logOut().then(onLogin, () => onLogin(login))
  }
  return (
    <>
      <span title={`${role}: ${roleWords[role]}`}>
        {name}, {role}
      </span>
      <button type="button" onClick={leave}>
        Log out {name}
      </button>
    </>
  )
}

export function Title() {
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

function Away() {
  const trouble = useServer()
  return (
    <div className="away" role="status">
      {trouble !== undefined && (
        <p>
          <strong>{trouble}</strong> Trying again; sagas that were accepted go on when it is back.
        </p>
      )}
    </div>
  )
}

export function NotFound() {
  return (
    <main>
      <h2>There is no such view</h2>
      <p className="tell">
        The address names none. <Link to="/sagas">All sagas</Link> are a good place to go on from.
      </p>
    </main>
  )
}

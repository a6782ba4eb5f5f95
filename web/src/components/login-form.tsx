import { useState, type SubmitEvent } from 'react'
import { logIn, messageOf, type Login } from '../api'
import { Field } from './field'
import './login-form.css'

/** Asks for the token that makes a session. */
export function LoginForm({ onLogin }: { onLogin: (login: Login) => void }) {
  const [token, setToken] = useState('')
  const [error, setError] = useState<string>()

  async function submit(event: SubmitEvent) {
    event.preventDefault()
    setError(undefined)
    try {
      onLogin(await logIn(token.trim()))
    } catch (error) {
      setError(messageOf(error))
    }
  }

  return (
    <form className="login" onSubmit={(event) => void submit(event)} aria-labelledby="login-title">
      <h2 id="login-title">Log in</h2>
      <p>
        This server asks who you are. Whoever runs it has a token for you; its role says what you may do: a viewer
        reads, a starter also starts sagas, an operator does everything.
      </p>
      <Field
        label="Token"
        error={error}
        renderControl={(props) => (
          <input
            {...props}
            type="password"
            name="token"
            value={token}
            onChange={(event) => setToken(event.target.value)}
            autoComplete="current-password"
            required
            autoFocus
          />
        )}
      />
      <button type="submit" className="primary">
        Log in
      </button>
    </form>
  )
}

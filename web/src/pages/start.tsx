import { useNavigate } from '@tanstack/react-router'
import { StartForm } from '../components/start-form'
import { useServer } from '../use-server'

/** Starts a saga, and goes where it can be watched. */
export function StartPage() {
  const navigate = useNavigate()
  const trouble = useServer()
  return (
    <main className="plain">
      <StartForm
        onStarted={(sagaId) => void navigate({ to: '/saga/$sagaId', params: { sagaId } })}
        isServerAway={trouble !== undefined}
      />
    </main>
  )
}

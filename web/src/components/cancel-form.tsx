import { useId, useState, type SubmitEvent } from 'react'
import { cancelSaga, messageOf } from '../api'

/** Stops a running saga and has it undone. What comes of it is seen on the saga itself. */
export function CancelForm({ sagaId }: { sagaId: string }) {
  const [reason, setReason] = useState('No longer wanted')
  const [isAsked, setAsked] = useState(false)
  const [error, setError] = useState<string>()
  const id = useId()

  async function cancel(event: SubmitEvent) {
    event.preventDefault()
    setAsked(true)
    setError(undefined)
    try {
      await cancelSaga(sagaId, reason)
    } catch (error) {
      setError(messageOf(error))
      setAsked(false)
    }
  }

  return (
    <form className="cancel" onSubmit={(event) => void cancel(event)}>
      <label htmlFor={id}>Reason</label>
      <input id={id} value={reason} onChange={(event) => setReason(event.target.value)} required maxLength={500} />
      <button type="submit" disabled={isAsked}>
        {isAsked ? 'Asked to cancel…' : 'Cancel saga'}
      </button>
      {isAsked && (
        <p className="hint" role="status">
          A step that is under way ends first; then what was done is undone.
        </p>
      )}
      {error && (
        <p className="error-text" role="alert">
          {error}
        </p>
      )}
    </form>
  )
}

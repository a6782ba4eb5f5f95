import { useId, useRef, useState, type SubmitEvent } from 'react'
import { ApiError, cancelSaga, messageOf, type LogRow, type Login, type Saga } from '../api'
import { may } from '../rights'
import { useActor } from '../use-actor'
import { usePlan } from '../use-plan'
import { NameField, ReasonField } from './who-and-why'

interface Props {
  saga: Saga
  rows: LogRow[]
  login: Login
}

/** Stops a saga that goes forward, once it has been shown what would be undone. */
export function SagaCancel({ saga, rows, login }: Props) {
  const dialog = useRef<HTMLDialogElement>(null)
  const [isOpen, setOpen] = useState(false)
  const [isAsked, setAsked] = useState(false)
  const mayCancel = may(login, 'operator')
  if (saga.status !== 'RUNNING' && !isOpen) return null
  if (!mayCancel) return <p className="quiet-text">Operators may cancel it; you are logged in as a {login.role}.</p>
  return (
    <div className="cancel">
      <button
        type="button"
        disabled={isAsked}
        onClick={() => {
          setOpen(true)
          dialog.current?.showModal()
        }}
      >
        {isAsked ? 'Asked to cancel…' : 'Cancel saga…'}
      </button>
      {isAsked && saga.status === 'RUNNING' && (
        <p className="hint" role="status">
          A step that is under way ends first; then what was done is undone.
        </p>
      )}
      <dialog ref={dialog} className="cancel-dialog" aria-labelledby="cancel-title" onClose={() => setOpen(false)}>
        {isOpen && (
          <CancelForm
            saga={saga}
            rows={rows}
            hasLogin={login.login}
            onClose={() => dialog.current?.close()}
            onAsked={() => {
              setAsked(true)
              dialog.current?.close()
            }}
          />
        )}
      </dialog>
    </div>
  )
}

interface FormProps {
  saga: Saga
  rows: LogRow[]
  hasLogin: boolean
  onClose: () => void
  onAsked: () => void
}

function CancelForm({ saga, rows, hasLogin, onClose, onAsked }: FormProps) {
  const { data: plan, error: unread } = usePlan(saga.sagaId, rows, true)
  const [reason, setReason] = useState('')
  const [actor, setActor] = useActor()
  const [error, setError] = useState<string>()
  const [isSent, setSent] = useState(false)
  const id = useId()
  const isTooLate = saga.status !== 'RUNNING'
  const isApplied = saga.steps.some(({ outcome }) => outcome === 'applied')

  async function cancel(event: SubmitEvent) {
    event.preventDefault()
    setError(undefined)
    setSent(true)
    try {
      await cancelSaga(saga.sagaId, { reason, ...(!hasLogin && actor.trim() !== '' && { actor }) })
      onAsked()
    } catch (error) {
      setSent(false)
      const isRefused = error instanceof ApiError && error.problem.status === 409
      setError(isRefused ? `It can’t be cancelled any more. ${messageOf(error)}` : messageOf(error))
    }
  }

  return (
    <form onSubmit={(event) => void cancel(event)}>
      <h2 id="cancel-title">Cancel this saga?</h2>
      {isTooLate ? (
        <p role="status">
          It has moved on meanwhile, and there is nothing left to cancel. Close this to see how it stands.
        </p>
      ) : (
        <>
          {unread ? (
            <p className="error-text" role="alert">
              What would be undone can’t be read now: {messageOf(unread)}
            </p>
          ) : plan === undefined ? (
            <p role="status">Reading what would be undone…</p>
          ) : plan.steps.length === 0 ? (
            <p>
              {isApplied
                ? 'Nothing of what it has done would be undone. If it is past its point of no return it can’t be cancelled at all.'
                : 'Nothing has been done yet, so nothing would have to be undone.'}
            </p>
          ) : (
            <>
              <p id={`${id}-plan`}>It stops going forward, and this is undone, in this order:</p>
              <ol className="plan plan-numbered" aria-labelledby={`${id}-plan`}>
                {plan.steps.map(({ step, service, input }) => (
                  <li key={step}>
                    <strong>{step}</strong> ({service})
                    {saga.steps.some((one) => one.step === step && one.status === 'running') &&
                      ', which is under way: undone if it took effect'}
                    {input !== null && <code>{JSON.stringify(input)}</code>}
                  </li>
                ))}
              </ol>
            </>
          )}
          <ReasonField value={reason} onChange={setReason} hint="It stands in the saga’s log." autoFocus />
          {!hasLogin && (
            <NameField
              value={actor}
              onChange={setActor}
              hint="There is no login here; left empty the log says anonymous."
            />
          )}
        </>
      )}
      {error !== undefined && (
        <p className="error-text" role="alert">
          {error}
        </p>
      )}
      <div className="dialog-foot">
        <button type="button" onClick={onClose}>
          {isTooLate ? 'Close' : 'Let it go on'}
        </button>
        {!isTooLate && (
          <button type="submit" className="primary" disabled={isSent}>
            {isSent ? 'Asking…' : 'Cancel and undo'}
          </button>
        )}
      </div>
    </form>
  )
}

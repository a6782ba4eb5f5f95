import { useId, useState } from 'react'
import { ApiError, cancelSaga, messageOf, type LogRow, type Login, type Saga } from '../api'
import { may } from '../rights'
import { usePlan } from '../use-plan'
import { ConfirmForm, DialogButton } from './confirm'

interface Props {
  saga: Saga
  rows: LogRow[]
  login: Login
}

/** Stops a saga that goes forward, once it has been shown what would be undone. */
export function SagaCancel({ saga, rows, login }: Props) {
  const [isAsked, setAsked] = useState(false)
  const isRunning = saga.status === 'RUNNING'
  const isCancellable = saga.links.cancel !== undefined

  async function cancel(who: Parameters<typeof cancelSaga>[1]) {
    try {
      await cancelSaga(saga.sagaId, who)
      setAsked(true)
    } catch (error) {
      const isRefused = error instanceof ApiError && error.problem.status === 409
      throw isRefused ? new Error(`It can’t be cancelled any more. ${messageOf(error)}`) : error
    }
  }

  if (isCancellable && !may(login, 'operator')) {
    return <p className="quiet-text">Operators may cancel it; you are logged in as a {login.role}.</p>
  }
  return (
    <div className="cancel">
      <DialogButton
        label={isAsked ? 'Asked to cancel…' : 'Cancel saga…'}
        isDisabled={isAsked}
        isOffered={isCancellable || (isAsked && isRunning)}
      >
        {(dialog) => (
          <ConfirmForm
            {...dialog}
            title="Cancel this saga?"
            act={isCancellable ? 'Cancel and undo' : undefined}
            back="Let it go on"
            reasonHint="It stands in the saga’s log."
            hasLogin={login.login}
            onConfirm={cancel}
          >
            {isCancellable ? (
              <WhatIsUndone saga={saga} rows={rows} />
            ) : (
              <p role="status">
                {isRunning
                  ? 'It has been cancelled already, or is past its point of no return.'
                  : 'It has moved on meanwhile, and there is nothing left to cancel.'}{' '}
                Close this to see how it stands.
              </p>
            )}
          </ConfirmForm>
        )}
      </DialogButton>
      {isAsked && isRunning && (
        <p className="hint" role="status">
          A step that is under way ends first; then what was done is undone.
        </p>
      )}
    </div>
  )
}

function WhatIsUndone({ saga, rows }: Pick<Props, 'saga' | 'rows'>) {
  const { data: plan, error } = usePlan(saga.sagaId, rows, true)
  const id = useId()
  if (error) {
    return (
      <p className="error-text" role="alert">
        What would be undone can’t be read now: {messageOf(error)}
      </p>
    )
  }
  if (plan === undefined) return <p role="status">Reading what would be undone…</p>
  if (plan.steps.length === 0) {
    return (
      <p>
        {saga.steps.some(({ outcome }) => outcome === 'applied')
          ? 'Nothing of what it has done would be undone. If it is past its point of no return it can’t be cancelled at all.'
          : 'Nothing has been done yet, so nothing would have to be undone.'}
      </p>
    )
  }
  const isUnderWay = (step: string) => saga.steps.some((one) => one.step === step && one.status === 'running')
  return (
    <>
      <p id={id}>It stops going forward, and this is undone, in this order:</p>
      <ol className="plan plan-numbered" aria-labelledby={id}>
        {plan.steps.map(({ step, service, input }) => (
          <li key={step}>
            <strong>{step}</strong> ({service}){isUnderWay(step) && ', which is under way: undone if it took effect'}
            {input !== null && <code>{JSON.stringify(input)}</code>}
          </li>
        ))}
      </ol>
    </>
  )
}

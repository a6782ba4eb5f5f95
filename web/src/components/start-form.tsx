import type { RefObject, SubmitEvent } from 'react'
import type { CreateUserRequest } from '../api'
import { describe, noneFails, type Choices } from '../failure-choices'
import type { FailureRights } from '../use-failures'
import type { StepOfType } from '../use-saga-types'
import { fields, type Wrong } from '../use-start'
import { FailureEditor } from './failure-editor'
import { Field } from './field'

export type Values = Pick<CreateUserRequest, 'username' | 'address' | 'payment'>

interface StartFormProps {
  form: RefObject<HTMLFormElement | null>
  values: Values
  steps: StepOfType[]
  /** Undefined: what is set for everybody. */
  choices: Choices | undefined
  failures: FailureRights
  wrong: Wrong
  isStarting: boolean
  isAskingAgain: boolean
  onWrite: (name: string, value: string) => void
  onChoose: (choices: Choices | undefined) => void
  onStart: () => void
}

/** The saga that is to be started, in every detail. */
export function StartForm(props: StartFormProps) {
  const { form, values, steps, choices, failures, wrong, isStarting, isAskingAgain, onWrite, onChoose, onStart } = props

  function submit(event: SubmitEvent) {
    event.preventDefault()
    onStart()
  }

  return (
    <form className="start" ref={form} onSubmit={submit} noValidate aria-labelledby="start-title">
      <h3 id="start-title">In every detail</h3>

      {fields.map(({ name, label, limit }) => (
        <Field
          key={name}
          label={label}
          hint={lengthHint(values[name], limit)}
          error={wrong.at[name]}
          renderControl={(control) => (
            <input
              {...control}
              name={name}
              value={values[name]}
              onChange={(event) => onWrite(name, event.target.value)}
              autoComplete="off"
              spellCheck={false}
            />
          )}
        />
      ))}

      <fieldset>
        <legend>What shall fail?</legend>
        {failures.whyNot === undefined ? (
          <div className="start-whose">
            <label>
              <input type="radio" name="whose" checked={choices === undefined} onChange={() => onChoose(undefined)} />
              As set for everybody
            </label>
            <label>
              <input
                type="radio"
                name="whose"
                checked={choices !== undefined}
                onChange={() => onChoose(choices ?? noneFails)}
              />
              For this saga alone
            </label>
          </div>
        ) : (
          <p className="hint">{failures.whyNot}</p>
        )}
        {choices === undefined ? (
          failures.inForce && (
            <ul className="start-in-force" aria-label="Set for everybody">
              {steps.map(({ step, service }) => (
                <li key={step}>
                  <strong>
                    {step} {service}
                  </strong>{' '}
                  {describe(failures.inForce?.[step])}
                </li>
              ))}
            </ul>
          )
        ) : (
          <>
            <FailureEditor steps={steps} choices={choices} onChange={onChoose} errors={wrong.at} />
            {Object.values(choices).some((one) => one?.invoke.startsWith('second')) && (
              <p className="hint">
                A saga’s own calls are counted for it alone: the first goes well, so there is a second only where it is
                tried again. To see every second saga meet a failure, choose “As set for everybody”.
              </p>
            )}
          </>
        )}
      </fieldset>

      <button type="submit" className="primary" aria-busy={isStarting}>
        Start saga
      </button>
      <p className="hint" role="status">
        {isAskingAgain && 'No answer yet. Asking again with the same key, so that it is not started twice…'}
      </p>
      <div role="alert">{wrong.detail && <p className="error-text">{wrong.detail}</p>}</div>
    </form>
  )
}

/** Counted as the API counts: code points, after trimming. Silent as long as there is room. */
function lengthHint(value: string, limit: number): string | undefined {
  const { length } = Array.from(value.trim())
  return length > limit * 0.8 ? `${length} of at most ${limit} characters` : undefined
}

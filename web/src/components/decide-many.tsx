import { useQueryClient } from '@tanstack/react-query'
import { useNavigate } from '@tanstack/react-router'
import { useState, type SubmitEvent } from 'react'
import { ApiError, decideMany, type DecisionsRequest } from '../api'
import { atMost } from '../at-most'
import { counted, numeral } from '../figures'
import { may } from '../rights'
import { useActor } from '../use-actor'
import { useLogin } from '../use-login'
import { sagasIn, stuckKey, useStuck } from '../use-stuck'
import { Choice } from './choice'
import { Field } from './field'
import './decide-many.css'
import { NameField, ReasonField } from './who-and-why'

type Action = DecisionsRequest['action']

const actions: Record<Action, { label: string; does: (step: string) => string }> = {
  retry: {
    label: 'Retry',
    does: (step) =>
      `Tries what is stuck on ${step} again in each of them, with all its attempts. For when its cause is gone.`,
  },
  resolve: {
    label: 'Resolve',
    does: (step) =>
      `Says that a person has done by hand what is stuck on ${step}. Nothing is called for it any more, and each saga goes on from there.`,
  },
  skip: {
    label: 'Skip',
    does: (step) =>
      `Gives up on the undo of ${step}: what ${step} did stays, and each saga ends as “Partially compensated”. Refused where a saga is past its point of no return.`,
  },
}

/** What is asked of the API by default, and its bounds. */
const limits = {
  perSecond: { label: 'Per second at most', value: '10', max: 100 },
  stopAfterFailures: { label: 'Stop after failures', value: '10', max: 1_000 },
} as const

/** One decision for all sagas that are stuck on a step; leads to where its progress is. */
export function DecideMany({ step }: { step: string }) {
  const [login] = useLogin()
  if (!login) return null
  if (!may(login, 'operator')) {
    return (
      <p className="hint decide-many-not">
        To decide for all that are stuck on {step} takes the role operator; {login.name} is {login.role}. Somebody with
        that role can.
      </p>
    )
  }
  return <DecideForm step={step} hasLogin={login.login} />
}

function DecideForm({ step, hasLogin }: { step: string; hasLogin: boolean }) {
  const navigate = useNavigate()
  const client = useQueryClient()
  const groups = useStuck()?.filter((one) => one.step === step)
  const [errorType, setErrorType] = useState('')
  const [action, setAction] = useState<Action>('retry')
  const [reason, setReason] = useState('')
  const [actor, setActor] = useActor()
  const [numbers, setNumbers] = useState<Record<keyof typeof limits, string>>({
    perSecond: limits.perSecond.value,
    stopAfterFailures: limits.stopAfterFailures.value,
  })
  const [isAsking, setAsking] = useState(false)
  const [wrong, setWrong] = useState<Record<string, string>>({})

  const total = groups && sagasIn(groups)
  const ofType = (type: string) => sagasIn((groups ?? []).filter((one) => one.errorType === type))
  const matching = groups && errorType ? ofType(errorType) : total
  const types = [
    ...new Set([...(groups ?? []).flatMap((one) => one.errorType ?? []), ...(errorType ? [errorType] : [])]),
  ]

  async function decide(event: SubmitEvent) {
    event.preventDefault()
    if (isAsking || matching === undefined) return
    setAsking(true)
    setWrong({})
    try {
      const { decisionsId } = await atMost(matching, (expected) =>
        decideMany({
          filter: { step, ...(errorType && { errorType }) },
          action,
          reason,
          ...(!hasLogin && { actor }),
          perSecond: Number(numbers.perSecond),
          stopAfterFailures: Number(numbers.stopAfterFailures),
          expected,
        }),
      )
      await navigate({ to: '/decisions/$decisionsId', params: { decisionsId } })
    } catch (error) {
      await client.invalidateQueries({ queryKey: stuckKey })
      setWrong(explain(error))
      setAsking(false)
    }
  }

  return (
    <form className="decide-many" onSubmit={(event) => void decide(event)} aria-labelledby="decide-many-title">
      <h3 id="decide-many-title">Decide for all that are stuck on {step}</h3>
      <fieldset>
        <legend>What shall be done?</legend>
        {Object.entries(actions).map(([name, { label, does }]) => (
          <Choice
            key={name}
            group="action"
            name={label}
            effect={does(step)}
            isChosen={action === name}
            onChoose={() => setAction(name as Action)}
          />
        ))}
      </fieldset>
      <div className="decide-fields">
        <Field
          label="Only with the error"
          renderControl={(props) => (
            <select {...props} value={errorType} onChange={({ target }) => setErrorType(target.value)}>
              <option value="">any{total === undefined ? '' : ` (${numeral(total)})`}</option>
              {types.map((type) => (
                <option key={type} value={type}>
                  {type} ({numeral(ofType(type))})
                </option>
              ))}
            </select>
          )}
        />
        <ReasonField
          value={reason}
          onChange={setReason}
          error={wrong['/reason'] && `The reason ${wrong['/reason']}.`}
          hint="Stands in the log of each saga."
        />
        {!hasLogin && (
          <NameField
            value={actor}
            onChange={setActor}
            error={wrong['/actor'] && `Your name ${wrong['/actor']}.`}
            hint="There is no login here, so say who decides."
            required
          />
        )}
        {(['perSecond', 'stopAfterFailures'] as const).map((name) => (
          <Field
            key={name}
            label={limits[name].label}
            error={wrong[`/${name}`]}
            renderControl={(props) => (
              <input
                {...props}
                type="number"
                min={1}
                max={limits[name].max}
                step={1}
                required
                value={numbers[name]}
                onChange={({ target }) => setNumbers({ ...numbers, [name]: target.value })}
              />
            )}
          />
        ))}
      </div>
      <div className="decide-act">
        <p role="status">
          {matching === undefined ? (
            'Counting what is stuck…'
          ) : matching === 0 ? (
            `Nothing is stuck on ${step}${errorType && ` with ${errorType}`} now, so there is nothing to decide.`
          ) : (
            <>
              <strong>{counted(matching, 'saga')}</strong> {matching === 1 ? 'is' : 'are'} stuck on {step}
              {errorType && ` with ${errorType}`} now. What gets stuck later is left alone.
            </>
          )}
        </p>
        <button type="submit" className="primary" disabled={isAsking || !matching}>
          {isAsking
            ? 'Asking…'
            : matching
              ? `${actions[action].label} ${counted(matching, 'saga')}`
              : actions[action].label}
        </button>
      </div>
      <div role="alert">{wrong[''] && <p className="error-text">{wrong['']}</p>}</div>
    </form>
  )
}

/** What is wrong, by the place of the request; '' where it has none. */
function explain(error: unknown): Record<string, string> {
  if (!(error instanceof ApiError)) {
    return { '': 'No answer came, and it may have been taken. Look whether fewer are stuck before you ask again.' }
  }
  const { detail, errors = [] } = error.problem
  const placed = errors.filter(({ path }) => ['/reason', '/actor', '/perSecond', '/stopAfterFailures'].includes(path))
  if (placed.length === 0) return { '': detail }
  return Object.fromEntries(placed.map(({ path, message }) => [path, message]))
}

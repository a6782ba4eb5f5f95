import { useMutation, useQueryClient } from '@tanstack/react-query'
import { useId, useState, type SubmitEvent } from 'react'
import { ApiError, messageOf, putFailures, type Failures, type Login } from '../api'
import { FailureEditor } from '../components/failure-editor'
import { demo, describe, fromFailures, isSame, noneFails, toFailures, type Choices } from '../failure-choices'
import { failuresKey, useFailures } from '../use-failures'
import { useSteps, type StepOfType } from '../use-saga-types'
import { useLogin } from '../use-login'
import './failures.css'

/** What fails on purpose, and the form that changes it. */
export function FailuresPage() {
  const [login] = useLogin()
  return login ? <FailuresOf login={login} /> : null
}

function FailuresOf({ login }: { login: Login }) {
  const { inForce, whyNot, error } = useFailures(login)
  const steps = useSteps()
  return (
    <main className="failures-page">
      <h2>What fails on purpose</h2>
      <p className="failures-lead">
        How the services fail on purpose, in every saga that brings no failures of its own.
      </p>
      {inForce && steps ? (
        <>
          <section aria-labelledby="in-force-title">
            <h3 id="in-force-title">In force now</h3>
            <dl className="in-force">
              {steps.map(({ step, service }) => (
                <div key={step}>
                  <dt>
                    {step} {service}
                  </dt>
                  <dd>{describe(inForce[step])}</dd>
                </div>
              ))}
            </dl>
          </section>
          {whyNot === undefined ? <ChangeForm steps={steps} inForce={inForce} /> : <p className="refused">{whyNot}</p>}
        </>
      ) : (
        <p className="blank" role="status">
          {error ? `What is in force can’t be read: ${error.message} Trying again.` : 'Reading what is in force…'}
        </p>
      )}
    </main>
  )
}

/** What is wrong: by step, and of the whole. */
interface Wrong {
  at: Partial<Record<string, string>>
  details: string[]
}
const nothingWrong: Wrong = { at: {}, details: [] }

/** Starts from what was in force when the page was opened. */
function ChangeForm({ steps, inForce }: { steps: StepOfType[]; inForce: Failures }) {
  const client = useQueryClient()
  const [json, setJson] = useState(() => pretty(steps, inForce))
  const [isJson, setIsJson] = useState(() => fromFailures(inForce) === undefined)
  const [wrong, setWrong] = useState(nothingWrong)
  const parsed = parse(json)
  const choices = isFailures(steps, parsed) ? fromFailures(parsed) : undefined
  const id = useId()

  const change = useMutation({
    mutationFn: putFailures,
    onSuccess: (inForce) => client.setQueryData(failuresKey, { inForce, isOn: true }),
    onError: (error) => setWrong(explain(error, { isJson })),
  })

  function write(text: string) {
    setJson(text)
    setWrong(nothingWrong)
    change.reset()
  }

  const choose = (choices: Choices) => write(pretty(steps, toFailures(choices)))

  function submit(event: SubmitEvent) {
    event.preventDefault()
    if (change.isPending) return
    setWrong(nothingWrong)
    if (parsed === undefined) setWrong({ at: {}, details: ['This is not JSON yet. Mind quotes, commas and braces.'] })
    else change.mutate(parsed)
  }

  return (
    <form className="failures-form" onSubmit={submit} noValidate aria-labelledby="change-title">
      <h3 id="change-title">Change it</h3>
      <div className="presets" role="group" aria-label="Ready-made">
        <Preset name="Nothing fails" choices={noneFails} now={choices} onChoose={choose} />
        <Preset name="The demo’s" choices={demo} now={choices} onChoose={choose} />
      </div>
      <div className="failures-as" role="group" aria-label="Edit as">
        <button
          type="button"
          className="toggle"
          aria-pressed={!isJson}
          disabled={!choices}
          onClick={() => setIsJson(false)}
        >
          As choices
        </button>
        <button type="button" className="toggle" aria-pressed={isJson} onClick={() => setIsJson(true)}>
          As JSON
        </button>
        {!choices && <span className="hint">More than the choices can say, so it is edited as JSON.</span>}
      </div>
      {isJson || !choices ? (
        <div className="field">
          <label htmlFor={id}>Failures</label>
          <textarea
            id={id}
            value={json}
            onChange={(event) => write(event.target.value)}
            rows={Math.min(24, Math.max(8, json.split('\n').length))}
            spellCheck={false}
            aria-describedby={`${id}-hint`}
            aria-invalid={wrong.details.length > 0 || undefined}
          />
          <p className="hint" id={`${id}-hint`}>
            {`{${steps.map(({ step }, i) => `"${step}": ${i === 0 ? 'failure or a list of them' : '…'}`).join(', ')}}; of a list the first that fires wins. A failure is `}
            <code>
              {
                '{"mode":"none|alternate|always|first|rate","n","rate","when":"before|after","kind":"error|hang|crash|reject","on":"invoke|compensate"}'
              }
            </code>
          </p>
        </div>
      ) : (
        <FailureEditor steps={steps} choices={choices} onChange={choose} errors={wrong.at} />
      )}
      <p className="failures-warning">
        This replaces all that is in force, for all services at once, and starts its counts anew. It also meets the
        sagas under way from their next attempt on.
      </p>
      <button type="submit" className="primary" aria-busy={change.isPending}>
        Put it in force
      </button>
      <p className="hint" role="status">
        {change.isSuccess && 'It is in force now; its counts begin at the first call.'}
      </p>
      <div role="alert">
        {wrong.details.map((detail) => (
          <p className="error-text" key={detail}>
            {detail}
          </p>
        ))}
      </div>
    </form>
  )
}

interface PresetProps {
  name: string
  choices: Choices
  now: Choices | undefined
  onChoose: (choices: Choices) => void
}

function Preset({ name, choices, now, onChoose }: PresetProps) {
  return (
    <button
      type="button"
      className="toggle"
      aria-pressed={now !== undefined && isSame(now, choices)}
      onClick={() => onChoose(choices)}
    >
      {name}
    </button>
  )
}

function explain(error: Error, { isJson }: { isJson: boolean }): Wrong {
  if (!(error instanceof ApiError)) {
    return { at: {}, details: ['No answer came. See above what is in force when the server is back, and press again.'] }
  }
  const { errors = [] } = error.problem
  if (errors.length === 0) return { at: {}, details: [messageOf(error)] }
  if (!isJson) {
    return { at: Object.fromEntries(errors.map(({ path, message }) => [path.split('/')[1], message])), details: [] }
  }
  return { at: {}, details: errors.map(({ path, message }) => `${path || 'It'} ${message}.`) }
}

/** Undefined where it is no JSON. */
function parse(json: string): unknown {
  try {
    return JSON.parse(json)
  } catch {
    return undefined
  }
}

/** Roughly: the API has the last word. */
function isFailures(steps: StepOfType[], value: unknown): value is Failures {
  const isStep = (name: string) => steps.some(({ step }) => step === name)
  return (
    isObject(value) &&
    Object.entries(value).every(([name, failures]) => isStep(name) && [failures].flat().every(isObject))
  )
}

const isObject = (value: unknown): value is object => typeof value === 'object' && value !== null

/** One failure a line, without what goes without saying. */
function pretty(steps: StepOfType[], failures: Failures): string {
  const lines = steps.map(({ step }) => {
    const list = [failures[step] ?? { mode: 'none' as const }].flat().map((one) => {
      const { when, kind, on, ...rest } = one
      return JSON.stringify({
        ...rest,
        ...(when === 'after' && { when }),
        ...(kind && kind !== 'error' && { kind }),
        ...(on === 'compensate' && { on }),
      })
    })
    return `  "${step}": ${list.length > 1 ? `[\n    ${list.join(',\n    ')}\n  ]` : list[0]}`
  })
  return `{\n${lines.join(',\n')}\n}`
}

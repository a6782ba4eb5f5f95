import { useEffect, useRef, useState, type SubmitEvent } from 'react'
import { flushSync } from 'react-dom'
import { ApiError, getFailures, startSaga, type CreateUserRequest, type Failures } from '../api'
import {
  allShared,
  choiceGroups,
  choices,
  choose,
  describe,
  hintOf,
  isSame,
  isShared,
  presets,
  STEPS,
  toFailures,
  type Choices,
  type Step,
} from '../failure-choices'
import { Field } from './field'

const fields = [
  { name: 'username', label: 'Username', limit: 100 },
  { name: 'address', label: 'Address', limit: 500 },
  { name: 'payment', label: 'Payment', limit: 100 },
] as const

const services: Record<Step, string> = { A: 'user', B: 'address', C: 'payment' }

const example = {
  username: 'Ada Lovelace',
  address: '12 St James’s Square, London',
  payment: 'Visa 4242 4242 4242 4242',
}

/** What is wrong: by field name or step, and of the whole. */
interface Wrong {
  at: Record<string, string>
  detail?: string | undefined
  /** It may well start without them. */
  areFailuresRefused?: boolean
}

/** The form that starts a saga. `isServerAway`: no use to ask it what is in force. */
export function StartForm({ onStarted, isServerAway }: { onStarted: (sagaId: string) => void; isServerAway: boolean }) {
  const [values, setValues] = useState(example)
  const [chosen, setChosen] = useState(allShared)
  const [wrong, setWrong] = useState<Wrong>({ at: {} })
  const [isStarting, setStarting] = useState(false)
  const inForce = useFailuresInForce(isServerAway)
  const form = useRef<HTMLFormElement>(null)
  const trouble = useRef<HTMLDivElement>(null)
  const unanswered = useRef({ body: '', key: '' })

  async function start(choices: Choices) {
    if (isStarting) return
    const failures = toFailures(choices)
    const body: CreateUserRequest = { ...values, ...(failures && { failures }) }
    setStarting(true)
    setWrong({ at: {} })
    try {
      const { sagaId } = await startSaga(body, keyFor(body))
      unanswered.current = { body: '', key: '' }
      onStarted(sagaId)
    } catch (error) {
      // Rendered at once, so that the first field at fault is there to take the focus.
      flushSync(() => setWrong(explain(error, failures !== undefined)))
      form.current?.querySelector<HTMLElement>('[aria-invalid]')?.focus()
      trouble.current?.scrollIntoView({ block: 'nearest' })
    }
    setStarting(false)
  }

  /** The key of the last try where its answer was lost and this is the same again; else a new one. */
  function keyFor(request: CreateUserRequest): string {
    const body = JSON.stringify(request)
    if (unanswered.current.body !== body) unanswered.current = { body, key: newKey() }
    return unanswered.current.key
  }

  function pick(next: Choices) {
    setChosen(next)
    setWrong(({ at }) => ({ at: without(at, isStep) }))
  }

  function write(name: string, value: string) {
    setValues({ ...values, [name]: value })
    setWrong(({ at }) => ({ at: without(at, (one) => one === name) }))
  }

  function submit(event: SubmitEvent) {
    event.preventDefault()
    void start(chosen)
  }

  return (
    <form className="start" ref={form} onSubmit={submit} noValidate aria-labelledby="start-title">
      <h2 id="start-title">Start a saga</h2>
      <p className="lead">Creates a user, address and payment method, or leaves no trace of them.</p>

      {fields.map(({ name, label, limit }) => (
        <Field
          key={name}
          label={label}
          hint={lengthHint(values[name], limit)}
          error={wrong.at[name] && `${label} ${wrong.at[name]}.`}
          renderControl={(props) => (
            <input
              {...props}
              name={name}
              value={values[name]}
              onChange={(event) => write(name, event.target.value)}
              autoComplete="off"
              spellCheck={false}
            />
          )}
        />
      ))}

      <fieldset>
        <legend>What shall fail?</legend>
        <div className="presets" role="group" aria-label="Ready-made cases">
          {presets.map((preset) => (
            <button
              key={preset.label}
              type="button"
              aria-pressed={isSame(chosen, preset.choices)}
              onClick={() => pick(preset.choices)}
            >
              {preset.label}
            </button>
          ))}
        </div>
        {STEPS.map((step) => (
          <Field
            key={step}
            isInline
            label={`${step} ${services[step]}`}
            hint={chosen[step] === 'shared' ? inForce && `Now: ${describe(inForce[step])}` : hintOf(chosen[step])}
            error={wrong.at[step]}
            renderControl={(props) => (
              <select
                {...props}
                value={chosen[step]}
                onChange={(event) => pick(choose(chosen, step, event.target.value))}
              >
                <option value="shared">{choices.shared.label}</option>
                <option value="never">{choices.never.label}</option>
                {choiceGroups(step).map(({ label, ids }) => (
                  <optgroup key={label} label={label}>
                    {ids.map((id) => (
                      <option key={id} value={id}>
                        {choices[id].label}
                      </option>
                    ))}
                  </optgroup>
                ))}
              </select>
            )}
          />
        ))}
        <p className="hint" role="status">
          {isShared(chosen)
            ? 'Here the calls of all sagas are counted together.'
            : 'For this saga only. What is set for everybody does not hold for it.'}
        </p>
      </fieldset>

      <button type="submit" className="primary" aria-busy={isStarting}>
        Start saga
      </button>
      <div role="alert" ref={trouble}>
        {wrong.detail && <p className="error-text">{wrong.detail}</p>}
        {wrong.areFailuresRefused && (
          <button
            type="button"
            onClick={() => {
              pick(allShared)
              void start(allShared)
            }}
          >
            Start it without failures
          </button>
        )}
      </div>
    </form>
  )
}

/** Asked for when the page opens, and again when the server is back. */
function useFailuresInForce(isServerAway: boolean): Required<Failures> | undefined {
  const [inForce, setInForce] = useState<Required<Failures>>()
  useEffect(() => {
    if (isServerAway) return
    // Only a hint hangs on it; that the server is away is said elsewhere.
    getFailures().then(setInForce, () => undefined)
  }, [isServerAway])
  return inForce
}

function explain(error: unknown, hasFailures: boolean): Wrong {
  if (!(error instanceof ApiError)) {
    return {
      at: {},
      detail: 'No answer came. Press Start saga again when the server is back: it won’t be started twice.',
    }
  }
  const { status, detail, errors = [] } = error.problem
  if (status === 403 && hasFailures) {
    return {
      at: {},
      detail,
      areFailuresRefused: true,
    }
  }
  // "/username" is a field, "/failures/A/n" belongs to the choice for A; what has no place here is told below the form.
  const placed = errors.flatMap(({ path, message }) => {
    const [, first = '', second = ''] = path.split('/')
    const name = first === 'failures' ? second : first
    return isStep(name) || fields.some((field) => field.name === name) ? [[name, message] as const] : []
  })
  return {
    at: Object.fromEntries(placed),
    detail: placed.length === errors.length && placed.length > 0 ? undefined : detail,
  }
}

const without = (at: Wrong['at'], isSettled: (name: string) => boolean) =>
  Object.fromEntries(Object.entries(at).filter(([name]) => !isSettled(name)))

const isStep = (name: string): name is Step => (STEPS as readonly string[]).includes(name)

/** Counted as the API counts: code points, after trimming. Silent as long as there is room. */
function lengthHint(value: string, limit: number): string | undefined {
  const { length } = Array.from(value.trim())
  return length > limit * 0.8 ? `${length} of at most ${limit} characters` : undefined
}

// crypto.randomUUID is there on https and localhost only.
const newKey = () => Array.from(crypto.getRandomValues(new Uint32Array(4)), (word) => word.toString(36)).join('-')

import { Link } from '@tanstack/react-router'
import { useId, useState, type SubmitEvent } from 'react'
import {
  ApiError,
  decideSaga,
  messageOf,
  ServerAway,
  type DecisionWord,
  type LogRow,
  type Login,
  type Saga,
} from '../api'
import { may } from '../rights'
import { counted } from '../figures'
import { givenUpAfter, tries } from '../policy-words'
import { useActor } from '../use-actor'
import { usePlan } from '../use-plan'
import { Choice } from './choice'
import { Field } from './field'
import { Moment } from './moment'
import { Shape } from './shape'
import { NameField, ReasonField } from './who-and-why'

type Action = DecisionWord['action']

/** What waits for a person: a compensation, or behind the point of no return a step. */
interface Stuck {
  step: string
  service: string
  isBack: boolean
  attempts: number
  error?: { type: string; message: string } | undefined
  nested?: string | undefined
  /** The row that says so. */
  row?: LogRow | undefined
  /** Words on it so far. */
  decisions: LogRow[]
}

interface Props {
  saga: Saga
  rows: LogRow[]
  login: Login
}

/** Tells what is stuck and what each choice will do, and takes a decision. Stays to say when another one came first. */
export function SagaDecide({ saga, rows, login }: Props) {
  const stuck = saga.status === 'NEEDS_ATTENTION' ? stuckOf(saga, rows) : []
  const [conflict, setConflict] = useState<{ step: string; detail: string }>()
  const last = rows.findLast(({ status }) => status === 'decision')
  const mayDecide = may(login, 'operator')
  return (
    <>
      {conflict && (
        <div className="notice" role="alert">
          <p>
            <strong>Your decision was not taken.</strong>{' '}
            {last && stepOf(last) === conflict.step
              ? `Somebody else had decided on ${conflict.step} first: ${last.message}.`
              : 'It no longer waits for one.'}{' '}
            Look at how the saga stands now; if it gets stuck again you can decide anew.
          </p>
          <p className="quiet-text">{conflict.detail}</p>
          <button type="button" className="quiet" onClick={() => setConflict(undefined)}>
            Close
          </button>
        </div>
      )}
      {stuck.map((one) => (
        <Decide
          // Stuck anew it is another question, with nothing filled in.
          key={`${one.step}-${one.row?.id}`}
          saga={saga}
          rows={rows}
          stuck={one}
          login={login}
          mayDecide={mayDecide}
          onConflict={(detail) => setConflict({ step: one.step, detail })}
        />
      ))}
      {stuck.length === 0 && last && (
        <p className="quiet-text last-word">
          Last decided on {stepOf(last)}: {last.message} (<Moment iso={last.createdAt} />)
        </p>
      )}
    </>
  )
}

const stepOf = ({ service }: LogRow): string => service.replace(/^COMPENSATE_/, '')

function stuckOf({ steps, compensations }: Saga, rows: LogRow[]): Stuck[] {
  const told = (service: string) => ({
    row: rows.findLast((row) => row.service === service && row.status === 'stuck'),
    decisions: rows.filter((row) => row.service === service && row.status === 'decision'),
  })
  const back = compensations
    .filter(({ status }) => status === 'stuck')
    .map(({ step, attempts, error }): Stuck => {
      const { service = step, sagaId: nested } = steps.find((one) => one.step === step) ?? {}
      return { step, service, isBack: true, attempts, error, nested, ...told(`COMPENSATE_${step}`) }
    })
  const forward = steps
    .filter(({ status }) => status === 'stuck')
    .map(({ step, service, attempts, error, sagaId: nested }): Stuck => ({
      step,
      service,
      isBack: false,
      attempts,
      error,
      nested,
      ...told(step),
    }))
  return [...back, ...forward]
}

interface DecideProps extends Props {
  stuck: Stuck
  mayDecide: boolean
  onConflict: (detail: string) => void
}

function Decide({ saga, rows, stuck, login, mayDecide, onConflict }: DecideProps) {
  const { step, service, isBack, attempts, error, nested, row, decisions } = stuck
  const titleId = useId()
  const plan = usePlan(saga.sagaId, rows, true)
  const what = isBack ? `The undo of ${step} (${service}) is stuck` : `Step ${step} (${service}) is stuck`
  const planned = plan.data?.steps ?? []
  const applied = saga.steps.filter(({ outcome }) => outcome === 'applied')
  return (
    <section className="decide" aria-labelledby={titleId} data-step={step}>
      <h3 id={titleId}>
        <Shape kind="warning" />
        {what}
      </h3>
      <dl>
        <dt>Why</dt>
        <dd>{error ? `${error.type}: ${error.message}` : (row?.message ?? 'No reason was recorded.')}</dd>
        <dt>Tried</dt>
        <dd>
          {counted(attempts, 'time')}
          {row && (
            <>
              ; waiting since <Moment iso={row.createdAt} />
            </>
          )}
          {decisions.length > 0 && (
            <>
              ; decided {counted(decisions.length, 'time')} before, last: {decisions.at(-1)?.message}
            </>
          )}
        </dd>
        {isBack ? (
          <>
            <dt>Still there</dt>
            <dd>
              {plan.isError ? (
                `What is left behind can’t be read now: ${messageOf(plan.error)}`
              ) : plan.data ? (
                <ol className="plan">
                  {planned.map((one) => (
                    <li key={one.step}>
                      what {one.step} ({one.service}) did{one.step === step ? '' : `, whose undo waits behind ${step}`}
                      {one.input !== null && <code>{JSON.stringify(one.input)}</code>}
                    </li>
                  ))}
                </ol>
              ) : (
                'Reading what is left behind…'
              )}
            </dd>
          </>
        ) : (
          <>
            <dt>Done so far</dt>
            <dd>
              {applied.length > 0 ? applied.map((one) => `${one.step} (${one.service})`).join(', ') : 'Nothing'}. The
              saga is past its point of no return: it only goes forward, and nothing is undone.
            </dd>
          </>
        )}
      </dl>
      {nested !== undefined && (
        <p>
          {step} is a saga of its own, and may itself wait for a decision:{' '}
          <Link to="/saga/$sagaId" params={{ sagaId: nested }}>
            look there first
          </Link>
          .
        </p>
      )}
      {mayDecide ? (
        <DecideForm
          saga={saga}
          stuck={stuck}
          input={planned.find((one) => one.step === step)?.input ?? null}
          isRead={!plan.isPending}
          hasLogin={login.login}
          onConflict={onConflict}
        />
      ) : (
        <p className="notice">
          Operators decide; you are logged in as {login.name}, a {login.role}. Ask one, and send them this page’s
          address.
        </p>
      )}
    </section>
  )
}

interface FormProps {
  saga: Saga
  stuck: Stuck
  /** What the step was given, secrets masked; null where that is not known. */
  input: unknown
  /** Whether it is as known as it will be. */
  isRead: boolean
  hasLogin: boolean
  onConflict: (detail: string) => void
}

const MASK = '****'

function DecideForm({ saga, stuck, input, isRead, hasLogin, onConflict }: FormProps) {
  const { step, isBack, nested, row } = stuck
  const [action, setAction] = useState<Action>('retry')
  const [reason, setReason] = useState('')
  const [actor, setActor] = useActor()
  const [text, setText] = useState<string>()
  const [error, setError] = useState<string>()
  const [inputError, setInputError] = useState<string>()
  const [sent, setSent] = useState<'asked' | 'taken'>()
  const id = useId()
  const given = JSON.stringify(input, undefined, 2)
  const isEdited = text !== undefined && action === 'retry'
  // Only the pivot's participant can say whether it took effect.
  const isSettling = !isBack && row?.message.startsWith('Whether the pivot') === true
  const actions: Action[] = isBack ? ['retry', 'resolve', 'skip'] : isSettling ? ['retry'] : ['retry', 'resolve']
  const effects = isBack ? backEffects(saga, step) : forwardEffects(step)

  async function submit(event: SubmitEvent) {
    event.preventDefault()
    setError(undefined)
    setInputError(undefined)
    const word: DecisionWord = { step, action, reason, ...(!hasLogin && { actor }) }
    if (isEdited) {
      const read = readInput(text)
      if ('problem' in read) return setInputError(read.problem)
      word.input = read.input
    }
    setSent('asked')
    try {
      await decideSaga(saga.sagaId, word)
      setSent('taken')
    } catch (error) {
      setSent(undefined)
      if (error instanceof ApiError && error.problem.status === 409) return onConflict(error.message)
      setError(
        error instanceof ServerAway
          ? 'No answer came, so it is not known whether your decision was taken. If this still waits when the server is back, decide again: the same decision is taken once.'
          : [messageOf(error), ...problemsOf(error)].join(' '),
      )
    }
  }

  return (
    <form onSubmit={(event) => void submit(event)}>
      <fieldset>
        <legend>What shall be done?</legend>
        {actions.map((one) => (
          <Choice
            key={one}
            group={`${id}-action`}
            name={choiceWords[one]}
            effect={effects[one]}
            isChosen={action === one}
            onChoose={() => setAction(one)}
          />
        ))}
        {!isBack && (
          <p className="hint">
            {isSettling
              ? 'Whether it took effect decides which way the saga goes, so it can be neither resolved nor skipped.'
              : 'It can’t be skipped: behind the point of no return every step has to be done.'}
          </p>
        )}
      </fieldset>
      {action === 'retry' && nested === undefined && isRead && (
        <div className="edit">
          <label className="check">
            <input
              type="checkbox"
              checked={text !== undefined}
              onChange={(event) => {
                setText(event.target.checked ? (input === null ? '' : given) : undefined)
                setInputError(undefined)
              }}
            />
            Retry with another input
          </label>
          {text !== undefined && (
            <Field
              label={`Input of ${step}, as JSON`}
              error={inputError}
              hint={
                input === null
                  ? 'What it was given is not known here; write all of it.'
                  : given.includes(MASK)
                    ? `${MASK} stands for a secret, which is not shown. Write the whole value in its place, or leave the box unticked to retry with what it was given.`
                    : 'It takes the place of what the step was given.'
              }
              renderControl={(props) => (
                <textarea
                  {...props}
                  rows={6}
                  spellCheck={false}
                  value={text}
                  onChange={(event) => setText(event.target.value)}
                />
              )}
            />
          )}
        </div>
      )}
      <div className="decide-who">
        <ReasonField value={reason} onChange={setReason} hint="It stands in the saga’s log." />
        {!hasLogin && (
          <NameField value={actor} onChange={setActor} hint="There is no login here; it stands in the log." required />
        )}
      </div>
      {error !== undefined && (
        <p className="error-text" role="alert">
          {error}
        </p>
      )}
      <button type="submit" className="primary" disabled={sent !== undefined}>
        {sent === undefined
          ? buttonWords[action](step, isBack)
          : sent === 'asked'
            ? 'Asking…'
            : 'Taken; waiting for the saga to go on…'}
      </button>
    </form>
  )
}

const choiceWords: Record<Action, string> = {
  retry: 'Retry',
  resolve: 'Resolve: I have done it by hand',
  skip: 'Skip: leave it as it is',
}

const buttonWords: Record<Action, (step: string, isBack: boolean) => string> = {
  retry: (step, isBack) => (isBack ? `Retry the undo of ${step}` : `Retry step ${step}`),
  resolve: (step) => `Resolve ${step}`,
  skip: (step) => `Skip the undo of ${step}`,
}

function backEffects({ compensations }: Saga, step: string): Record<Action, string> {
  const behind = compensations.filter(
    (one) => one.step !== step && ['pending', 'running', 'stuck'].includes(one.status),
  )
  const names = behind.map((one) => one.step).join(', then ')
  const end = compensations.some(({ status }) => status === 'skipped') ? 'Partially compensated' : 'Compensated'
  const next = behind.length > 0 ? `the undo of ${names} comes next` : `the saga ends as ${end}`
  const goesOn =
    behind.length > 0
      ? `The undo of ${names} comes next; where that depends on ${step} it may get stuck in turn. The saga`
      : 'The saga'
  return {
    retry: `Tries the undo of ${step} again, up to ${tries.undo} times within about ${givenUpAfter.undo}. When it succeeds, ${next}; if it never does, the saga waits for a person again.`,
    resolve: `Says that you have undone ${step} yourself. It is not called again, and ${next}. Undo it first: what a check at the end still finds is only written to the log.`,
    skip: `Leaves what ${step} did where it is, for good. ${goesOn} ends as Partially compensated.`,
  }
}

const forwardEffects = (step: string): Record<Action, string> => ({
  retry: `Calls step ${step} again. When it succeeds the saga goes on forward; if it does not, it waits for a person again.`,
  resolve: `Says that you have done step ${step} yourself. It is not called again, and the saga goes on forward as if it had succeeded.`,
  skip: '',
})

function readInput(text: string): { input: unknown } | { problem: string } {
  if (text.includes(MASK)) {
    return { problem: `It still has ${MASK}, which would be sent as it stands. Write the whole value in its place.` }
  }
  try {
    return { input: JSON.parse(text) as unknown }
  } catch (error) {
    return { problem: `This is not JSON: ${messageOf(error)}.` }
  }
}

const problemsOf = (error: unknown): string[] =>
  error instanceof ApiError
    ? (error.problem.errors ?? []).map(({ path, message }) => `${path.slice(1)} ${message}.`)
    : []

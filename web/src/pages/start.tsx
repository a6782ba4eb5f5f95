import { useQuery } from '@tanstack/react-query'
import { Link, useNavigate } from '@tanstack/react-router'
import { useRef, useState } from 'react'
import { getSaga, type CreateUserRequest, type Login } from '../api'
import { cases } from '../cases'
import { startByCurl, startByTemporal } from '../commands'
import { CaseCard } from '../components/case-card'
import { Command } from '../components/command'
import { SagaBadge } from '../components/saga-badge'
import { StartForm, type Values } from '../components/start-form'
import { isSame, toFailures, type Choices } from '../failure-choices'
import { may } from '../rights'
import { useFailures, type FailureRights } from '../use-failures'
import { useLogin } from '../use-login'
import { isEnded } from '../use-saga'
import { useSteps } from '../use-saga-types'
import { isField, useStart } from '../use-start'
import { useStarted, type Started } from '../use-started'
import './start.css'

const example: Values = {
  username: 'Ada Lovelace',
  address: '12 St James’s Square, London',
  payment: 'Visa 4242 4242 4242 4242',
}

/** Starts a saga, and goes where it can be watched. */
export function StartPage() {
  const [login] = useLogin()
  return login ? <StartAs login={login} /> : null
}

function StartAs({ login }: { login: Login }) {
  const [started, addStarted] = useStarted()
  const failures = useFailures(login)
  const mayStart = may(login, 'starter')
  return (
    <main>
      <section className="start-intro" aria-labelledby="intro-title">
        <h2 id="intro-title">All of it, or nothing</h2>
        <p>
          A saga creates a user (A), an address (B) and a payment method (C), each in a service of its own; when one of
          them fails for good, it undoes what the others did, last first.
          {mayStart &&
            ` Press ${failures.whyNot === undefined ? 'Start on any case' : 'Start saga'} below and watch it happen, attempt by attempt.`}
        </p>
      </section>
      {mayStart ? (
        <Starter login={login} failures={failures} started={started} onAccepted={addStarted} />
      ) : (
        <p className="refused">
          To start a saga needs the role starter; {login.name} is {login.role}. You can watch{' '}
          <Link to="/sagas">all sagas</Link> and read <Link to="/log">the log</Link>.
        </p>
      )}
    </main>
  )
}

interface StarterProps {
  login: Login
  failures: FailureRights
  started: Started[]
  onAccepted: (one: Started) => void
}

function Starter({ login, failures, started, onAccepted }: StarterProps) {
  const navigate = useNavigate()
  const form = useRef<HTMLFormElement>(null)
  const steps = useSteps() ?? []
  const [values, setValues] = useState(example)
  const [chosen, setChosen] = useState(cases[0])
  const [picked, setChoices] = useState<Choices | undefined>(cases[0]?.choices)
  // What may not be injected is not sent either.
  const choices = failures.whyNot === undefined ? picked : undefined
  const { start, wrong, settle, isStarting, isAskingAgain } = useStart({
    form,
    onAccepted: ({ sagaId }, { username }) => onAccepted({ sagaId, username, what: chosen?.title ?? 'Your own' }),
    onStarted: ({ sagaId }) => void navigate({ to: '/saga/$sagaId', params: { sagaId } }),
  })

  const bodyOf = (choices: Choices | undefined): CreateUserRequest => ({
    ...values,
    ...(choices && { failures: toFailures(choices) }),
  })

  function choose(one: (typeof cases)[number]) {
    setChosen(one)
    setChoices(one.choices)
    settle((name) => !isField(name))
  }

  function change(next: Choices | undefined) {
    setChoices(next)
    const isStill = next && chosen?.choices ? isSame(next, chosen.choices) : next === chosen?.choices
    if (!isStill)
      setChosen(cases.find((one) => (next && one.choices ? isSame(next, one.choices) : next === one.choices)))
    settle((name) => !isField(name))
  }

  function write(name: string, value: string) {
    setValues({ ...values, [name]: value })
    settle((one) => one === name)
  }

  const body = bodyOf(choices)
  return (
    <>
      {failures.whyNot === undefined && (
        <section aria-labelledby="cases-title">
          <h3 id="cases-title" className="for-readers">
            Ready-made cases
          </h3>
          <ul className="cases">
            {cases.map((one) => (
              <CaseCard
                key={one.id}
                one={one}
                isChosen={one === chosen}
                onChoose={() => choose(one)}
                onStart={() => {
                  choose(one)
                  start(bodyOf(one.choices))
                }}
              />
            ))}
          </ul>
        </section>
      )}

      <div className="start-columns">
        <StartForm
          form={form}
          values={values}
          steps={steps}
          choices={choices}
          failures={failures}
          wrong={wrong}
          isStarting={isStarting}
          isAskingAgain={isAskingAgain}
          onWrite={write}
          onChoose={change}
          onStart={() => start(body)}
        />
        <div className="start-beside">
          {failures.whyNot === undefined && (
            <section aria-labelledby="shows-title">
              <h3 id="shows-title">What it will show</h3>
              <p role="status">{chosen ? chosen.shows : 'A case of your own. The log will tell.'}</p>
              {chosen?.byHand && (
                <>
                  <p>{chosen.byHand.what}</p>
                  <Command name="By hand" text={chosen.byHand.command} />
                </>
              )}
            </section>
          )}
          {started.length > 0 && (
            <section aria-labelledby="started-title">
              <h3 id="started-title">Started last</h3>
              <ul className="started">
                {started.map((one) => (
                  <StartedSaga key={one.sagaId} {...one} />
                ))}
              </ul>
            </section>
          )}
          <section aria-labelledby="commands-title">
            <h3 id="commands-title">The same from a shell</h3>
            <Command name="curl" text={startByCurl(body, login.login)} />
            {login.login && <p className="hint">With your token in the variable TOKEN.</p>}
            <Command name="The temporal CLI" text={startByTemporal(body)} />
            <p className="hint">To be run where npm start was run. For sh, bash and zsh.</p>
          </section>
        </div>
      </div>
    </>
  )
}

function StartedSaga({ sagaId, username, what }: Started) {
  const { data } = useQuery({
    queryKey: ['started', sagaId],
    queryFn: () => getSaga(sagaId),
    refetchInterval: ({ state }) => (state.data && isEnded(state.data.status) ? false : 2_000),
  })
  return (
    <li>
      <Link to="/saga/$sagaId" params={{ sagaId }} title={sagaId}>
        {username}
      </Link>
      <span className="started-what">{what}</span>
      {data && <SagaBadge status={data.status} />}
    </li>
  )
}

import { useQuery } from '@tanstack/react-query'
import { Link, useParams } from '@tanstack/react-router'
import { ApiError, getDecisions, messageOf, type DecisionsProgress } from '../api'
import { CopyId } from '../components/copy'
import { Fact } from '../components/fact'
import { Moment } from '../components/moment'
import { Shape } from '../components/shape'
import { counted, numeral } from '../figures'
import { sagasIn, useStuck } from '../use-stuck'
import './decisions.css'

/** How far a decision for many sagas has come. */
export function DecisionsPage() {
  const { decisionsId } = useParams({ from: '/decisions/$decisionsId' })
  const { data, failureReason } = useQuery({
    queryKey: ['decisions', decisionsId],
    queryFn: () => getDecisions(decisionsId),
    refetchInterval: ({ state }) => (isOver(state.data) || isRefused(state.error) ? false : 1_000),
  })
  return (
    <main className="decisions">
      <header className="head">
        <h2>Decision for many sagas</h2>
        {data && <State of={data} />}
        <CopyId id={decisionsId} name="decision id" />
      </header>
      {data ? (
        <Progress of={data} />
      ) : failureReason ? (
        <p className="blank" role="alert">
          {messageOf(failureReason)}{' '}
          {isRefused(failureReason) ? (
            <>
              What waits for one is among{' '}
              <Link to="/sagas" search={{ status: 'NEEDS_ATTENTION' }}>
                the sagas that need attention
              </Link>
              .
            </>
          ) : (
            'Trying again.'
          )}
        </p>
      ) : (
        <p className="blank" role="status">
          Reading how far it has come…
        </p>
      )}
    </main>
  )
}

const isOver = (of: DecisionsProgress | undefined) => of !== undefined && of.status !== 'running'
const isRefused = (error: unknown) => error instanceof ApiError && error.problem.status < 500

const states = {
  running: { word: 'Deciding', kind: 'running' },
  done: { word: 'Done', kind: 'good' },
  stopped: { word: 'Stopped', kind: 'warning' },
} as const

function State({ of: { status, failed } }: { of: DecisionsProgress }) {
  const { word, kind } =
    status === 'done' && failed > 0 ? { word: 'Done, with failures', kind: 'warning' as const } : states[status]
  return (
    <span className="badge" data-kind={kind} data-status={status} data-testid="decisions-status">
      <Shape kind={kind} />
      {word}
    </span>
  )
}

const words = { retry: 'Retry', resolve: 'Resolve', skip: 'Skip' } as const

function Progress({ of }: { of: DecisionsProgress }) {
  const { action, filter, reason, actor, matching, decided, failed, failures, status, stoppedBecause } = of
  const left = matching - decided - failed
  return (
    <>
      <p className="tell">
        {words[action]} {counted(matching, 'saga')} that {matching === 1 ? 'was' : 'were'} stuck on {filter.step}
        {filter.errorType && ` with ${filter.errorType}`}. By {actor}: {reason}
      </p>
      <progress max={Math.max(matching, 1)} value={matching === 0 ? 1 : decided + failed} aria-label="Sagas tried" />
      <dl className="facts">
        <Fact name="Decided">{numeral(decided)}</Fact>
        <Fact name="Failed" kind={failed > 0 ? 'bad' : undefined}>
          {numeral(failed)}
        </Fact>
        <Fact name={status === 'stopped' ? 'Not tried' : 'Left'}>{numeral(left)}</Fact>
        <Fact name="Rate">{rateOf(of)}</Fact>
        <Fact name="Started">
          <Moment iso={of.startedAt} />
        </Fact>
        {of.endedAt && (
          <Fact name="Ended">
            <Moment iso={of.endedAt} />
          </Fact>
        )}
        <Fact name="Stops after">{counted(of.stopAfterFailures, 'failure')}</Fact>
      </dl>
      <p className="tell" role="status">
        {status === 'running'
          ? 'It goes on by itself, also when this page is closed.'
          : status === 'stopped'
            ? `It stopped: ${stoppedBecause ?? 'nobody knows why'}. ${counted(left, 'saga')} ${left === 1 ? 'was' : 'were'} not tried; nothing has changed for them.`
            : matching === 0
              ? 'Nothing was stuck there when it was asked, so nothing was done.'
              : failed > 0
                ? 'All were tried. What it failed for is below; look at each.'
                : 'All were decided, and go on by themselves.'}
      </p>
      <StillStuck step={filter.step} />
      {failures.length > 0 && (
        <section aria-labelledby="failures-title">
          <h3 id="failures-title">What it failed for</h3>
          <ul className="decision-failures">
            {failures.map(({ sagaId, message }) => (
              <li key={sagaId}>
                <Link to="/saga/$sagaId" params={{ sagaId }}>
                  {sagaId}
                </Link>
                <span>{message}</span>
              </li>
            ))}
          </ul>
        </section>
      )}
      <p className="links">
        <a href={of.links.self} target="_blank" rel="noreferrer">
          All of it as JSON
        </a>
        <a href={of.links.temporal} target="_blank" rel="noreferrer">
          Its run in Temporal’s Web UI
        </a>
      </p>
    </>
  )
}

/** To be decided is not to be well: a saga may get stuck again. */
function StillStuck({ step }: { step: string }) {
  const groups = useStuck()?.filter((one) => one.step === step)
  if (!groups) return null
  const stuck = sagasIn(groups)
  if (stuck === 0) return <p className="hint">Nothing is stuck on {step} now.</p>
  return (
    <p>
      <Link to="/sagas" search={{ status: 'NEEDS_ATTENTION', step }}>
        {counted(stuck, 'saga')} {stuck === 1 ? 'is' : 'are'} stuck on {step} now
      </Link>
      : those that are left, that got stuck again, or that are new.
    </p>
  )
}

function rateOf({ decided, failed, startedAt, endedAt, perSecond }: DecisionsProgress): string {
  const s = (Date.parse(endedAt ?? new Date().toISOString()) - Date.parse(startedAt)) / 1_000
  // Between the first and the last of them there is one interval less.
  const rate = decided + failed < 2 || s <= 0 ? undefined : (decided + failed - 1) / s
  return rate === undefined ? `at most ${perSecond} a second` : `${rate.toFixed(1)} of at most ${perSecond} a second`
}

import { useSearch } from '@tanstack/react-router'
import { lazy, Suspense, useState, type ComponentType, type ReactNode } from 'react'
import { ApiError, messageOf, type Overview, type OverviewPoint } from '../api'
import { Shape, type Kind } from '../components/shape'
import type { Chart, Line, TimeChartProps } from '../components/time-chart'
import { clock, clockToTheSecond, lasting, numeral, percent } from '../figures'
import { useOverview } from '../use-overview'
import './overview.css'

const WINDOWS = [15, 60, 360, 1_440] as const
type Window = (typeof WINDOWS)[number]
const words: Record<Window, { short: string; long: string }> = {
  15: { short: '15 min', long: '15 minutes' },
  60: { short: '1 hour', long: 'hour' },
  360: { short: '6 hours', long: '6 hours' },
  1440: { short: '24 hours', long: '24 hours' },
}

/** What the address says of the view; an hour where it says nothing, or nothing that there is. */
export function overviewSearch(search: Record<string, unknown>): { minutes?: Window | undefined } {
  return { minutes: WINDOWS.find((one) => String(one) === String(search['minutes'])) }
}

/** How all sagas do, and have done of late. */
export function OverviewPage() {
  const { minutes = 60 } = useSearch({ from: '/overview' })
  const { data, error, failureReason, isPlaceholderData, refetch } = useOverview(minutes)
  const trouble = error ?? failureReason
  return (
    <main className="overview">
      <div className="overview-top">
        <h2>Overview</h2>
        <nav aria-label="How far back">
          {WINDOWS.map((one) => (
            <a key={one} href={`#/overview?minutes=${one}`} aria-current={one === minutes ? 'page' : undefined}>
              {words[one].short}
            </a>
          ))}
        </nav>
        {data && (
          <p className="hint">
            {trouble ? 'As of ' : 'Live, as of '}
            <time dateTime={data.at} title={data.at}>
              {clockToTheSecond.format(Date.parse(data.at))}
            </time>
          </p>
        )}
      </div>
      {data ? (
        <div aria-busy={isPlaceholderData}>
          {error instanceof ApiError && (
            <Refused error={error} onAgain={() => void refetch()} what="These figures are not the newest." />
          )}
          <Numbers overview={data} />
          {isIdle(data) ? <Idle minutes={minutes} /> : <Course overview={data} />}
        </div>
      ) : error instanceof ApiError ? (
        <Refused error={error} onAgain={() => void refetch()} what="The figures can’t be shown." />
      ) : (
        <p className="blank" role="status">
          {trouble ? 'The figures will be here when the server answers.' : 'Reading the figures…'}
        </p>
      )}
    </main>
  )
}

function Refused({ error, what, onAgain }: { error: ApiError; what: string; onAgain: () => void }) {
  return (
    <div className="overview-refused" role="alert">
      <p>
        {what} <span className="error-text">{messageOf(error)}</span>
      </p>
      <button type="button" onClick={onAgain}>
        Try again
      </button>
    </div>
  )
}

const endedOf = ({ completed, rolledBack }: Pick<OverviewPoint, 'completed' | 'rolledBack'>) => completed + rolledBack

function Numbers({
  overview: { unfinished, ended, oldestWaitingS, withoutProgress, minutes },
}: {
  overview: Overview
}) {
  const waiting = unfinished.NEEDS_ATTENTION
  const rolledBack = ended.COMPENSATED + ended.PARTIALLY_COMPENSATED
  const all = ended.COMPLETED + rolledBack
  const within = `in the last ${words[minutes as Window]?.long ?? `${minutes} minutes`}`
  return (
    <ul className="numbers" aria-label="Now">
      <Big
        kind={waiting > 0 ? 'warning' : 'good'}
        title={<a href="#/sagas?status=NEEDS_ATTENTION">Needs attention</a>}
        value={numeral(waiting)}
      >
        {waiting > 0
          ? `${waiting > 1 ? 'The oldest' : 'It'} has waited for ${lasting(oldestWaitingS * 1_000)}. Decide what becomes of ${waiting > 1 ? 'them' : 'it'}.`
          : 'No saga waits for a person.'}
      </Big>
      <Big kind="running" title={<a href="#/sagas?status=RUNNING">Running</a>} value={numeral(unfinished.RUNNING)}>
        {unfinished.COMPENSATING > 0
          ? `${numeral(unfinished.COMPENSATING)} more are being undone.`
          : 'None is being undone.'}
        {withoutProgress > 0 && (
          <strong className="still"> {numeral(withoutProgress)} have not moved for 10 minutes.</strong>
        )}
      </Big>
      <Big kind="note" title="Ended" value={numeral(all)}>
        {all > 0 ? `${numeral(ended.COMPLETED)} completed, ${numeral(rolledBack)} rolled back, ` : 'Nothing has ended '}
        {within}.
      </Big>
      <Big kind="undone" title="Rolled back" value={all > 0 ? percent(rolledBack / all) : '–'}>
        {all > 0 ? `of what ended ${within}.` : 'There is no share of nothing.'}
        {ended.PARTIALLY_COMPENSATED > 0 && ` ${numeral(ended.PARTIALLY_COMPENSATED)} only in part.`}
      </Big>
    </ul>
  )
}

function Big({ kind, title, value, children }: { kind: Kind; title: ReactNode; value: string; children: ReactNode }) {
  return (
    <li className="number" data-kind={kind}>
      <h3>
        <Shape kind={kind} /> {title}
      </h3>
      <p className="number-value">{value}</p>
      <p className="hint">{children}</p>
    </li>
  )
}

const isIdle = ({ points }: Overview) =>
  points.every((point) => point.started === 0 && endedOf(point) === 0 && point.waiting === 0)

function Idle({ minutes }: { minutes: Window }) {
  return (
    <p className="blank">
      No saga has started or ended in the last {words[minutes].long}. <a href="#/">Start one</a>
      {minutes < 1_440 && (
        <>
          , or <a href="#/overview?minutes=1440">look at the last 24 hours</a>
        </>
      )}
      .
    </p>
  )
}

/** Only who looks at charts loads what draws them. */
const TimeChart = lazy<ComponentType<TimeChartProps<OverviewPoint>>>(() =>
  import('../components/time-chart').catch(() => ({ default: NoChart })),
)

function NoChart() {
  return <p className="hint chart-none">The chart can’t be loaded: reload the page. The table has its figures.</p>
}

const WHOLE_STEPS = [1, 10, 100, 1_000, 10_000, 100_000].flatMap((ten) => [ten, 2 * ten, 5 * ten])
const TIMES_MS = [1, 10, 100, 1_000, 10_000, ...[1, 10, 60, 600, 6_000, 60_000].map((minutes) => minutes * 60_000)]

const shareOf = (point: OverviewPoint) => (endedOf(point) > 0 ? point.rolledBack / endedOf(point) : null)

/** `none`: said where no point has a value. */
const charts: (Chart<OverviewPoint> & { title: (every: string) => string; none: string })[] = [
  {
    title: (every) => `Sagas ${every}`,
    lines: [
      { label: 'Started', tone: '--running', of: ({ started }) => started, isDashed: true },
      { label: 'Completed', tone: '--good', of: ({ completed }) => completed },
      { label: 'Rolled back', tone: '--undo', of: ({ rolledBack }) => rolledBack },
    ],
    format: numeral,
    steps: WHOLE_STEPS,
    none: 'Nothing has started or ended.',
  },
  {
    title: () => 'Share rolled back',
    lines: [{ label: 'Rolled back', tone: '--undo', of: shareOf }],
    look: 'bars',
    format: percent,
    none: 'Nothing has ended, so there is no share.',
  },
  {
    title: () => 'Time to end (log scale)',
    lines: [
      { label: 'p50', tone: '--running', of: ({ p50Ms }) => p50Ms },
      { label: 'p95', tone: '--warn', of: ({ p95Ms }) => p95Ms, isDashed: true },
    ],
    format: lasting,
    figures: TIMES_MS,
    none: 'Nothing has ended, so there is no time to tell.',
  },
  {
    title: () => 'Undo debt: sagas waiting for a person',
    lines: [{ label: 'Waiting', tone: '--warn', of: ({ waiting }) => waiting }],
    look: 'area',
    format: numeral,
    steps: WHOLE_STEPS,
    none: 'None waits.',
  },
]

/** What happened over time: four charts with one line through all of them, and the same as a table. */
function Course({ overview: { points, widthS } }: { overview: Overview }) {
  const [hovered, setHovered] = useState<number>()
  // By its moment, for it moves to the left as time goes on.
  const [chosenAt, setChosenAt] = useState<string>()
  const last = points.length - 1
  const chosen = points.findIndex(({ at }) => at === chosenAt)
  const index = hovered ?? (chosen >= 0 ? chosen : undefined)
  const shown = Math.min(index ?? last, last)
  const when = `${span(points[shown], widthS)}${shown === last ? ', so far' : ''}`
  const every = widthS === 60 ? 'a minute' : widthS < 60 ? `every ${widthS} s` : `every ${widthS / 60} min`
  const figures = charts.map((chart) => ({
    chart,
    title: chart.title(every),
    values: chart.lines.map(({ label, of }) => ({ label, value: orNone(points[shown] && of(points[shown]), chart) })),
  }))
  const said = figures.map(
    ({ title, values }) => `${title}: ${values.map(({ label, value }) => `${label} ${value}`).join(', ')}`,
  )

  return (
    <section aria-label="Over time">
      <div className="moment-choice">
        <label htmlFor="moment">
          Figures of <span>{when}</span>
        </label>
        <input
          id="moment"
          type="range"
          min={0}
          max={last}
          value={shown}
          aria-valuetext={[when, ...said].join('; ')}
          // At the right end it stays with what is newest.
          onChange={({ target: { valueAsNumber: i } }) => setChosenAt(i === last ? undefined : points[i]?.at)}
        />
      </div>
      <div className="charts">
        {figures.map(({ chart, title, values }) => (
          <figure key={title}>
            <figcaption>
              <h3>{title}</h3>
              <ul>
                {chart.lines.map((line, i) => (
                  <li key={line.label}>
                    <Mark {...line} isWide={chart.look !== undefined} />
                    {line.label} <b>{values[i]?.value}</b>
                  </li>
                ))}
              </ul>
            </figcaption>
            {points.every((point) => chart.lines.every(({ of }) => of(point) === null)) ? (
              <p className="hint chart-none">{chart.none}</p>
            ) : (
              <Suspense fallback={<div className="chart" />}>
                <TimeChart {...{ chart, points, widthS, index }} onHover={setHovered} />
              </Suspense>
            )}
          </figure>
        ))}
      </div>
      <p className="hint charts-note">What is shaded, at the right end, is not over yet.</p>
      <details className="as-table">
        <summary>As a table</summary>
        <p className="hint">Newest first. “Waiting” is how many needed a person when that time was over.</p>
        <div className="table-scroll" role="region" aria-label="The figures of the charts" tabIndex={0}>
          <Table points={points} widthS={widthS} />
        </div>
      </details>
    </section>
  )
}

const orNone = (value: number | null | undefined, { format }: Pick<Chart<OverviewPoint>, 'format'>): string =>
  value === null || value === undefined ? '–' : format(value)

/** How a line looks in its chart. */
function Mark({ tone, isDashed, isWide }: Pick<Line<OverviewPoint>, 'tone' | 'isDashed'> & { isWide: boolean }) {
  return (
    <svg className="line-mark" viewBox="0 0 18 10" aria-hidden="true" style={{ color: `var(${tone})` }}>
      <path d="M0 5h18" strokeWidth={isWide ? 10 : 2.5} strokeDasharray={isDashed ? '5 3' : undefined} />
    </svg>
  )
}

function Table({ points, widthS }: { points: OverviewPoint[]; widthS: number }) {
  return (
    <table>
      <thead>
        <tr>
          {['Time', 'Started', 'Completed', 'Rolled back', 'Share', 'p50', 'p95', 'Waiting'].map((name) => (
            <th key={name} scope="col">
              {name}
            </th>
          ))}
        </tr>
      </thead>
      <tbody>
        {points.toReversed().map((point, i) => (
          <tr key={point.at}>
            <th scope="row">
              <time dateTime={point.at} title={point.at}>
                {span(point, widthS)}
              </time>
              {i === 0 && ', so far'}
            </th>
            <td>{numeral(point.started)}</td>
            <td>{numeral(point.completed)}</td>
            <td>{numeral(point.rolledBack)}</td>
            <td>{orNone(shareOf(point), { format: percent })}</td>
            <td>{orNone(point.p50Ms, { format: lasting })}</td>
            <td>{orNone(point.p95Ms, { format: lasting })}</td>
            <td>{numeral(point.waiting)}</td>
          </tr>
        ))}
      </tbody>
    </table>
  )
}

/** "10:41–10:42" in the reader's zone. */
function span(point: OverviewPoint | undefined, widthS: number): string {
  if (!point) return ''
  const shown = widthS < 60 ? clockToTheSecond : clock
  const from = Date.parse(point.at)
  return `${shown.format(from)}–${shown.format(from + widthS * 1_000)}`
}

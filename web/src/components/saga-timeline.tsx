import { Link } from '@tanstack/react-router'
import { memo, useLayoutEffect, useMemo, useRef, useState, type KeyboardEvent } from 'react'
import type { LogRow, Saga } from '../api'
import { clockToTheSecond, counted, lasting } from '../figures'
import { outcomeWord, shownCompensation, shownStep, type Shown } from '../saga-words'
import {
  scaleOf,
  timelineOf,
  type Bar,
  type BarKind,
  type Lane,
  type Mark,
  type Scale,
  type Timeline,
} from '../timeline'
import { useClock } from '../use-clock'
import { Moment } from './moment'
import { Shape } from './shape'

const looks: Record<BarKind, Shown> = {
  applied: { word: 'applied', kind: 'good' },
  rejected: { word: 'refused', kind: 'bad' },
  unknown: { word: 'failed, outcome unknown', kind: 'bad' },
  undone: { word: 'undone', kind: 'undone' },
  empty: { word: 'nothing to undo', kind: 'empty' },
  late: { word: 'came late, changed nothing', kind: 'note' },
  killed: { word: 'lost with its process', kind: 'bad' },
  running: { word: 'under way', kind: 'running' },
  pause: { word: 'waits to be tried again', kind: 'pending' },
  person: { word: 'waits for a person', kind: 'warning' },
  decision: { word: 'a person’s decision', kind: 'note' },
  left: { word: 'left as it is', kind: 'warning' },
  verified: { word: 'checked, nothing is left', kind: 'empty' },
  residue: { word: 'checked, something is left', kind: 'warning' },
}

const looksOf = ({ kind, lane }: Bar): Shown =>
  kind === 'running' && lane.startsWith('COMPENSATE_') ? { ...looks.running, kind: 'undoing' } : looks[kind]

const markWords: Record<Mark['kind'], string> = {
  started: 'It began',
  triggered: 'It turned back',
  recovered: 'It was taken up again',
  ended: 'It ended',
}

interface Props {
  saga: Saga
  rows: LogRow[]
  clockAheadMs: number
  /** The log row that is pointed at, and how to point at one; `isPressed` asks to be led to it. */
  chosen: bigint | undefined
  onChoose: (rowId: bigint | undefined, isPressed?: boolean) => void
}

/**
 * What happened, forward and back: a line for each step, each attempt a bar from its beginning to its end, and beneath the
 * axis the way back, in the order in which it is gone. The list behind it says the same in words.
 */
export function SagaTimeline({ saga, rows, clockAheadMs, chosen, onChoose }: Props) {
  const isMoving = saga.endedAt === undefined
  const now = useClock(isMoving) - clockAheadMs
  const newest = Date.parse(rows.at(-1)?.createdAt ?? saga.startedAt)
  const timeline = useMemo(() => timelineOf(saga, rows, Math.max(now, newest)), [saga, rows, now, newest])
  return (
    <section className="timeline" aria-labelledby="timeline-title">
      <h3 id="timeline-title">Timeline</h3>
      <Next timeline={timeline} now={now} saga={saga} />
      <Drawing saga={saga} timeline={timeline} chosen={chosen} onChoose={onChoose} isMoving={isMoving} />
      <Facts saga={saga} timeline={timeline} />
    </section>
  )
}

/** What comes next, and when. */
function Next({ timeline, now, saga }: { timeline: Timeline; now: number; saga: Saga }) {
  const texts = timeline.lanes.flatMap((lane) => {
    const live = lane.bars.find(({ kind }) => kind === 'running')
    if (lane.next) {
      const { n, of, dueAt } = lane.next
      const seconds = Math.max(1, Math.ceil((dueAt - now) / 1_000))
      return [`${laneName(lane)} failed; attempt ${n}${of === undefined ? '' : ` of ${of}`} in about ${seconds} s.`]
    }
    if (!live) return []
    return [
      `${laneName(lane)}: ${live.budget ? `attempt ${live.budget.n} of ${live.budget.of}` : 'an attempt'} is under way.`,
    ]
  })
  // It stands there as long as the saga goes on, so that nothing jumps.
  if (saga.endedAt !== undefined) return null
  return (
    <p className="timeline-next" data-testid="next-attempt">
      {texts.join(' ') || (saga.status === 'NEEDS_ATTENTION' ? 'Nothing is tried until a person has decided.' : ' ')}
    </p>
  )
}

interface DrawingProps {
  saga: Saga
  timeline: Timeline
  chosen: bigint | undefined
  onChoose: Props['onChoose']
  isMoving: boolean
}

function Drawing({ saga, timeline, chosen, onChoose, isMoving }: DrawingProps) {
  const box = useRef<HTMLDivElement>(null)
  const head = useRef<HTMLDivElement>(null)
  const [room, setRoom] = useState(600)
  const [at, setAt] = useState<string>()
  const isAtEnd = useRef(true)

  useLayoutEffect(() => {
    const [frame, first] = [box.current, head.current]
    if (!frame || !first) return undefined
    const measure = () => setRoom(Math.max(120, frame.clientWidth - first.offsetWidth - 14))
    measure()
    const observer = new ResizeObserver(measure)
    observer.observe(frame)
    return () => observer.disconnect()
  }, [])

  const scale = useMemo(() => scaleOf(timeline, room), [timeline, room])
  // What is under way stays in sight, unless somebody has scrolled back.
  useLayoutEffect(() => {
    if (box.current && isMoving && isAtEnd.current) box.current.scrollLeft = box.current.scrollWidth
  })

  const bars = timeline.lanes.flatMap((lane) => lane.bars.filter(({ kind }) => kind !== 'pause'))
  const inTime = bars.toSorted((a, b) => a.from - b.from || a.to - b.to)
  const bar = bars.find(({ id }) => id === at) ?? bars.find(({ row }) => row && row.id === chosen)
  const stop = (bar ?? inTime.at(-1))?.id

  function choose(next: Bar | undefined) {
    setAt(next?.id)
    onChoose(next?.row?.id)
  }

  function onKeyDown(event: KeyboardEvent<HTMLDivElement>) {
    const now = inTime.findIndex(({ id }) => id === stop)
    const current = inTime[now]
    if (!current) return
    const target = {
      ArrowRight: () => inTime[now + 1],
      ArrowLeft: () => inTime[now - 1],
      ArrowDown: () => besides(timeline.lanes, current, 1),
      ArrowUp: () => besides(timeline.lanes, current, -1),
      Home: () => inTime[0],
      End: () => inTime.at(-1),
    }[event.key]
    if (!target) return
    event.preventDefault()
    const next = target()
    if (next) box.current?.querySelector<HTMLElement>(`[data-bar="${CSS.escape(next.id)}"]`)?.focus()
  }

  const forward = timeline.lanes.filter(({ isBack }) => !isBack)
  const back = timeline.lanes.filter(({ isBack }) => isBack)
  const line = (lane: Lane) => (
    <LaneLine
      key={lane.id}
      lane={lane}
      saga={saga}
      scale={scale}
      stop={stop}
      shown={bar?.id}
      onChoose={choose}
      onPress={(id) => onChoose(id, true)}
    />
  )
  return (
    <>
      <div
        className="timeline-box"
        ref={box}
        role="group"
        aria-label="Attempts in time; the arrow keys go from one to the next"
        onKeyDown={onKeyDown}
        onScroll={({ currentTarget: { scrollLeft, scrollWidth, clientWidth } }) => {
          isAtEnd.current = scrollLeft + clientWidth >= scrollWidth - 8
        }}
      >
        <div className="timeline-lanes">
          <Grounds scale={scale} marks={timeline.marks} />
          <div role="list" aria-label="Steps">
            {forward.map(line)}
          </div>
          <div className="timeline-axis">
            <div className="lane-head" ref={head}>
              Time
            </div>
            <Axis scale={scale} from={timeline.from} />
          </div>
          {back.length > 0 && (
            <div role="list" aria-label="Undo, in the order in which it runs">
              {back.map(line)}
            </div>
          )}
        </div>
      </div>
      {bar ? <Told bar={bar} lanes={timeline.lanes} /> : <Legend bars={timeline.lanes.flatMap((lane) => lane.bars)} />}
    </>
  )
}

/** The bar of the next lane, in a direction, that is nearest in time. */
function besides(lanes: Lane[], { lane, from }: Bar, direction: 1 | -1): Bar | undefined {
  const order = direction === 1 ? lanes : lanes.toReversed()
  const others = order.slice(order.findIndex(({ id }) => id === lane) + 1)
  const next = others.find(({ bars }) => bars.some(({ kind }) => kind !== 'pause'))
  return next?.bars
    .filter(({ kind }) => kind !== 'pause')
    .toSorted((a, b) => Math.abs(a.from - from) - Math.abs(b.from - from))[0]
}

/** Beneath the bars: where time is folded, and what concerns the whole saga. */
function Grounds({ scale, marks }: { scale: Scale; marks: Mark[] }) {
  return (
    <div className="timeline-grounds" style={{ width: scale.width }} aria-hidden="true">
      {scale.folds.map(({ x, width }) => (
        <span key={x} className="fold" style={{ left: x, width }} />
      ))}
      {marks
        .filter(({ kind }) => kind === 'triggered' || kind === 'recovered')
        .map(({ at, kind, row }) => (
          <span key={row.id} className="mark" data-mark={kind} style={{ left: scale.x(at) }} />
        ))}
    </div>
  )
}

function Axis({ scale, from }: { scale: Scale; from: number }) {
  return (
    <div className="lane-line" style={{ width: scale.width }} data-folded={scale.folds.length > 0 || undefined}>
      {scale.folds.map(({ x, width, ms }) => (
        <span
          key={`fold-${x}`}
          className="fold-label"
          style={{ left: x, width }}
          title={`${lasting(ms)} in which nothing was under way, folded`}
        >
          {width > FOLD_WORDS && brief(ms)}
        </span>
      ))}
      {scale.ticks.map(({ x, ms }) => (
        <span key={`tick-${x}`} className="tick" style={{ left: x }}>
          {ms === 0 ? <Clock at={from} /> : `+${lasting(ms)}`}
        </span>
      ))}
    </div>
  )
}

function Clock({ at }: { at: number }) {
  const iso = new Date(at).toISOString()
  return (
    <time dateTime={iso} title={iso}>
      {clockToTheSecond.format(at)}
    </time>
  )
}

/** What the words of a fold take. */
const FOLD_WORDS = 40

/** As a mark has room for; the whole of it is its title. */
function brief(ms: number): string {
  const [minutes, hours] = [Math.round(ms / 60_000), Math.round(ms / 3_600_000)]
  if (ms < 60_000) return lasting(ms)
  if (minutes < 60) return `${minutes} min`
  return hours < 48 ? `${hours} h` : `${Math.round(hours / 24)} d`
}

interface LaneProps {
  lane: Lane
  saga: Saga
  scale: Scale
  /** The bar that the Tab key comes to. */
  stop: string | undefined
  shown: string | undefined
  onChoose: (bar: Bar | undefined) => void
  onPress: (rowId: bigint | undefined) => void
}

function LaneLine({ lane, saga, scale, stop, shown, onChoose, onPress }: LaneProps) {
  const { word, kind, service, nested, facts, status } = useMemo(() => headOf(lane, saga), [lane, saga])
  return (
    <div className="lane" role="listitem" data-lane={lane.id} data-status={status} data-kind={kind}>
      <div className="lane-head">
        <Shape kind={kind} />
        <p>
          <strong>{lane.isBack ? `Undo ${lane.step}` : lane.step}</strong>
          {service !== undefined && ` ${service}`}
          <span className="lane-word">{word}</span>
          {facts.map((fact) => (
            <span key={fact} className="lane-facts">
              {fact}
            </span>
          ))}
          {nested !== undefined && (
            <Link to="/saga/$sagaId" params={{ sagaId: nested }} title={nested}>
              its own saga
            </Link>
          )}
        </p>
      </div>
      <div className="lane-line" style={{ width: scale.width }}>
        {lane.bars.map((bar) => {
          const left = scale.x(bar.from)
          return (
            <BarMark
              key={bar.id}
              bar={bar}
              left={left}
              width={scale.x(bar.to) - left}
              isStop={bar.id === stop}
              isShown={bar.id === shown}
              onChoose={onChoose}
              onPress={onPress}
            />
          )
        })}
      </div>
    </div>
  )
}

interface BarProps {
  bar: Bar
  left: number
  width: number
  isStop: boolean
  isShown: boolean
  onChoose: (bar: Bar | undefined) => void
  onPress: (rowId: bigint | undefined) => void
}

const BarMark = memo(
  function BarMark({ bar, left, width, isStop, isShown, onChoose, onPress }: BarProps) {
    const style = { left, width }
    if (bar.kind === 'pause') return <span className="pause" style={style} aria-hidden="true" />
    const { kind } = looksOf(bar)
    return (
      <button
        type="button"
        className="bar"
        data-bar={bar.id}
        data-bar-kind={bar.kind}
        data-kind={kind}
        data-live={bar.isLive || undefined}
        data-shown={isShown || undefined}
        style={style}
        tabIndex={isStop ? 0 : -1}
        aria-label={inWords(bar)}
        onFocus={() => onChoose(bar)}
        onPointerEnter={(event) => event.pointerType === 'mouse' && onChoose(bar)}
        onClick={() => onPress(bar.row?.id)}
      >
        <Shape kind={kind} />
        {bar.kind === 'person' && width > 110 && <span>waits for a person</span>}
      </button>
    )
  },
  // The functions are made anew at each drawing, and do the same.
  (was, is) =>
    was.left === is.left &&
    was.width === is.width &&
    was.isStop === is.isStop &&
    was.isShown === is.isShown &&
    was.bar.id === is.bar.id &&
    was.bar.to === is.bar.to,
)

interface Head extends Shown {
  status: string
  service?: string
  nested?: string | undefined
  facts: string[]
}

function headOf({ step: name, isBack, bars }: Lane, saga: Saga): Head {
  const isVerified = bars.some(({ kind }) => kind === 'verified')
  if (isBack) {
    const one = saga.compensations.find(({ step }) => step === name)
    if (!one) return { word: 'checked', kind: 'note', status: '', facts: [] }
    const facts = [
      ...(one.attempts > 1 ? [counted(one.attempts, 'attempt')] : []),
      ...(isVerified ? ['nothing left'] : []),
    ]
    return { ...shownCompensation(one), status: one.status, facts }
  }
  const step = saga.steps.find(({ step }) => step === name)
  if (!step) return { word: '', kind: 'pending', status: '', facts: [] }
  const { outcome, attempts } = step
  const facts = [
    ...(outcome && outcome !== 'applied' ? [outcomeWord(outcome)] : []),
    ...(attempts > 1 ? [counted(attempts, 'attempt')] : []),
  ]
  return {
    ...shownStep(step, saga),
    status: step.status,
    service: step.service,
    nested: step.sagaId,
    facts,
  }
}

const laneName = ({ step, isBack }: Pick<Lane, 'step' | 'isBack'>): string =>
  isBack ? `Undo of ${step}` : `Step ${step}`

const nameOf = ({ lane }: Bar): string => {
  const isBack = lane.startsWith('COMPENSATE_')
  return laneName({ step: isBack ? lane.slice('COMPENSATE_'.length) : lane, isBack })
}

/** "attempt 2 of 3"; beyond a first decision the log counts on, and so it is said as well. */
function numberOf({ attempt, budget }: Bar): string {
  if (!budget) return attempt === undefined ? '' : `attempt ${attempt}`
  const within = `attempt ${budget.n} of ${budget.of}`
  return attempt === undefined || attempt === budget.n ? within : `${within} (${attempt} in all)`
}

const isMoment = ({ kind }: Bar): boolean =>
  kind === 'decision' || kind === 'left' || kind === 'verified' || kind === 'residue'

function tookOf(bar: Bar): string {
  if (isMoment(bar)) return ''
  const ms = lasting(bar.to - bar.from)
  if (bar.isLive) return bar.kind === 'person' ? `for ${ms} so far` : `${ms} so far`
  return bar.isAbout ? `about ${ms}` : ms
}

function inWords(bar: Bar): string {
  const { word } = looks[bar.kind]
  const parts = [nameOf(bar), numberOf(bar), word, tookOf(bar), bar.row?.message].filter(Boolean)
  return parts.join(', ')
}

/** What is known of one bar. */
function Told({ bar, lanes }: { bar: Bar; lanes: Lane[] }) {
  const { word, kind } = looksOf(bar)
  const began = new Date(bar.from).toISOString()
  const inAll = lanes.find(({ id }) => id === bar.lane)?.bars.filter(({ attempt }) => attempt !== undefined).length ?? 0
  return (
    <div className="timeline-told" data-kind={kind} data-testid="bar-details">
      <p>
        <Shape kind={kind} />
        <strong>{[nameOf(bar), numberOf(bar)].filter(Boolean).join(', ')}</strong>
        {': '}
        <span className="lane-word">{word}</span>
        {bar.attempt !== undefined && inAll > 1 && (
          <span className="quiet-text"> ({counted(inAll, 'attempt')} so far)</span>
        )}
      </p>
      <p className="quiet-text">
        {isMoment(bar) && bar.row ? (
          <Moment iso={bar.row.createdAt} />
        ) : (
          <>
            {bar.isAbout && 'about '}
            <Moment iso={began} /> to {bar.isLive ? 'now' : <Moment iso={new Date(bar.to).toISOString()} />} (
            {tookOf(bar)})
          </>
        )}
      </p>
      {bar.row && <p>{bar.row.message}</p>}
    </div>
  )
}

function Legend({ bars }: { bars: Bar[] }) {
  const kinds = [...new Set(bars.map(({ kind }) => kind))].filter((kind) => kind !== 'pause')
  return (
    <div className="timeline-told">
      <ul className="legend" aria-label="What the shapes mean">
        {kinds.map((kind) => (
          <li key={kind} data-kind={looks[kind].kind}>
            <Shape kind={looks[kind].kind} />
            {looks[kind].word}
          </li>
        ))}
      </ul>
      <p className="quiet-text">Point at a bar, or go there with the Tab and arrow keys, and it tells what it was.</p>
    </div>
  )
}

/** The same facts in words, for whoever does not see the drawing. */
function Facts({ saga, timeline }: { saga: Saga; timeline: Timeline }) {
  const [isOpen, setOpen] = useState(false)
  return (
    <details className="timeline-facts" onToggle={({ currentTarget }) => setOpen(currentTarget.open)}>
      <summary>The timeline as a table</summary>
      {isOpen && <FactsTable saga={saga} timeline={timeline} />}
    </details>
  )
}

function FactsTable({ saga, timeline }: { saga: Saga; timeline: Timeline }) {
  const bars = timeline.lanes
    .flatMap((lane) => lane.bars.map((bar) => ({ lane, bar })))
    .toSorted((a, b) => a.bar.from - b.bar.from || a.bar.to - b.bar.to)
  // A step that nothing was heard of is a fact as well.
  const silent = timeline.lanes.filter((lane) => lane.bars.length === 0)
  return (
    <div className="facts-box" tabIndex={0} role="region" aria-label="The timeline as a table">
      <table>
        <thead>
          <tr>
            {['What', 'Attempt', 'Outcome', 'From', 'To', 'Took', 'Message'].map((name) => (
              <th key={name} scope="col">
                {name}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {bars.map(({ lane, bar }) => (
            <tr key={bar.id}>
              <th scope="row">{laneName(lane)}</th>
              <td>{numberOf(bar).replace('attempt ', '')}</td>
              <td>{looks[bar.kind].word}</td>
              <td>
                {bar.isAbout && 'about '}
                <Moment iso={new Date(bar.from).toISOString()} />
              </td>
              <td>{bar.isLive ? 'now' : <Moment iso={new Date(bar.to).toISOString()} />}</td>
              <td>{tookOf(bar)}</td>
              <td>{bar.row?.message}</td>
            </tr>
          ))}
          {silent.map((lane) => (
            <tr key={lane.id}>
              <th scope="row">{laneName(lane)}</th>
              <td />
              <td colSpan={5}>{headOf(lane, saga).word}</td>
            </tr>
          ))}
        </tbody>
      </table>
      <ul className="facts-marks">
        {timeline.marks.map(({ row, kind }) => (
          <li key={row.id}>
            {markWords[kind]} at <Moment iso={row.createdAt} />: {row.message}
          </li>
        ))}
      </ul>
    </div>
  )
}

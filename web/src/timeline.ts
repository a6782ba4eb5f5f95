import { compensatePolicy, invokePolicy, retriablePolicy, STEP_TIMEOUT_MS } from '../../src/saga/policy.js'
import type { CallPolicy } from '../../src/saga/types.js'
import type { LogRow, Saga } from './api'
import { delayMs } from './policy-words'

// What happened to a saga, as bars in time, and where on a line of some width a moment is. Pure: the drawing, the list and
// the countdown are all made of it.

/** Where the tries are used up the saga turns back within less. */
const TURNED_MS = 3_000

const BACK = 'COMPENSATE_'
const LATE = '(came after the step was settled; changes nothing)'
const ADDED = "(added from Temporal's history; changes nothing)"

/** What became of what a bar shows. */
export type BarKind =
  | 'applied'
  | 'rejected'
  | 'unknown'
  | 'undone'
  | 'empty'
  | 'late'
  | 'killed'
  | 'running'
  | 'pause'
  | 'person'
  | 'decision'
  | 'left'
  | 'verified'
  | 'residue'

export interface Bar {
  id: string
  /** A step, or COMPENSATE_ and a step, as the log has it. */
  lane: string
  kind: BarKind
  from: number
  to: number
  /** When it began is reckoned, not written. */
  isAbout: boolean
  /** It is under way: `to` is now. */
  isLive: boolean
  attempt?: number
  /** Attempts at most, this one's number among them, since somebody last decided or took the saga up again. */
  budget?: { n: number; of: number }
  row?: LogRow
}

export interface Lane {
  id: string
  step: string
  isBack: boolean
  bars: Bar[]
  /** Of what has failed and will be tried again. */
  next?: { n: number; of?: number; dueAt: number }
}

/** What concerns the whole saga. */
export interface Mark {
  at: number
  kind: 'started' | 'triggered' | 'recovered' | 'ended'
  row: LogRow
}

export interface Timeline {
  lanes: Lane[]
  marks: Mark[]
  from: number
  to: number
}

type Told = Pick<Saga, 'status' | 'startedAt' | 'endedAt' | 'steps' | 'compensations'>

/** The steps forward in their order, then the compensations in theirs, each with what its log rows tell. */
export function timelineOf(saga: Told, rows: LogRow[], now: number): Timeline {
  const from = Date.parse(saga.startedAt)
  const timeoutMs = timeoutOf(rows)
  const lanes = [
    ...saga.steps.map(({ step, status, startedAt }) =>
      laneOf({ id: step, step, isBack: false, status, startedAt }, { rows, from, now, timeoutMs }),
    ),
    ...[...saga.compensations, ...checkedOnly(saga, rows)].map(({ step, status }) =>
      laneOf({ id: BACK + step, step, isBack: true, status }, { rows, from, now, timeoutMs }),
    ),
  ]
  const marks = rows.flatMap((row): Mark[] => {
    const kind = markKinds[`${row.service} ${row.status}`]
    return kind ? [{ at: Date.parse(row.createdAt), kind, row }] : []
  })
  const ends = [...lanes.flatMap(({ bars }) => bars.map(({ to }) => to)), ...marks.map(({ at }) => at)]
  return { lanes, marks, from: Math.min(from, ...marks.map(({ at }) => at)), to: Math.max(from + 1, ...ends) }
}

/** What was never to be undone, and yet was looked at when all was done. */
function checkedOnly({ compensations }: Told, rows: LogRow[]): { step: string; status: string }[] {
  const known = new Set(compensations.map(({ step }) => BACK + step))
  const others = rows.map(({ service }) => service).filter((service) => service.startsWith(BACK) && !known.has(service))
  return [...new Set(others)].map((service) => ({ step: service.slice(BACK.length), status: 'checked' }))
}

const markKinds: Record<string, Mark['kind']> = {
  'SAGA started': 'started',
  'SAGA recovered': 'recovered',
  'SAGA completed': 'ended',
  'SAGA compensated': 'ended',
  'ROLLBACK triggered': 'triggered',
}

interface Around {
  rows: LogRow[]
  from: number
  now: number
  timeoutMs: number
}

function laneOf(
  { id, step, isBack, status, startedAt }: Omit<Lane, 'bars'> & { status: string; startedAt?: string | undefined },
  { rows, from, now, timeoutMs }: Around,
): Lane {
  const policy = isBack ? compensatePolicy : invokePolicy
  const bars: Bar[] = []
  /** When the last thing ended: of the whole saga, and of this lane. */
  let sagaAt = from
  let laneAt = from
  /** Attempts since the last word on it; the last of them failed, and would be tried again. */
  let spent = 0
  let isRetried = false
  let stuck: { at: number; row: LogRow } | undefined

  const add = (bar: Pick<Bar, 'kind' | 'from' | 'to'> & Partial<Bar>) => {
    const begins = Math.max(bar.from, laneAt)
    // One millisecond at least: many attempts take none that a clock of milliseconds shows.
    const to = Math.max(bar.to, begins + 1)
    bars.push({
      id: `${bar.kind}-${bar.row?.id ?? id}`,
      lane: id,
      isAbout: false,
      isLive: false,
      ...bar,
      from: begins,
      to,
    })
    laneAt = to
  }
  const pauseUntil = (due: number) => {
    if (isRetried && due > laneAt)
      add({ id: `pause-${bars.length}-${id}`, kind: 'pause', from: laneAt, to: due, isAbout: true })
  }
  const endWait = (to: number) => {
    if (stuck) add({ kind: 'person', from: stuck.at, to, row: stuck.row })
    stuck = undefined
  }

  for (const row of rows) {
    const at = Date.parse(row.createdAt)
    if (row.service === 'SAGA' && row.status === 'recovered') {
      endWait(at)
      spent = 0
      isRetried = false
    }
    if (row.service !== id) {
      if (!isAside(row)) sagaAt = at
      continue
    }
    if (isKilled(row)) {
      const lostAt = Date.parse(/gave it up at (\S+)/.exec(row.message)?.[1] ?? '')
      insertKilled(bars, { id, row, rows, from, lostAt: Number.isNaN(lostAt) ? undefined : lostAt })
    } else if (row.attempt !== null) {
      const timedOut = Number(/no answer within (\d+) ms/.exec(row.message)?.[1])
      // Where it says how long it waited that is how long it took; else it may have waited for much before it began.
      const earliest = at - (timedOut || timeoutMs)
      const isFirst = row.attempt === 1 && startedAt !== undefined
      const reckoned = isRetried ? laneAt + delayMs(policy, spent) : Math.max(sagaAt, laneAt)
      const began = timedOut ? earliest : isFirst ? Date.parse(startedAt) : Math.max(reckoned, earliest)
      pauseUntil(Math.min(began, at))
      const isLate = row.message.endsWith(LATE)
      if (!isLate) spent += 1
      add({
        kind: isLate ? 'late' : kindOf(row, isBack),
        from: Math.min(began, at),
        to: at,
        isAbout: !timedOut && !isFirst,
        attempt: row.attempt,
        ...(!isLate && budgetOf(policy, spent)),
        row,
      })
      isRetried = row.status === 'failed' && isRetryable(row) && !isLate
    } else if (row.status === 'stuck') {
      stuck = { at, row }
      isRetried = false
    } else {
      if (row.status === 'decision') {
        endWait(at)
        spent = 0
      }
      add({ kind: momentKinds[row.status] ?? 'verified', from: at, to: at, row })
      isRetried = false
    }
    if (!isAside(row)) sagaAt = at
  }

  if (status === 'stuck' && stuck) {
    add({ kind: 'person', from: stuck.at, to: Math.max(now, stuck.at), isLive: true, row: stuck.row })
  }
  const lane: Lane = { id, step, isBack, bars }
  if (status !== 'running' && !(status === 'pending' && isRetried)) return lane
  // What begins next has no row yet. Once the tries are used up it is not this one, unless it is tried for ever.
  const isEndless = isRetried && spent >= policy.attempts
  if (isEndless && (isBack || now - laneAt < TURNED_MS)) return lane
  const dueAt = isRetried ? laneAt + delayMs(isEndless ? retriablePolicy : policy, spent) : Math.max(sagaAt, laneAt)
  if (isRetried) pauseUntil(Math.min(dueAt, now))
  const next = { n: spent + 1, ...(!isEndless && { of: policy.attempts }) }
  if (now < dueAt) return { ...lane, next: { ...next, dueAt } }
  add({
    id: `live-${id}`,
    kind: 'running',
    from: dueAt,
    to: now,
    isAbout: true,
    isLive: true,
    ...budgetOf(policy, spent + 1),
  })
  return lane
}

const momentKinds: Record<string, BarKind> = {
  decision: 'decision',
  skipped: 'left',
  verified: 'verified',
  residue: 'residue',
  success: 'applied',
}

function kindOf({ status, message }: LogRow, isBack: boolean): BarKind {
  if (status === 'success') return isBack ? 'undone' : 'applied'
  if (status === 'skipped') return 'empty'
  return message.startsWith('Rejected:') ? 'rejected' : 'unknown'
}

/** Behind the point of no return there is no limit, and the number alone is said. */
const budgetOf = ({ attempts }: CallPolicy, n: number) => (n <= attempts ? { budget: { n, of: attempts } } : {})

const isRetryable = ({ message }: LogRow): boolean => !/^(Rejected|LateInvoke|InvalidResult|Cancelled):/.test(message)

/** Added once the saga was over, or beside what it was doing: it says nothing of when the next thing began. */
const isAside = (row: LogRow): boolean => isKilled(row) || row.message.endsWith(LATE)

const isKilled = ({ attempt, message }: LogRow): boolean => attempt === null && message.endsWith(ADDED)

function timeoutOf(rows: LogRow[]): number {
  const told = rows.map(({ message }) => Number(/no answer within (\d+) ms/.exec(message)?.[1])).filter(Boolean)
  return told.length > 0 ? Math.max(...told) : STEP_TIMEOUT_MS
}

/**
 * It began no sooner than what was written last before it was lost. Where it is not told when that was, it was in the
 * longest time in which nothing of its step ended.
 */
function insertKilled(
  bars: Bar[],
  {
    id,
    row,
    rows,
    from,
    lostAt,
  }: { id: string; row: LogRow; rows: LogRow[]; from: number; lostAt: number | undefined },
) {
  const known = bars.filter(({ kind }) => kind !== 'pause')
  const gaps = known.map((bar, i) => ({ from: known[i - 1]?.to ?? from, to: bar.from }))
  const widest = gaps.toSorted((a, b) => b.to - b.from - (a.to - a.from))[0]
  const end = lostAt ?? widest?.to ?? Date.parse(row.createdAt)
  const written = rows.filter((one) => !isAside(one)).map(({ createdAt }) => Date.parse(createdAt))
  const ends = [...known.map(({ to }) => to), ...written].filter((at) => at < end)
  const begins = Math.max(from, ...ends)
  const to = Math.max(begins + 1, end)
  const bar: Bar = {
    id: `killed-${row.id}`,
    lane: id,
    kind: 'killed',
    from: begins,
    to,
    isAbout: true,
    isLive: false,
    row,
  }
  // What was taken for a pause was this.
  const rest = bars.filter(({ kind, from }) => kind !== 'pause' || from < begins || from >= to)
  bars.splice(0, bars.length, ...rest, bar)
  bars.sort((a, b) => a.from - b.from)
}

/** Where a moment is on the line, what was folded, and where to write the time. */
export interface Scale {
  width: number
  x: (at: number) => number
  folds: { x: number; width: number; ms: number }[]
  ticks: { x: number; ms: number }[]
}

const MIN_BAR = 16
const MIN_IDLE = 3
/** Folded time has room for its mark, and no more. */
const FOLDED = { min: 48, max: 76 }
/** Where there are many, the short ones do without a mark. */
const MANY_FOLDS = 20
const UNMARKED = 20
const MARKED_FROM_MS = 60_000
const FOLD_FROM_MS = 2_000
const TICK_GAP = 72
/** What the words at a tick take. */
const TICK_WORDS = 52

/**
 * Time runs evenly but for two things: no bar is too narrow to be seen, and times of more than two seconds in which nothing
 * is under way are folded, to the room that their mark needs, where they would take more or less. What does not fit into `room` makes the line longer.
 */
export function scaleOf({ lanes, marks, from, to }: Timeline, room: number): Scale {
  const bars = lanes.flatMap((lane) => lane.bars)
  const active = bars.filter(({ kind }) => kind !== 'pause' && kind !== 'person')
  const cuts = [...new Set([from, to, ...bars.flatMap((bar) => [bar.from, bar.to]), ...marks.map(({ at }) => at)])]
    .filter((at) => at >= from && at <= to)
    .toSorted((a, b) => a - b)
  const busy = busySpans(cuts, active)
  const gaps = cuts.slice(1).map((end, i) => {
    const ms = end - (cuts[i] ?? from)
    return { ms, isBusy: busy[i] === true, isFoldable: busy[i] !== true && ms >= FOLD_FROM_MS }
  })
  const isCrowded = gaps.filter(({ isFoldable }) => isFoldable).length > MANY_FOLDS
  const foldedTo = (ms: number) => (isCrowded && ms < MARKED_FROM_MS ? { min: UNMARKED, max: UNMARKED } : FOLDED)
  const spans = gaps.map(({ ms, isBusy, isFoldable }) => ({
    ms,
    isFoldable,
    ...(isFoldable ? foldedTo(ms) : { min: isBusy ? MIN_BAR : MIN_IDLE, max: Infinity }),
  }))
  const widthAt = (k: number) => spans.map(({ ms, min, max }) => Math.min(max, Math.max(min, k * ms)))
  const k = fitting((k) => widthAt(k).reduce((sum, width) => sum + width, 0), room)
  const widths = widthAt(k)
  const lefts = [0]
  for (const width of widths) lefts.push((lefts.at(-1) ?? 0) + width)
  const x = (at: number) => {
    const i = Math.min(spans.length - 1, Math.max(0, upper(cuts, at) - 1))
    const [cut = from, span] = [cuts[i], spans[i]]
    const part = span ? Math.min(1, Math.max(0, (at - cut) / span.ms)) : 0
    return (lefts[i] ?? 0) + part * (widths[i] ?? 0)
  }
  const isFolded = (i: number) => {
    const span = spans[i]
    return span?.isFoldable === true && Math.abs((widths[i] ?? 0) - k * span.ms) > 1
  }
  const folds = spans.flatMap(({ ms }, i) => (isFolded(i) ? [{ x: lefts[i] ?? 0, width: widths[i] ?? 0, ms }] : []))
  return { width: lefts.at(-1) ?? 0, x, folds, ticks: ticksOf({ cuts, widths, lefts, isFolded, k }) }
}

/** Which spans between two cuts have something under way. */
function busySpans(cuts: number[], active: Bar[]): boolean[] {
  const index = new Map(cuts.map((at, i) => [at, i]))
  const changes = Array.from({ length: cuts.length }, () => 0)
  for (const { from, to } of active) {
    const [i, j] = [index.get(from), index.get(to)]
    if (i === undefined || j === undefined) continue
    changes[i] = (changes[i] ?? 0) + 1
    changes[j] = (changes[j] ?? 0) - 1
  }
  let open = 0
  return changes.map((change) => (open += change) > 0)
}

/** Pixels a millisecond with which all of it just fits. */
function fitting(widthAt: (k: number) => number, room: number): number {
  let [low, high] = [0, 20]
  for (let i = 0; i < 50; i++) {
    const middle = (low + high) / 2
    if (widthAt(middle) <= room) low = middle
    else high = middle
  }
  return low
}

interface Laid {
  cuts: number[]
  widths: number[]
  lefts: number[]
  isFolded: (i: number) => boolean
  k: number
}

/** Round times since the start as far as there is room, and one behind every fold. */
function ticksOf({ cuts, widths, lefts, isFolded, k }: Laid): { x: number; ms: number }[] {
  const [start = 0] = cuts
  const step = roundUp(TICK_GAP / Math.max(k, 1e-9))
  const ticks = [{ x: 0, ms: 0 }]
  const width = lefts.at(-1) ?? 0
  const add = (x: number, ms: number) => {
    if (x - (ticks.at(-1)?.x ?? 0) >= TICK_GAP && x <= width - TICK_WORDS) ticks.push({ x, ms })
  }
  for (let i = 0; i < widths.length; i++) {
    const [from, to] = [(cuts[i] ?? 0) - start, (cuts[i + 1] ?? 0) - start]
    const [left, width] = [lefts[i] ?? 0, widths[i] ?? 0]
    if (isFolded(i)) {
      add(left + width, to)
      continue
    }
    for (let at = Math.floor(from / step) * step + step; at < to; at += step) {
      add(left + ((at - from) / (to - from)) * width, at)
    }
  }
  return ticks
}

/** 1, 2 or 5 and noughts. */
function roundUp(ms: number): number {
  const base = 10 ** Math.floor(Math.log10(Math.max(ms, 1)))
  return base * ([1, 2, 5].find((n) => n * base >= ms) ?? 10)
}

/** How many of `sorted` are not above `at`. */
function upper(sorted: number[], at: number): number {
  let [low, high] = [0, sorted.length]
  while (low < high) {
    const middle = (low + high) >> 1
    if ((sorted[middle] ?? 0) <= at) low = middle + 1
    else high = middle
  }
  return low
}

import { useEffect, useMemo, useRef, useState, useSyncExternalStore } from 'react'
import uPlot from 'uplot'
import { clock } from '../figures'
import 'uplot/dist/uPlot.min.css'

/** What a chart shows of points that follow one another in time. */
export interface Chart<Point> {
  lines: Line<Point>[]
  /** Lines have a dot at every value but 0; an area goes in steps. */
  look?: 'lines' | 'bars' | 'area'
  format: (value: number) => string
  /** Between the figures on the axis, where not every fraction makes sense. */
  steps?: number[]
  /** The figures themselves, as on a scale where each is many times the one before: it is logarithmic then. */
  figures?: number[]
}

export interface Line<Point> {
  label: string
  /** A colour of theme.css, such as "--good". */
  tone: string
  /** Null where there is none. */
  of: (point: Point) => number | null
  isDashed?: boolean
}

export interface TimeChartProps<Point> {
  /** Made once: a new one is drawn anew. */
  chart: Chart<Point>
  /** Each with the moment that it begins at, all of one width. */
  points: Point[]
  widthS: number
  /** The point that a line is drawn at. */
  index: number | undefined
  /** Told of the point that the mouse is over. */
  onHover: (index: number | undefined) => void
}

const HEIGHT = 168

/** One small chart over time, in the colours of the page. It says nothing to a screen reader: the page does, beside it. */
export default function TimeChart<Point extends { at: string }>(props: TimeChartProps<Point>) {
  // A canvas does not change its colours by itself: it is made anew.
  const isDark = useSyncExternalStore(onSchemeChange, () => scheme.matches)
  return <Plot key={String(isDark)} {...props} />
}

function Plot<Point extends { at: string }>({ chart, points, widthS, index, onHover }: TimeChartProps<Point>) {
  const box = useRef<HTMLDivElement>(null)
  const [plot, setPlot] = useState<uPlot>()
  const data = useMemo<uPlot.AlignedData>(
    () => [
      // Each value stands in the middle of its point.
      points.map(({ at }) => Date.parse(at) / 1_000 + widthS / 2),
      ...chart.lines.map(({ of }) => points.map(of)),
    ],
    [chart, points, widthS],
  )

  useEffect(() => {
    const parent = box.current
    if (!parent) return undefined
    const made = new uPlot(options(chart, parent, onHover), undefined, parent)
    setPlot(made)
    const resized = new ResizeObserver(() => {
      if (parent.clientWidth > 0) made.setSize({ width: parent.clientWidth, height: HEIGHT })
    })
    resized.observe(parent)
    return () => {
      resized.disconnect()
      made.destroy()
    }
  }, [chart, onHover])

  useEffect(() => plot?.setData(data), [plot, data])

  useEffect(() => {
    const x = index === undefined ? undefined : data[0][index]
    // Without telling of it: it is known.
    plot?.setCursor({ left: x === undefined ? -10 : plot.valToPos(x, 'x'), top: 0 }, false)
  }, [plot, data, index])

  return <div ref={box} className="chart" aria-hidden="true" />
}

const scheme = matchMedia('(prefers-color-scheme: dark)')

function onSchemeChange(listener: () => void): () => void {
  scheme.addEventListener('change', listener)
  return () => scheme.removeEventListener('change', listener)
}

function options<Point>(
  { lines, look, format, steps, figures }: Chart<Point>,
  parent: HTMLElement,
  onHover: (index: number | undefined) => void,
): uPlot.Options {
  const axis = {
    stroke: colourOf(parent, 'var(--muted)'),
    font: `12px ${getComputedStyle(parent).fontFamily}`,
    ticks: { show: false },
    gap: 6,
  }
  return {
    width: parent.clientWidth,
    height: HEIGHT,
    padding: [10, 20, 0, 0],
    legend: { show: false },
    cursor: { y: false, drag: { x: false, y: false }, points: { size: 7 } },
    scales: {
      x: { range: ({ data }) => edges(data[0]) },
      y: figures
        ? { distr: 3, range: (_plot, low, high) => around(low, high, figures) }
        : // From 0, and never flat, whatever the values.
          { range: (_plot, _low, high) => [0, (high > 0 && uPlot.rangeNum(0, high, 0.1, true)[1]) || 1] },
    },
    axes: [
      {
        ...axis,
        size: 26,
        space: 64,
        grid: { show: false },
        values: (_plot, splits) => splits.map((s) => clock.format(s * 1_000)),
      },
      {
        ...axis,
        grid: { stroke: colourOf(parent, 'var(--line)'), width: 1 },
        size: 58,
        space: 32,
        ...(steps && { incrs: steps }),
        ...(figures && {
          splits: (_plot, _axis, low, high) => figures.filter((one) => low <= one && one <= high),
          filter: (_plot, splits) => splits,
        }),
        values: (_plot, splits) => splits.map(format),
      },
    ],
    series: [{}, ...lines.map((line) => toSeries(line, look, (colour) => colourOf(parent, colour)))],
    hooks: {
      drawClear: [(plot) => shadeLast(plot, colourOf(parent, 'var(--sunk)'))],
      setCursor: [({ cursor: { left = -1, idx } }) => onHover(left >= 0 ? (idx ?? undefined) : undefined)],
    },
  }
}

function toSeries<Point>(
  { label, tone, isDashed }: Line<Point>,
  look: Chart<Point>['look'],
  inScheme: (colour: string) => string,
): uPlot.Series {
  const colour = inScheme(`var(${tone})`)
  if (look === 'bars') {
    const paths = uPlot.paths.bars?.({ size: [1, Infinity], gap: 1 })
    return { label, fill: colour, points: { show: false }, ...(paths && { paths }) }
  }
  const line = { label, stroke: colour, width: 1.75, ...(isDashed && { dash: [5, 4] }) }
  if (look === 'area') {
    const paths = uPlot.paths.stepped?.({ align: 1 })
    return {
      ...line,
      fill: inScheme(`color-mix(in srgb, var(${tone}) 22%, transparent)`),
      points: { show: false },
      ...(paths && { paths }),
    }
  }
  // A dot where something happened, and none along the foot.
  const filter: uPlot.Series.Points.Filter = (plot, series) =>
    [...(plot.data[series] ?? [])].flatMap((value, i) => (value ? [i] : []))
  return { ...line, points: { show: true, size: 3.5, fill: colour, width: 0, filter } }
}

/** The figures next to what is to be shown: there is always one at the foot, and one at the head. */
function around(low: number | null, high: number | null, figures: number[]): [number, number] {
  const [least = 1, next = 10] = figures
  const from = figures.findLast((one) => one <= (low ?? least)) ?? least
  return [from, figures.find((one) => one >= (high ?? next) && one > from) ?? high ?? next]
}

/** What a colour of the page is in this scheme. */
function colourOf(element: HTMLElement, colour: string): string {
  element.style.color = colour
  const { color } = getComputedStyle(element)
  element.style.color = ''
  return color
}

/** The last point is still under way. */
function shadeLast(plot: uPlot, colour: string): void {
  const { ctx, bbox, data } = plot
  const [from, to] = edges(data[0].slice(-2))
  const left = plot.valToPos((from + to) / 2, 'x', true)
  ctx.fillStyle = colour
  ctx.fillRect(left, bbox.top, bbox.left + bbox.width - left, bbox.height)
}

/** From where the first point begins to where the last one ends. */
function edges(x: ArrayLike<number>): [number, number] {
  const [first = 0, second = first + 1] = Array.from(x)
  const half = (second - first) / 2
  return [first - half, (x[x.length - 1] ?? first) + half]
}

import {
  CONTENDERS,
  ratioOf,
  spreadOf,
  type ContenderName,
  type Measure,
  type Results,
  type Spread,
} from './results.js'

const HEAD = [
  'sagas/s',
  '× sample',
  '× limit',
  'median ms',
  '95 %',
  '99 %',
  'CPU ms',
  'worker',
  'Temporal',
  'PostgreSQL',
]
const TAIL = ['MB', 'events', 'ack. ms']

/**
 * A block a case, a line a contender: throughput and median latency as median (lowest–highest) of the rounds, the others as
 * median, and the throughput's ratio to that of the sample and of the limit where those have run the same case.
 */
export function toTable(results: Results): string {
  const blocks = Object.entries(results).map(([name, contenders]) =>
    [
      line(name, [...HEAD, ...TAIL]),
      ...keys(contenders).map((who) => line(`  ${who}`, cellsOf(results, name, who))),
    ].join('\n'),
  )
  const legend = keys(CONTENDERS).map((who) => `  ${who.padEnd(9)}${CONTENDERS[who]}`)
  return [...blocks, ['Medians of the rounds, with the lowest and the highest.', ...legend].join('\n')].join('\n\n')
}

function cellsOf(results: Results, name: string, who: ContenderName): string[] {
  const of = (measure: Measure) => spreadOf(results, name, who, measure)
  const rate = of('throughput')
  const times = (other: ContenderName) => {
    const ratio = who === other ? undefined : ratioOf(rate, spreadOf(results, name, other, 'throughput'))
    return ratio === undefined ? '' : figure(ratio)
  }
  const medians = (measures: Measure[]) => measures.map((measure) => figure(of(measure)?.median))
  return [
    ...[range(rate), times('sample'), times('limit'), range(of('p50'))],
    ...medians(['p95', 'p99', 'cpu', 'workerCpu', 'temporalCpu', 'postgresCpu', 'rss', 'events', 'ack']),
  ]
}

const WIDE = new Set([0, 3])
const line = (name: string, cells: string[]) =>
  name.padEnd(50) + cells.map((cell, i) => cell.padStart(WIDE.has(i) ? 24 : 11)).join('')

const range = (spread: Spread | undefined) =>
  spread ? `${figure(spread.median)} (${figure(spread.min)}–${figure(spread.max)})` : ''

/** Three digits, two below 1, or what stands before the point. */
export function figure(value: number | undefined): string {
  if (value === undefined || Number.isNaN(value)) return ''
  if (value >= 100) return value.toLocaleString('en-US', { maximumFractionDigits: 0 })
  return value < 1 ? value.toPrecision(2) : value.toPrecision(3)
}

const keys = <K extends string>(record: Partial<Record<K, unknown>>) => Object.keys(record) as K[]

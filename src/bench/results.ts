/** What is measured: its name with its unit. */
export const MEASURES = {
  throughput: 'sagas/s',
  acknowledged: 'sagas/s from the acknowledgement on',
  p50: 'ms, median latency',
  p95: 'ms, latency, 95 %',
  p99: 'ms, latency, 99 %',
  ack: 'ms to the acknowledgement',
  cpu: 'ms CPU a saga, all of it',
  workerCpu: 'ms CPU a saga, worker + API',
  temporalCpu: 'ms CPU a saga, Temporal',
  postgresCpu: 'ms CPU a saga, PostgreSQL',
  rss: 'MB of memory, worker + API, at most',
  events: 'events of history a saga',
  bytes: 'bytes of history a saga',
} as const

export type Measure = keyof typeof MEASURES

/** Not every contender has every figure: the limit has no history, a bulk no latency. */
export type Measured = Partial<Record<Measure, number>>

/** Who is measured, with what it is. */
export const CONTENDERS = {
  single: 'one workflow a saga (SAGA_GROUPING=off)',
  grouped: 'sagas that come at the same time share a run (SAGA_GROUPING=auto)',
  bulk: 'POST /saga/bulk, NDJSON',
  plain: 'POST /saga/bulk, by participants without invokeMany',
  sample: "the saga in the style of Temporal's sample",
  limit: "the participants' and the log's statements alone, nothing durable",
  bare: 'empty workflows with as many local activities',
} as const

export type ContenderName = keyof typeof CONTENDERS

/** By case and contender, the figures of each round. */
export type Results = Record<string, Partial<Record<ContenderName, Measured[]>>>

/** How much is measured. */
export interface Plan {
  rounds: number
  /** With 64 in flight, of a contender that is neither slow nor fast. */
  sagas: number
  inFlight: number[]
  /** Sizes of happy bulks; the API takes at most 10,000 in a call, so that more are several calls at once. */
  bulks: number[]
  /** The bulk for everything else. */
  bulk: number
  logRows: number
  /** Sagas one at a time beside nothing, for those beside a bulk. */
  alone: number
}

/** What it was measured on. */
export interface Machine {
  cores: number
  memoryGb: number
  node: string
  postgres: string
  temporal: string
  sdk: string
}

export interface Report {
  plan: Plan
  machine: Machine
  results: Results
}

/** How a saga goes. */
export const KINDS = { happy: 'happy', refused: 'C refuses', demo: "the demo's failures" } as const
export type Kind = keyof typeof KINDS

/** Of a bulk every third saga is refused: one of which most fail pauses. */
export const REFUSED_OF_BULK = 3

export const loadCase = (kind: Kind, inFlight: number): string =>
  `${KINDS[kind]}, ${inFlight === 1 ? 'one at a time' : `${inFlight} in flight`}`

export const bulkCase = (kind: Kind, sagas: number): string =>
  `${KINDS[kind]}${kind === 'refused' ? ' every third' : ''}, bulk of ${number(sagas)}`

export const logCase = (sagas: number, logRows: number): string =>
  `${bulkCase('happy', sagas)}, behind ${number(logRows)} log rows`

export const besideCase = (bulk: number): string => `${loadCase('happy', 1)}, beside a bulk of ${number(bulk)}`
export const IDLE_CASE = `${loadCase('happy', 1)}, beside nothing`

export const number = (value: number): string => value.toLocaleString('en-US')

export const median = (values: number[]): number => {
  const sorted = values.toSorted((a, b) => a - b)
  const middle = sorted.length / 2
  return ((sorted[Math.ceil(middle) - 1] ?? NaN) + (sorted[Math.floor(middle)] ?? NaN)) / 2
}

/** Median, lowest and highest of the rounds. */
export interface Spread {
  median: number
  min: number
  max: number
}

/** Undefined where it was not measured. */
export function spreadOf(results: Results, name: string, who: ContenderName, of: Measure): Spread | undefined {
  const values = (results[name]?.[who] ?? []).flatMap((one) => one[of] ?? [])
  if (values.length === 0) return undefined
  return { median: median(values), min: Math.min(...values), max: Math.max(...values) }
}

/** What a figure is to another, by the medians of the rounds; undefined where one of them was not measured. */
export function ratioOf(a: Spread | undefined, b: Spread | undefined): number | undefined {
  return a && b && a.median / b.median
}

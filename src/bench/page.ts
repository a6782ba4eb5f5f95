import { headlinesOf } from './headlines.js'
import {
  besideCase,
  bulkCase,
  CONTENDERS,
  IDLE_CASE,
  KINDS,
  loadCase,
  logCase,
  ratioOf,
  spreadOf,
  type ContenderName,
  type Kind,
  type Measure,
  type Report,
  type Results,
} from './results.js'
import { figure } from './table.js'

/** docs/performance.md: how it was measured, and what came out. */
export function toPage(report: Report): string {
  const { results } = report
  const kinds = Object.keys(KINDS) as Kind[]
  return `# How fast it is

Made by \`npm run bench -- --docs\`; do not edit it, but run that again.

${methodOf(report)}

## In short

Ratios of medians of the rounds.

${tableOf(
  ['', ''],
  headlinesOf(report).map(({ what, value }) => [what, value]),
)}

![Sagas a second: by sagas in flight, and in a bulk](images/performance.svg)

## Single sagas: POST /saga

Throughput and median latency are medians of the rounds, with the lowest and the highest. CPU is that of worker and API, Temporal
and PostgreSQL together, and the caller's is not in it.

${kinds.map((kind) => `### ${headOf(kind)}\n\n${loadTable(report, kind)}`).join('\n\n')}

## Bulks: POST /saga/bulk

From the call until the last of its sagas has ended; \`acknowledged\` is when the call was answered, with all of them written down.
One call takes 10,000 sagas at most: what is more is several at once. A third of the sagas is refused and not all, for a bulk of
which most fail pauses.

${bulkTable(report)}

Single sagas meanwhile, one at a time:

${tableOf(
  ['', 'median ms', '95 %', '99 %'],
  [IDLE_CASE, besideCase(report.plan.bulk)].map((name) => [
    name,
    range(results, name, 'single', 'p50'),
    ...(['p95', 'p99'] as const).map((of) => middle(results, name, 'single', of)),
  ]),
)}

Where nothing was before, and behind a long log:

${tableOf(
  ['', 'sagas/s', 'CPU ms a saga', 'of it PostgreSQL'],
  [0, report.plan.logRows].map((rows) => {
    const name = logCase(report.plan.bulk, rows)
    return [
      name,
      range(results, name, 'bulk', 'throughput'),
      ...(['cpu', 'postgresCpu'] as const).map((of) => middle(results, name, 'bulk', of)),
    ]
  }),
)}

${HISTORY}
`
}

function methodOf({ plan, machine }: Report): string {
  const { cores, memoryGb, node, postgres, temporal, sdk } = machine
  return `Measured on ${cores} cores with ${memoryGb} GB of memory: Node ${node}, PostgreSQL ${postgres}, Temporal
${temporal} (the dev server that \`npm start\` brings along, with its settings), Temporal's TypeScript SDK ${sdk}. Servers, programs and
the caller share the machine. What is compared was measured in one run, side by side.

${tableOf(
  ['', 'what it is'],
  (Object.keys(CONTENDERS) as ContenderName[])
    .filter((who) => who !== 'bare')
    .map((who) => [`\`${who}\``, CONTENDERS[who]]),
)}

All have the same PostgreSQL and the same Temporal, each a database and a namespace of its own, and no other work while one is
measured. \`sample\` is [src/bench/sample-workflow.ts](../src/bench/sample-workflow.ts): regular activities, each undo put on a list once
its action has succeeded; the statements of the services, with no barrier, no log and no row for the saga. \`limit\` is
[src/bench/limit.ts](../src/bench/limit.ts): for each saga a transaction with the log's first row, one for each service with its
statement, its barrier and the log's row, one with the log's last row, by 16 connections; for a refused C the refusal kept and two
compensations. A crash leaves its sagas where they are.

Rounds of each case: ${plan.rounds}, in alternating order: what is left of one slows the next. Happy sagas make one row in each of three
tables; in \`C refuses\` the last step is refused, by a rule of its business, and A and B are undone; \`the demo's failures\` are those that
\`npm start\` has in force (every second call of A fails before its transaction, every second of B after its commit), with their
retries half a second and a second later. Of every saga the end, the rows and the log's first and last row are checked; one
that is wrong fails the run.`
}

const headOf = (kind: Kind) => KINDS[kind].replace(/^./, (first) => first.toUpperCase())

function loadTable({ plan, results }: Report, kind: Kind): string {
  const rows = plan.inFlight.flatMap((inFlight) => {
    const name = loadCase(kind, inFlight)
    return (['single', 'grouped', 'sample', 'limit'] as const)
      .filter((who) => results[name]?.[who])
      .map((who) => [
        String(inFlight),
        `\`${who}\``,
        range(results, name, who, 'throughput'),
        ...timesOf(results, name, who, kind === 'demo' ? ['single'] : ['sample', 'limit']),
        range(results, name, who, 'p50'),
        ...(['p95', 'p99', 'cpu', 'events'] as const).map((of) => middle(results, name, who, of)),
      ])
  })
  const times = kind === 'demo' ? ['× single'] : ['× sample', '× limit']
  return tableOf(
    ['in flight', '', 'sagas/s', ...times, 'median ms', '95 %', '99 %', 'CPU ms a saga', 'events a saga'],
    rows,
  )
}

function bulkTable({ plan, results }: Report): string {
  const names = [
    ...plan.bulks.map((size) => bulkCase('happy', size)),
    bulkCase('refused', plan.bulk),
    bulkCase('demo', plan.bulk),
  ]
  const rows = names.flatMap((name) =>
    (['bulk', 'plain', 'limit'] as const)
      .filter((who) => results[name]?.[who])
      .map((who) => [
        name,
        `\`${who}\``,
        range(results, name, who, 'throughput'),
        ...timesOf(results, name, who, ['limit']),
        ...(['ack', 'cpu', 'rss', 'events'] as const).map((of) => middle(results, name, who, of)),
      ]),
  )
  return tableOf(
    ['', '', 'sagas/s', '× limit', 'acknowledged ms', 'CPU ms a saga', 'MB at most', 'events a saga'],
    rows,
  )
}

function timesOf(results: Results, name: string, who: ContenderName, others: ContenderName[]): string[] {
  const rate = (one: ContenderName) => spreadOf(results, name, one, 'throughput')
  return others.map((other) => (other === who ? '' : figure(ratioOf(rate(who), rate(other)))))
}

const middle = (results: Results, name: string, who: ContenderName, of: Measure) =>
  figure(spreadOf(results, name, who, of)?.median)

function range(results: Results, name: string, who: ContenderName, of: Measure): string {
  const spread = spreadOf(results, name, who, of)
  return spread ? `${figure(spread.median)} (${figure(spread.min)}–${figure(spread.max)})` : ''
}

function tableOf(head: string[], rows: string[][]): string {
  return [head, head.map((title, i) => (i === 0 || title === '' ? '---' : '--:')), ...rows]
    .map((cells) => `| ${cells.join(' | ')} |`)
    .join('\n')
}

const HISTORY = `## What a shared run does not show

A saga with a workflow of its own has a history of its own in Temporal: a start, an end, a marker for each call, its failure when it
is rolled back. Sagas that share a run, by \`SAGA_GROUPING=auto\` or in a bulk, have instead:

- no workflow under their saga id: \`temporal workflow describe\` finds none, and the Web UI lists the run that carries them
  (\`links.temporal\` leads there; of a bulk it is \`saga-bulk-<bulkId>\`, whose children, its lanes, make the calls). One that leaves
  its run, for it got stuck or takes much longer than the others, has its own from then on.
- no events of their own: one marker stands for a call of all that made it in the same turn, with what each was answered in it.
- no status of their own in Temporal: the run completes, also where sagas in it were compensated; no \`SagaCompensated\` failure
  closes a workflow.
- no times of their own in it: a call begins and ends for all at once.
- no query \`state\` or \`plan\`, update \`decide\` or cancellation by Temporal's own tools, which know only the run; the API has all of
  these for each saga.

What is kept for each saga as ever: its row, every row of its log with attempt, error and time, its barriers, its place in
\`GET /saga\`, its page, its events, its audit.`

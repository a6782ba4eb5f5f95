import { readFileSync, writeFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { bulks } from './bulk.js'
import { growth } from './growth.js'
import { load } from './load.js'
import { readMachine } from './machine.js'
import type { Plan, Report, Results } from './results.js'
import type { Part } from './rounds.js'
import { count, runBench, type BenchServers } from './servers.js'
import { toTable } from './table.js'

/**
 * `npm run bench`: this system beside the same saga in the style of Temporal's sample, and beside the limit, in alternating
 * rounds of one run, on one PostgreSQL and one Temporal with the settings of `npm start`. Every saga's rows are checked: a
 * wrong one fails the bench. Linux only, for CPU and memory are read from /proc.
 */
const { values } = parseArgs({
  options: {
    rounds: { type: 'string' },
    sagas: { type: 'string' },
    /** Everything once and small: to see that it works. */
    quick: { type: 'boolean', default: false },
    /** One of the parts alone. */
    only: { type: 'string' },
    /** Empty workflows as well. */
    bare: { type: 'boolean', default: false },
    /** Where every round's figures are written. */
    json: { type: 'string' },
    /** Figures that were written so, instead of new ones. */
    from: { type: 'string' },
    /** Writes docs/performance.md and its chart. */
    docs: { type: 'boolean', default: false },
  },
})

const PARTS: Record<string, Part> = { load, bulk: bulks, growth }

const full: Plan = {
  rounds: 3,
  sagas: 128,
  inFlight: [1, 16, 64, 256],
  bulks: [100, 1_000, 10_000, 20_000],
  bulk: 10_000,
  logRows: 1_000_000,
  alone: 40,
}
const quick: Plan = {
  ...{ rounds: 1, sagas: 4, inFlight: [1, 4], alone: 4 },
  ...{ bulks: [6, 30], bulk: 30, logRows: 100 },
}

function planOf(): Plan {
  const plan = values.quick ? quick : full
  return {
    ...plan,
    ...(values.rounds !== undefined && { rounds: count('rounds', values.rounds) }),
    ...(values.sagas !== undefined && { sagas: count('sagas', values.sagas) }),
  }
}

function partsOf(): [name: string, part: Part][] {
  const parts = Object.entries(PARTS).filter(([name]) => values.only === undefined || name === values.only)
  if (parts.length === 0) throw new Error(`--only has to be one of ${Object.keys(PARTS).join(', ')}`)
  return parts
}

const plan = planOf()
const parts = partsOf()

async function bench(servers: BenchServers): Promise<void> {
  const results: Results = {}
  for (const [part, measure] of parts) {
    const began = Date.now()
    await measure(
      servers,
      plan,
      (name, who, figures) => {
        const ofCase = (results[name] ??= {})
        ofCase[who] = [...(ofCase[who] ?? []), figures]
      },
      { withBare: values.bare },
    )
    servers.output.part(part, { ms: Date.now() - began, did: 'measured' })
  }
  await tell({ plan, machine: readMachine(servers), results })
}

async function tell(report: Report): Promise<void> {
  console.log(toTable(report.results))
  if (values.json !== undefined) writeFileSync(values.json, JSON.stringify(report, undefined, 2))
  if (!values.docs) return
  // Brought along for this alone: the chart's library is not there where only what runs was installed.
  const { writeDocs } = await import('./docs.js')
  writeDocs(report)
}

if (values.from !== undefined) await tell(JSON.parse(readFileSync(values.from, 'utf8')) as Report)
else process.exitCode = await runBench(bench)

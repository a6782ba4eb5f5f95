import { parseArgs } from 'node:util'
import { Client as Temporal, Connection } from '@temporalio/client'
import type { Client as Postgres } from 'pg'
import type { AppServer } from '../embedded/app-process.js'
import { MEASURES, measure, median, type Measured } from './measure.js'
import { count, runBench, type BenchServers } from './servers.js'

/**
 * `npm run bench`: this system beside the same saga in the style of Temporal's sample, in alternating rounds of one run, on
 * one PostgreSQL and one Temporal with the settings of `npm start`. Both are asked by `POST /saga`, which answers when the
 * saga has ended. Beside them, for what no engine can take away, workflows that do nothing. Every saga's rows are checked:
 * a wrong one fails the bench. Linux only, for CPU is read from /proc.
 */
const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '3' },
    /** With 64 in flight; one at a time a quarter of them. */
    sagas: { type: 'string', default: '256' },
    json: { type: 'boolean', default: false },
  },
})
const rounds = count('rounds', values.rounds)
const sagas = count('sagas', values.sagas)

interface Case {
  name: string
  /** C refuses, by a rule of its business, and A and B are undone. */
  refused: boolean
  inFlight: number
  sagas: number
}

const few = Math.ceil(sagas / 4)
const cases: Case[] = [
  { name: 'happy, 64 in flight', refused: false, inFlight: 64, sagas },
  { name: 'happy, one at a time', refused: false, inFlight: 1, sagas: few },
  { name: 'C refuses, 64 in flight', refused: true, inFlight: 64, sagas },
  { name: 'C refuses, one at a time', refused: true, inFlight: 1, sagas: few },
]

interface Contender {
  /** `bare`: one workflow a saga with as many local activities as ours has, which do nothing. */
  name: 'ours' | 'sample' | 'bare'
  server: AppServer
  /** Where a saga is started that is answered when it has ended. */
  path: string
  /** What makes C refuse. Ours is an injected refusal, kept by the barrier as a real one, with its call counted in PostgreSQL. */
  refusal: Record<string, unknown>
}

/** By case and contender, a figure of each round. */
type Results = Record<string, Record<Contender['name'], Measured[]>>

async function bench({ postgres, temporal, database, start, stops, output, signal }: BenchServers): Promise<void> {
  const refusal = { failures: { C: { mode: 'always', kind: 'reject' } } }
  const app = await start('ours', '../embedded/app.js')
  const sample = await start('sample', './sample.js')
  const contenders: Contender[] = [
    { name: 'ours', server: app, path: '/saga?wait=60', refusal },
    { name: 'sample', server: sample, path: '/saga', refusal: { refuse: true } },
    { name: 'bare', server: sample, path: '/bare', refusal: { refuse: true } },
  ]
  const connection = await Connection.connect({ address: temporal.address })
  stops.unshift(() => connection.close())
  await database.query(`UPDATE failure_injection SET failures = '{}'`)

  const batch = async (
    { name, server, path, refusal }: Contender,
    { refused, inFlight, sagas }: Case,
  ): Promise<Measured> => {
    signal.throwIfAborted()
    const expected = refused ? 'COMPENSATED' : 'COMPLETED'
    const body = { username: 'Jane Doe', address: '1 Long Street, Springfield', payment: '4111111111111111' }
    const one = () => askFor(server.url + path, { ...body, ...(refused && refusal) }, expected)
    const pids = { worker: server.pid, temporal: temporal.pid, postgres: postgres.pid }
    const { ids, ...figures } = await measure({ one, sagas, inFlight, pids, temporal: new Temporal({ connection }) })
    if (name !== 'bare') await checkRows(database, ids, { rows: refused ? 0 : 1 })
    return figures
  }
  const results: Results = Object.fromEntries(cases.map(({ name }) => [name, { ours: [], sample: [], bare: [] }]))
  await output.during('Warming up', async () => {
    for (const contender of contenders) for (const one of cases) await batch(contender, { ...one, sagas: few })
  })
  for (let round = 1; round <= rounds; round++) {
    await output.during(`Round ${round} of ${rounds}`, async () => {
      for (const one of cases) {
        // Each goes first in its turn: what is left of one batch slows the next.
        for (const contender of round % 2 === 1 ? contenders : contenders.toReversed()) {
          results[one.name]?.[contender.name].push(await batch(contender, one))
        }
      }
    })
  }
  console.log(values.json ? JSON.stringify({ rounds, sagas, results, ratios: ratiosOf(results) }) : toTable(results))
}

/** Starts one saga and waits for its end. Rejects where that is not the expected one. */
async function askFor(url: string, body: object, expected: string): Promise<string> {
  const answer = await fetch(url, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  })
  const { sagaId, status } = (await answer.json()) as { sagaId?: string; status?: unknown }
  if (answer.status !== 200 || status !== expected || sagaId === undefined) {
    throw new Error(`POST ${url} answered ${answer.status}: saga ${sagaId} is ${String(status)}, not ${expected}`)
  }
  return sagaId
}

/** Throws unless each of these sagas has so many rows in each of the three tables: 1 or 0. */
async function checkRows(database: Postgres, ids: string[], { rows: wanted }: { rows: 0 | 1 }): Promise<void> {
  for (const table of ['table_a', 'table_b', 'table_c']) {
    // At most one a saga, by the table's own unique index.
    const { rows } = await database.query(`SELECT count(*) AS n FROM ${table} WHERE saga_id = ANY ($1)`, [ids])
    const found = Number(rows[0].n)
    if (found !== wanted * ids.length) {
      throw new Error(`${table} has ${found} rows of ${ids.length} sagas, of which each has to have ${wanted}`)
    }
  }
}

const measures = Object.keys(MEASURES) as (keyof Measured)[]

/** Ours to the sample's, medians of the rounds. */
function ratiosOf(results: Results): Record<string, Measured> {
  return Object.fromEntries(
    Object.entries(results).map(([name, { ours, sample }]) => {
      const ratio = (of: keyof Measured) => median(ours.map((one) => one[of])) / median(sample.map((one) => one[of]))
      return [name, Object.fromEntries(measures.map((of) => [of, ratio(of)])) as Measured]
    }),
  )
}

/** A block a case: the median of the rounds, the lowest and the highest, and the ratio of the medians. */
function toTable(results: Results): string {
  const ratios = ratiosOf(results)
  const line = (...cells: string[]) =>
    cells.map((cell, i) => (i === 0 ? cell.padEnd(30) : cell.padStart(i === 3 ? 8 : 22))).join('')
  const figure = (value: number) => (value >= 100 ? value.toFixed(0) : value.toFixed(1))
  const range = (values: number[]) =>
    `${figure(median(values))} (${figure(Math.min(...values))}–${figure(Math.max(...values))})`
  return Object.entries(results)
    .flatMap(([name, { ours, sample, bare }]) => [
      line(name, 'this system', "Temporal's sample", 'ratio', 'empty workflows'),
      ...measures.map((of) =>
        line(
          `  ${MEASURES[of]}`,
          range(ours.map((one) => one[of])),
          range(sample.map((one) => one[of])),
          (ratios[name]?.[of] ?? NaN).toFixed(2),
          range(bare.map((one) => one[of])),
        ),
      ),
      '',
    ])
    .join('\n')
}

process.exitCode = await runBench(bench)

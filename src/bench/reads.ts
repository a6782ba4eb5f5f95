import { execFile } from 'node:child_process'
import { createRequire } from 'node:module'
import { parseArgs, promisify } from 'node:util'
import type { Client as Postgres } from 'pg'
import { median } from './measure.js'
import { count, runBench, type BenchServers } from './servers.js'

/**
 * `npm run bench:reads`: GET /saga/{id} and GET /logs beside a bare Fastify with the same statements, over a log of 100,000
 * rows, in alternating rounds of one run. Each is asked by autocannon over 20 connections.
 */
const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '5' },
    seconds: { type: 'string', default: '5' },
    rows: { type: 'string', default: '100000' },
  },
})
const rounds = count('rounds', values.rounds)
const seconds = count('seconds', values.seconds)
const rows = count('rows', values.rows)

const autocannon = createRequire(import.meta.url).resolve('autocannon/autocannon.js')

interface Figures {
  requests: number
  p99: number
}

async function bench({ database, start, output, signal }: BenchServers): Promise<void> {
  const sagaId = await output.during(`Writing ${rows} log rows`, () => fill(database, rows))
  const servers = {
    ours: await start('ours', '../embedded/app.js'),
    bare: await start('bare', './bare-reads.js'),
  }
  const paths = {
    'GET /saga/{id}': `/saga/${sagaId}`,
    'GET /logs': '/logs',
    'GET /logs of a saga': `/logs?saga=${sagaId}`,
  }
  const results = Object.fromEntries(
    Object.keys(paths).map((name) => [name, { ours: [], bare: [] }]),
  ) as unknown as Record<string, { ours: Figures[]; bare: Figures[] }>
  for (let round = 0; round <= rounds; round++) {
    await output.during(round === 0 ? 'Warming up' : `Round ${round} of ${rounds}`, async () => {
      for (const [name, path] of Object.entries(paths)) {
        for (const who of round % 2 === 1 ? (['ours', 'bare'] as const) : (['bare', 'ours'] as const)) {
          signal.throwIfAborted()
          const figures = await load(servers[who].url + path)
          if (round > 0) results[name]?.[who].push(figures)
        }
      }
    })
  }
  for (const [name, { ours, bare }] of Object.entries(results)) {
    const of = (all: Figures[], key: keyof Figures) => median(all.map((one) => one[key]))
    const requests = [of(ours, 'requests'), of(bare, 'requests')] as const
    const p99 = [of(ours, 'p99'), of(bare, 'p99')] as const
    console.log(
      `${name.padEnd(20)} ${requests.map((one) => one.toFixed(0)).join(' / ')} requests/s = ${(requests[0] / requests[1]).toFixed(2)}, ` +
        `p99 ${p99.join(' / ')} ms`,
    )
  }
}

/** One load of one address; throws where an answer is not 200. */
async function load(url: string): Promise<Figures> {
  const args = [autocannon, '-j', '-c', '20', '-d', String(seconds), url]
  const { stdout } = await promisify(execFile)(process.execPath, args)
  const { requests, latency, non2xx, errors } = JSON.parse(stdout) as {
    requests: { average: number }
    latency: { p99: number }
    non2xx: number
    errors: number
  }
  if (non2xx > 0 || errors > 0)
    throw new Error(`${url} answered ${non2xx} times other than 200, and ${errors} not at all`)
  return { requests: requests.average, p99: latency.p99 }
}

/** Completed sagas with five log rows each; the id of one of them. */
async function fill(database: Postgres, logRows: number): Promise<string> {
  const step = (name: string, service: string) => ({
    ...{ step: name, service, kind: 'compensatable', status: 'succeeded', outcome: 'applied', attempts: 1 },
    ...{ startedAt: '2026-01-01T00:00:00.000Z', endedAt: '2026-01-01T00:00:00.010Z' },
  })
  const steps = JSON.stringify([step('A', 'user'), step('B', 'address'), step('C', 'payment')])
  const view = JSON.stringify({ username: 'Jane Doe', address: '1 Long Street, Springfield', payment: '****1111' })
  await database.query(
    `INSERT INTO saga (saga_id, type, label, fate, status, view, input_hash, first_run_id, steps, ended_at)
     SELECT 'bench-' || n, 'createUserSaga', 'Jane Doe', 'completed', 'COMPLETED', $1, '', 'none', $2, now()
     FROM generate_series(1, $3 / 5) AS n`,
    [view, steps, logRows],
  )
  await database.query(
    `INSERT INTO saga_log (saga_id, service, status, message, attempt)
     SELECT 'bench-' || (1 + n / 5), (ARRAY['SAGA', 'A', 'B', 'C', 'SAGA'])[1 + n % 5],
            (ARRAY['started', 'success', 'success', 'success', 'completed'])[1 + n % 5], 'applied', NULL
     FROM generate_series(0, $1 - 1) AS n`,
    [logRows],
  )
  await database.query('ANALYZE')
  return 'bench-1'
}

process.exitCode = await runBench(bench)

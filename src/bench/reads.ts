import { execFile } from 'node:child_process'
import { createRequire } from 'node:module'
import { parseArgs, promisify } from 'node:util'
import { fill } from './fill.js'
import { median } from './results.js'
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

async function bench({ makeHome, start, output, signal }: BenchServers): Promise<void> {
  const home = await makeHome('reads')
  const sagaId = await output.during(`Writing ${rows} log rows`, () => fill(home.database, rows))
  const servers = {
    ours: await start(home, '../embedded/app.js'),
    bare: await start(home, './bare-reads.js'),
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

process.exitCode = await runBench(bench)

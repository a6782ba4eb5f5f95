import { parseArgs } from 'node:util'
import { performance } from 'node:perf_hooks'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Client } from 'pg'

/**
 * Load on a running `npm start`, and a check of every row that it leaves:
 *
 *   node test/load.js --sagas 500 --in-flight 16                    without failures
 *   node test/load.js --sagas 300 --in-flight 8 --demo              with the failures in force (the demo's)
 *   node test/load.js --sagas 200 --in-flight 16 --cancel-ms 60     each cancelled 0–60 ms after its start
 *
 * Kill what you like meanwhile: a call that gets no 202 is repeated under its Idempotency-Key. Ends with 1 where a saga did
 * not end as COMPLETED with a row in each table, or COMPENSATED with none.
 */
const { values } = parseArgs({
  options: {
    sagas: { type: 'string', default: '100' },
    'in-flight': { type: 'string', default: '8' },
    demo: { type: 'boolean', default: false },
    'cancel-ms': { type: 'string' },
    'data-dir': { type: 'string', default: process.env.DATA_DIR ?? '.data' },
  },
})
const total = Number(values.sagas)
const urls = JSON.parse(readFileSync(join(values['data-dir'], 'urls.json'), 'utf8'))
const run = `load-${process.pid}-${Date.now()}`
const latencies = []
const ids = []
const repeats = {}

/** Repeats a call until it is answered with one of `statuses`. */
async function call(path, init, statuses) {
  for (;;) {
    try {
      const response = await fetch(urls.api + path, { ...init, signal: AbortSignal.timeout(20_000) })
      const body = await response.json()
      if (statuses.includes(response.status)) return { status: response.status, body }
      repeats[response.status] = (repeats[response.status] ?? 0) + 1
    } catch {
      repeats.unanswered = (repeats.unanswered ?? 0) + 1
    }
    await sleep(300)
  }
}

const post = (body, headers = {}) => ({
  method: 'POST',
  headers: { 'content-type': 'application/json', ...headers },
  body: JSON.stringify(body),
})

async function oneSaga(i) {
  const begun = performance.now()
  const body = {
    username: `${run}-${i}`,
    address: 'somewhere',
    payment: '4111111111111111',
    ...(!values.demo && { failures: {} }),
  }
  const wait = values['cancel-ms'] === undefined ? '?wait=60' : ''
  const start = await call(`/saga${wait}`, post(body, { 'idempotency-key': `${run}-${i}` }), [200, 202])
  const { sagaId } = start.body
  ids.push(sagaId)
  if (values['cancel-ms'] !== undefined) {
    await sleep((i % 61) * (Number(values['cancel-ms']) / 60))
    await call(`/saga/${sagaId}/cancel`, post({ reason: 'load test' }), [202, 409])
  }
  for (;;) {
    const { body: saga } = await call(`/saga/${sagaId}`, {}, [200])
    if (saga.endedAt) break
    await sleep(100)
  }
  latencies.push(performance.now() - begun)
}

const begun = performance.now()
let next = 0
const lane = async () => {
  while (next < total) await oneSaga(next++)
}
await Promise.all(Array.from({ length: Number(values['in-flight']) }, lane))
const seconds = (performance.now() - begun) / 1_000

const client = new Client({ connectionString: urls.database })
await client.connect()
const { rows } = await client.query(
  `SELECT status, a, b, c, count(*)::int AS sagas FROM (
     SELECT s.status,
       (SELECT count(*) FROM table_a t WHERE t.saga_id = s.saga_id)::int AS a,
       (SELECT count(*) FROM table_b t WHERE t.saga_id = s.saga_id)::int AS b,
       (SELECT count(*) FROM table_c t WHERE t.saga_id = s.saga_id)::int AS c
     FROM saga s WHERE s.label LIKE $1 || '-%') x
   GROUP BY 1, 2, 3, 4`,
  [run],
)
await client.end()
console.table(rows)
latencies.sort((x, y) => x - y)
const at = (share) => Math.round(latencies[Math.min(latencies.length - 1, Math.floor(latencies.length * share))])
console.log(
  `${total} sagas, ${values['in-flight']} in flight: ${(total / seconds).toFixed(1)} /s; from POST to the end p50 ${at(0.5)}, p95 ${at(0.95)}, p99 ${at(0.99)} ms; calls repeated: ${JSON.stringify(repeats)}`,
)
const right = ({ status, a, b, c }) =>
  (status === 'COMPLETED' && a === 1 && b === 1 && c === 1) || (status === 'COMPENSATED' && a + b + c === 0)
const sagas = rows.reduce((sum, row) => sum + row.sagas, 0)
const isRight = sagas === total && new Set(ids).size === total && rows.every(right)
console.log(isRight ? 'Every saga ended right.' : 'NOT every saga ended right.')
process.exitCode = isRight ? 0 : 1

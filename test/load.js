import { parseArgs } from 'node:util'
import { spawnSync } from 'node:child_process'
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
 *   node test/load.js --sagas 3000 --in-flight 64 --refuse 5 --kills 3   C refuses every fifth; the worker, Temporal and
 *                                                                   PostgreSQL are killed -9 three times each meanwhile
 *   node test/load.js --sagas 5000 --bulk --refuse 5 --kills 3      the same by one call of POST /saga/bulk
 *
 * Kill what you like meanwhile: a call that gets no 202 is repeated under its Idempotency-Key. Ends with 1 where a saga did
 * not end as COMPLETED with a row in each table, or COMPENSATED with none, or where `npm run audit` finds something.
 */
const { values } = parseArgs({
  options: {
    sagas: { type: 'string', default: '100' },
    'in-flight': { type: 'string', default: '8' },
    demo: { type: 'boolean', default: false },
    'cancel-ms': { type: 'string' },
    bulk: { type: 'boolean', default: false },
    refuse: { type: 'string' },
    kills: { type: 'string', default: '0' },
    'data-dir': { type: 'string', default: process.env.DATA_DIR ?? '.data' },
  },
})
const total = Number(values.sagas)
const urls = JSON.parse(readFileSync(join(values['data-dir'], 'urls.json'), 'utf8'))
const run = `load-${process.pid}-${Date.now()}`
const latencies = []
const ids = []
const repeats = {}
const ended = { sagas: 0 }

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
  body: typeof body === 'string' ? body : JSON.stringify(body),
})

const isRefused = (i) => values.refuse !== undefined && i % Number(values.refuse) === 0
const requestOf = (i) => ({
  username: `${run}-${i}`,
  address: 'somewhere',
  payment: '4111111111111111',
  ...(!values.demo && { failures: isRefused(i) ? { C: { mode: 'always', kind: 'reject' } } : {} }),
})

async function oneSaga(i) {
  const begun = performance.now()
  const body = requestOf(i)
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

async function bulk() {
  const begun = performance.now()
  const lines = Array.from({ length: total }, (_, i) => JSON.stringify(requestOf(i))).join('\n')
  const headers = { 'content-type': 'application/x-ndjson', 'idempotency-key': run }
  const { body } = await call('/saga/bulk', post(lines, headers), [202])
  console.log(`${body.accepted} sagas acknowledged in ${Math.round(performance.now() - begun)} ms`)
  for (;;) {
    const { body: now } = await call(body.links.self, {}, [200])
    ended.sagas = total - now.running
    if (now.status === 'ENDED') break
    await sleep(100)
  }
  latencies.push(performance.now() - begun)
}

const killed = { app: 0, temporal: 0, postgres: 0 }

/** Kills each part of `npm start` in turn, spread over the sagas; the supervisor starts it again. */
async function kill() {
  const kills = 3 * Number(values.kills)
  for (let i = 0; i < kills; i += 1) {
    const part = Object.keys(killed)[i % 3]
    while (ended.sagas < (total * (i + 0.5)) / kills) await sleep(10)
    const { pid } = JSON.parse(readFileSync(join(values['data-dir'], 'run', `${part}.json`), 'utf8'))
    process.kill(pid, 'SIGKILL')
    killed[part] += 1
    console.log(`${part} killed with ${ended.sagas} sagas ended`)
  }
}

const begun = performance.now()
let next = 0
const lane = async () => {
  while (next < total) {
    await oneSaga(next++)
    ended.sagas += 1
  }
}
const lanes = values.bulk ? [bulk()] : Array.from({ length: Number(values['in-flight']) }, lane)
await Promise.all([...lanes, kill()])
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
  `${total} sagas, ${values.bulk ? 'by one call' : `${values['in-flight']} in flight`}: ${(total / seconds).toFixed(1)} /s; from POST to the end p50 ${at(0.5)}, p95 ${at(0.95)}, p99 ${at(0.99)} ms; calls repeated: ${JSON.stringify(repeats)}`,
)
const right = ({ status, a, b, c }) =>
  (status === 'COMPLETED' && a === 1 && b === 1 && c === 1) || (status === 'COMPENSATED' && a + b + c === 0)
const sagas = rows.reduce((sum, row) => sum + row.sagas, 0)
const undone = rows.reduce((sum, row) => sum + (row.status === 'COMPENSATED' ? row.sagas : 0), 0)
const refused = Array.from({ length: total }, (_, i) => i).filter(isRefused).length
const isRight =
  sagas === total && (values.bulk || new Set(ids).size === total) && rows.every(right) && undone >= refused
console.log(isRight ? 'Every saga ended right.' : 'NOT every saga ended right.')
let isAgreed = true
if (values.kills !== '0') {
  console.log('killed -9:', killed)
  const env = { ...process.env, DATA_DIR: values['data-dir'] }
  isAgreed = spawnSync(process.execPath, ['dist/audit.js'], { env, stdio: 'inherit' }).status === 0
}
process.exitCode = isRight && isAgreed ? 0 : 1

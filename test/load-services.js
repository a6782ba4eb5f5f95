import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { performance } from 'node:perf_hooks'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { Client } from 'pg'
import { startApp } from '../dist/embedded/app-process.js'
import { Output } from '../dist/system/output.js'
import { startPostgres } from '../dist/embedded/postgres.js'
import { startTemporal } from '../dist/embedded/temporal.js'
import { findTemporal } from '../dist/system/temporal-binary.js'
import { migrate } from '../dist/migrations.js'

/**
 * Sagas through the services A, B and C as processes of their own, each with a database of its own and killed -9 some times
 * meanwhile; then every row in all four databases is checked:
 *
 *   npm run build && node test/load-services.js --sagas 500 --in-flight 16 --kills 3
 *
 * Of four sagas one has no failures, in one C refuses, in one B's answer is lost once, in one always. Brings PostgreSQL,
 * Temporal, API and worker along. Ends with 1 where a saga did not end as it must, or with a row too many or too few.
 */
const { values } = parseArgs({
  options: {
    sagas: { type: 'string', default: '500' },
    'in-flight': { type: 'string', default: '16' },
    kills: { type: 'string', default: '3' },
  },
})
const total = Number(values.sagas)
const kills = Number(values.kills)
const letters = ['A', 'B', 'C']
const plans = [
  { failures: {}, status: 'COMPLETED' },
  { failures: { C: { mode: 'always', kind: 'reject' } }, status: 'COMPENSATED' },
  { failures: { B: { mode: 'first', n: 1, when: 'after' } }, status: 'COMPLETED' },
  { failures: { B: { mode: 'always', when: 'after' } }, status: 'COMPENSATED' },
]

const folder = mkdtempSync(join(tmpdir(), 'saga-load-'))
chmodSync(folder, 0o711)
mkdirSync(join(folder, 'logs'))
const log = (name) => join(folder, 'logs', `${name}.log`)
const { path: cli } = await findTemporal({ chosen: process.env.TEMPORAL_CLI, output: new Output(process.stderr) })
const postgres = await startPostgres({ dataDir: join(folder, 'postgres'), port: 0, logFile: log('postgres') })
const temporal = await startTemporal({
  cli,
  dbFile: join(folder, 'temporal.db'),
  port: 0,
  uiPort: 0,
  logFile: log('temporal'),
})

const databaseUrl = (name) => Object.assign(new URL(postgres.url), { pathname: `/${name}` }).href
async function query(database, statement, parameters = []) {
  const client = new Client({ connectionString: database })
  await client.connect()
  try {
    return (await client.query(statement, parameters)).rows
  } finally {
    await client.end()
  }
}

/** `npm run service -- A`, started again whenever it is gone. */
async function startService(letter) {
  const name = `service_${letter.toLowerCase()}`
  const database = databaseUrl(name)
  await query(postgres.url, `CREATE DATABASE ${name}`)
  await migrate(database, letter)
  const service = { letter, database, port: '0', child: undefined, kills: 0, stopped: false }
  const start = () => {
    const out = openSync(log(name), 'a')
    const env = { ...process.env, DATABASE_URL: database, PORT: service.port }
    service.child = spawn(process.execPath, [resolve('dist/service.js'), letter], { env, stdio: ['ignore', out, out] })
    service.child.once('exit', () => service.stopped || start())
  }
  start()
  while (service.url === undefined) {
    service.url = /"url":"([^"]+)"/.exec(readFileSync(log(name), 'utf8'))?.[1]
    await sleep(50)
  }
  service.port = new URL(service.url).port
  return service
}

await migrate(postgres.url)
const services = await Promise.all(letters.map(startService))
execFileSync(cli, ['operator', 'namespace', 'create', '--address', temporal.address, '-n', 'load'])
const app = await startApp({
  path: resolve('dist/embedded/app.js'),
  env: {
    ...process.env,
    DATABASE_URL: postgres.url,
    TEMPORAL_ADDRESS: temporal.address,
    TEMPORAL_NAMESPACE: 'load',
    PORT: '0',
    ...Object.fromEntries(services.map(({ letter, url }) => [`SERVICE_${letter}_URL`, url])),
  },
  logFile: log('app'),
  recordFile: join(folder, 'app.json'),
  signal: AbortSignal.timeout(60_000),
})

const ended = []
async function oneSaga(number) {
  const { failures } = plans[number % plans.length]
  const body = { username: `load-${number}`, address: 'somewhere', payment: '4111111111111111', failures }
  const start = await fetch(`${app.url}/saga`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  })
  const { sagaId } = await start.json()
  for (;;) {
    const saga = await (await fetch(`${app.url}/saga/${sagaId}`)).json()
    if (saga.endedAt || saga.status === 'NEEDS_ATTENTION') {
      ended.push({ sagaId, number, saga })
      return
    }
    await sleep(150)
  }
}

const begun = performance.now()
let next = 0
const lane = async () => {
  while (next < total) await oneSaga(next++)
}
const killing = (async () => {
  for (let kill = 1; kill <= kills; kill += 1) {
    for (const service of services) {
      // Spread over the run: with each kill a further share of the sagas has ended.
      const due =
        (total * (service.kills * services.length + services.indexOf(service) + 1)) / (kills * services.length + 1)
      while (ended.length < due) await sleep(20)
      service.child.kill('SIGKILL')
      service.kills += 1
    }
  }
})()
await Promise.all([...Array.from({ length: Number(values['in-flight']) }, lane), killing])
const seconds = (performance.now() - begun) / 1_000

const ofSagas = async (database, statement) => {
  const rows = await query(database, statement)
  return new Map(rows.map(({ saga_id: sagaId, n }) => [sagaId, Number(n)]))
}
const effects = await Promise.all(
  services.map(({ database, letter }) =>
    ofSagas(database, `SELECT saga_id, count(*) AS n FROM table_${letter} GROUP BY 1`),
  ),
)
const undone = await Promise.all(
  services.map(({ database }) =>
    ofSagas(database, `SELECT saga_id, count(*) AS n FROM saga_barrier WHERE op = 'compensate' GROUP BY 1`),
  ),
)
const endings = await ofSagas(
  postgres.url,
  `SELECT saga_id, count(*) AS n FROM saga_log WHERE service = 'SAGA' AND status IN ('completed', 'compensated') GROUP BY 1`,
)
const attempts = await query(
  postgres.url,
  `SELECT CASE WHEN message LIKE '%broke%' THEN 'connection broke' WHEN message LIKE '%is away%' THEN 'away' END AS what,
          count(*)::int AS rows
   FROM saga_log WHERE message LIKE '%broke%' OR message LIKE '%is away%' GROUP BY 1`,
)
const statuses = {}
const wrong = []
for (const { sagaId, number, saga } of ended) {
  statuses[saga.status] = (statuses[saga.status] ?? 0) + 1
  const rows = effects.map((counts) => counts.get(sagaId) ?? 0)
  const barriers = undone.map((counts) => counts.get(sagaId) ?? 0)
  const isCompleted = saga.status === 'COMPLETED'
  // A service may be away for longer than its calls are tried: then the saga is rolled back, which is as right.
  const isExpected = saga.status === plans[number % plans.length].status || saga.status === 'COMPENSATED'
  const right = isCompleted ? '1,1,1' : '0,0,0'
  const isUndone = isCompleted ? barriers.every((n) => n === 0) : barriers.every((n) => n === 1)
  if (!isExpected || String(rows) !== right || !isUndone || endings.get(sagaId) !== 1) {
    wrong.push({ sagaId, number, status: saga.status, rows, barriers, endings: endings.get(sagaId) })
  }
}
const strays = effects.reduce((sum, counts) => sum + [...counts.keys()].filter((id) => !endings.has(id)).length, 0)

for (const service of services) {
  service.stopped = true
  service.child.kill('SIGTERM')
}
await Promise.all(services.filter(({ child }) => child.exitCode === null).map(({ child }) => once(child, 'exit')))
await app.stop()
await Promise.all([temporal.stop(), postgres.stop()])
for (const made of [folder, postgres.home]) rmSync(made, { recursive: true, force: true })

console.log(
  `${ended.length} sagas, ${values['in-flight']} in flight, in ${seconds.toFixed(0)} s; kills: ${services.map(({ letter, kills }) => `${letter} ${kills}`).join(', ')}`,
)
console.log('statuses', statuses, 'log rows of lost calls', attempts, 'rows of no saga', strays)
console.table(wrong.slice(0, 20))
const isRight = ended.length === total && wrong.length === 0 && strays === 0
console.log(isRight ? 'Every saga ended right, in all four databases.' : `${wrong.length} sagas did NOT end right.`)
process.exitCode = isRight ? 0 : 1

import { randomUUID } from 'node:crypto'
import { resolve } from 'node:path'
import { afterAll, expect, test } from '@jest/globals'
import { DefaultLogger, Runtime } from '@temporalio/worker'
import { pino } from 'pino'
import { sagas as types, services } from '../../src/activities/index.js'
import { startSagaWorker, type RunningWorker } from '../../src/saga/node/saga-worker.js'
import { connectTemporal, TASK_QUEUE, type Temporal } from '../../src/temporal.js'
import { startRelay } from '../helpers/relay.js'
import { query, readShared } from '../helpers/shared.js'
import { makeDatabase, makeNamespace } from '../helpers/system.js'
import { until } from '../helpers/until.js'

// Two workers, of which one loses PostgreSQL and keeps Temporal.

Runtime.install({ logger: new DefaultLogger('ERROR'), shutdownSignals: [] })

const namespace = 'lost-database'
const database = await makeDatabase(namespace)
await makeNamespace(namespace)
const relay = await startRelay(new URL(database).host)
process.env['TEMPORAL_ADDRESS'] = readShared().temporal
process.env['TEMPORAL_NAMESPACE'] = namespace
/** Each on a connection of its own, as on machines of their own. */
const temporals: Temporal[] = []

async function startWorker(databaseUrl: string): Promise<RunningWorker> {
  const temporal = await connectTemporal({ disableFile: true })
  temporals.push(temporal)
  return startSagaWorker({
    ...temporal,
    taskQueue: TASK_QUEUE,
    workflows: { workflowBundle: { codePath: resolve('dist/workflow-bundle.js') } },
    databaseUrl,
    participants: services,
    sagas: types,
    failureInjection: true,
    stepTimeoutMs: 2_000,
    deadlineMs: 600_000,
    logger: pino({ level: 'silent' }),
  })
}

let good: RunningWorker | undefined
const lost = await startWorker(Object.assign(new URL(database), { host: relay.address }).href)

afterAll(async () => {
  await Promise.all([lost.stop(), good?.stop()])
  await Promise.all(temporals.map(({ connection }) => connection.close()))
  await relay.stop()
})

const ada = { username: 'ada', address: '12 Byron Street', payment: '4111 1111 1111 1234', failures: {} }
const start = (workflowId: string) =>
  temporals[0]?.client.workflow.start('createUserSaga', { workflowId, taskQueue: TASK_QUEUE, args: [ada] })

test('a worker that has lost PostgreSQL keeps no saga from the others, and stops when it is told to', async () => {
  const ids = Array.from({ length: 12 }, () => randomUUID())
  relay.cut()
  for (const sagaId of ids) await start(sagaId)
  // It alone is there, and has them all.
  const { client } = temporals[0] as Temporal
  await until('it has tried to open them', async () => {
    const { events } = await client.workflow.getHandle(ids.at(-1) ?? '').fetchHistory()
    return events?.some((event) => event.activityTaskScheduledEventAttributes?.activityType?.name === 'openSaga')
  })
  good = await startWorker(database)
  const ended = `SELECT saga_id FROM saga WHERE status IN ('COMPLETED', 'COMPENSATED')`
  await until('all of them have ended', async () => (await query(database, ended)).length === ids.length, {
    timeoutMs: 150_000,
  })
  await lost.stop()
  await expect(lost.done).resolves.toBeUndefined()
}, 240_000)

test('a worker stops while PostgreSQL is unreachable and sagas are under way', async () => {
  relay.mend()
  const worker = await startWorker(Object.assign(new URL(database), { host: relay.address }).href)
  const ids = Array.from({ length: 4 }, () => randomUUID())
  for (const sagaId of ids) await start(sagaId)
  await until('they are under way', async () => {
    const rows = await query(database, `SELECT FROM saga WHERE saga_id = ANY ($1)`, [ids])
    return rows.length > 0
  })
  relay.cut()
  await worker.stop()
  await expect(worker.done).resolves.toBeUndefined()
}, 60_000)

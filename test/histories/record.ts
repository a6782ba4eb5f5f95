import { rmSync, writeFileSync } from 'node:fs'
import { afterAll, expect, test } from '@jest/globals'
import { Client, Connection } from '@temporalio/client'
import { historyToJSON } from '@temporalio/common/lib/proto-utils.js'
import { SagaStarter } from '../../src/saga/node/saga-starter.js'
import { rejected } from '../../src/saga/errors.js'
import { effectService, startEngine } from '../helpers/engine.js'
import { Sagas } from '../helpers/sagas.js'
import { readShared } from '../helpers/shared.js'
import { startSystem, type System } from '../helpers/system.js'
import { until } from '../helpers/until.js'
import { filesOf, runsOf, scenarios, type Scenario, type Stage } from './scenarios.js'

// `npm run record-histories`: plays every scenario and writes its histories anew.

const broken = new Set<string>()
const refuse = (service: string, op: string) => ({ sagaId }: { sagaId: string }) => {
  if (broken.has(`${sagaId} ${service} ${op}`)) throw rejected(`${service} is broken`)
}
const engine = await startEngine('histories-engine', {
  workflows: new URL('./sagas.ts', import.meta.url),
  services: ['flight', 'hotel', 'charge', 'ticket', 'letter'].map((name) => ({
    ...effectService(name, { invoke: refuse(name, 'invoke'), compensate: refuse(name, 'compensate') }),
    verify: async (_tx, { sagaId }) => (broken.has(`${sagaId} ${name} verify`) ? ['effect 7'] : []),
  })),
  types: ['tripSaga', 'parallelSaga', 'earlyBugSaga', 'lateBugSaga', 'parentSaga', 'staySaga'],
  stepTimeoutMs: 1_000,
})
const connection = await Connection.connect({ address: readShared().temporal })
const systems: System[] = []
const env = { SAGA_STEP_TIMEOUT_MS: '1000' }

async function makeStage(name: string, more: Record<string, string> = {}): Promise<Stage> {
  const system = await startSystem(name, { ...env, ...more })
  systems.push(system)
  const client = new Client({ connection, namespace: name })
  const starter = new SagaStarter(client, 'saga')
  return {
    sagas: new Sagas(system.where),
    client,
    starter,
    broken,
    kill: () => system.kill(),
    restart: () => system.restart(),
  }
}

const shared = {
  shipped: await makeStage('histories'),
  hasty: await makeStage('histories-hasty', { SAGA_DEADLINE_MS: '2000' }),
  engine: {
    sagas: engine.sagas,
    client: engine.client,
    starter: engine.starter,
    decisions: engine.decisions,
    broken,
    kill: () => Promise.reject(new Error('The engine runs in the process of the tests')),
    restart: () => Promise.reject(new Error('The engine runs in the process of the tests')),
  },
} satisfies Record<string, Stage>

afterAll(async () => {
  await engine.stop()
  for (const system of systems) await system.stop()
  await connection.close()
})

const stageOf = ({ stage, name }: Scenario): Promise<Stage> =>
  stage === 'own' ? makeStage(`histories-${name}`) : Promise.resolve(shared[stage])

test.concurrent.each(scenarios)('$name is recorded', async (scenario) => {
  const { name, runs } = scenario
  const stage = await stageOf(scenario)
  await scenario.play(stage, name)
  const found = await until(`${name} has the runs ${runs.join(', ')}`, async () => {
    const found = await runsOf(stage.client, name)
    return found.length >= runs.length && found
  })
  expect(found.map(({ type }) => type)).toEqual(runs)
  const last = stage.client.workflow.getHandle(name, found.at(-1)?.runId)
  if (name !== 'saga-sweep-v1') await last.result().catch(() => {})
  for (const [i, file] of filesOf(scenario).entries()) {
    const history = await stage.client.workflow.getHandle(name, found[i]?.runId).fetchHistory()
    const path = new URL(file, import.meta.url)
    rmSync(path, { force: true })
    writeFileSync(path, layOut(historyToJSON(history)))
  }
})

/** What only tells of the machine that recorded it and of its server, or nothing; replay reads none of it. */
const LEFT_OUT = new Set([
  ...['identity', 'stackTrace', 'binaryChecksum', 'workerVersion'],
  ...['taskId', 'requestId', 'historySizeBytes', 'meteringMetadata', 'header'],
])

/** One event a line, its time in ms. */
function layOut(json: string): string {
  const { events } = JSON.parse(json, (key, value) => {
    if (LEFT_OUT.has(key)) return undefined
    // Its own name is made of the worker's.
    if (value?.kind === 'TASK_QUEUE_KIND_STICKY') return { ...value, name: 'sticky' }
    return key === 'eventTime' ? new Date(value).toISOString() : value
  }) as { events: object[] }
  return `{"events":[\n${events.map((event) => JSON.stringify(event)).join(',\n')}\n]}\n`
}

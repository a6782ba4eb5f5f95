import { parseArgs } from 'node:util'
import { pino } from 'pino'
import { sagas as sagaTypes, services } from './activities/index.js'
import { loadConfig, loadStartConfig } from './config.js'
import { readUrls } from './system/running-system.js'
import { failProgram } from './program.js'
import { audit, type Audited, type Disagreement } from './saga/node/audit.js'
import type { AnyService } from './saga/node/barrier.js'
import { makePool } from './saga/node/db.js'
import { byParticipant } from './services/index.js'
import { connectTemporal, installTemporalRuntime, TASK_QUEUE } from './temporal.js'

/**
 * `npm run audit`: holds the sagas of the last 24 hours (`--hours N`) and all that are unfinished against their log, the
 * participants' barriers and rows, and Temporal's history; and looks for runs of sagas that have no row. Prints what disagrees,
 * and how to look at it; ends with 1 where something does. `--json`: one object. It looks at what DATABASE_URL and TEMPORAL_* name, else at what `npm start` runs.
 */
try {
  const { values } = parseArgs({
    options: { hours: { type: 'string', default: '24' }, json: { type: 'boolean', default: false } },
  })
  const hours = Number(values.hours)
  if (!(hours > 0)) throw new Error('--hours has to be a number above 0')
  installTemporalRuntime(pino({ level: 'silent' }))
  const running = readUrls(loadStartConfig().DATA_DIR)
  if (running) {
    process.env['DATABASE_URL'] ??= running.database
    process.env['TEMPORAL_ADDRESS'] ??= running.temporal
  }
  const { databaseUrl, serviceUrls, payloadKeys } = loadConfig()
  const pool = makePool(databaseUrl, { max: 10, name: 'saga-audit' })
  const { client, connection } = await connectTemporal({ payloadKeys })
  const elsewhere = byParticipant(serviceUrls)
  const participants = (services as unknown as AnyService[]).filter(({ name }) => !(name in elsewhere))

  const disagreements: Disagreement[] = []
  const types = sagaTypes.map(({ type }) => type)
  const auditing = audit({ pool, temporal: client, participants, types, taskQueue: TASK_QUEUE, hours })
  let audited: Audited
  for (;;) {
    const { value, done } = await auditing.next()
    if (done) {
      audited = value
      break
    }
    disagreements.push(value)
    if (!values.json) console.log(`${value.sagaId}: ${value.message}\n  ${howToLook(value)}`)
  }
  await pool.end()
  await connection.close()
  const sagas = new Set(disagreements.map(({ sagaId }) => sagaId)).size
  if (values.json) console.log(JSON.stringify({ ...audited, disagreements }))
  else {
    const forgotten = audited.forgotten > 0 ? ` (of ${audited.forgotten} Temporal has no history any more)` : ''
    console.log(
      disagreements.length === 0
        ? `${audited.sagas} sagas agree with their log, barriers, rows and history${forgotten}.`
        : `${sagas} of ${audited.sagas} sagas do not agree${forgotten}.`,
    )
  }
  if (disagreements.length > 0) process.exitCode = 1
} catch (error) {
  failProgram(error)
}

function howToLook({ sagaId, with: what, workflowId = sagaId }: Disagreement): string {
  const id = encodeURIComponent(sagaId)
  if (what === 'history')
    return `look: npm run temporal -- workflow show --workflow-id '${workflowId}'; GET /logs?saga=${id}`
  if (what === 'barrier') return `look: SELECT * FROM saga_barrier WHERE saga_id = '${sagaId}'; GET /logs?saga=${id}`
  return `look: GET /saga/${id}; GET /logs?saga=${id}`
}

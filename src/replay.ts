import { existsSync, readFileSync, statSync } from 'node:fs'
import { Worker } from '@temporalio/worker'
import { pino } from 'pino'
import { loadConfig, loadPayloadKeys, loadStartConfig } from './config.js'
import { readUrls } from './system/running-system.js'
import { failProgram } from './program.js'
import { makePool } from './saga/node/db.js'
import {
  connectTemporal,
  encryptedWorkflowBundle,
  encryptionBy,
  installTemporalRuntime,
  workflowBundle,
  type Temporal,
} from './temporal.js'

/**
 * `npm run replay -- <workflow id or history.json>…`: replays histories against the workflow code as it is now. Ends with
 * 1, and names the event, where they disagree. What is encrypted needs its key in PAYLOAD_KEYS. Ids are looked up at the
 * server of the TEMPORAL_* settings, else at the one that `npm start` runs; of a saga that shares a run that run is
 * replayed, which its row in the database of DATABASE_URL names.
 */
type History = Awaited<ReturnType<ReturnType<Temporal['client']['workflow']['getHandle']>['fetchHistory']>>

let temporal: Temporal | undefined

/** A history, and how it is called. */
interface Named {
  history: History
  name: string
}

/** What a source names: one history, and of a bulk those of its lanes too. */
async function readHistories(source: string): Promise<Named[]> {
  const first = await readHistory(source)
  const lanes = (first.history.events ?? []).flatMap(({ childWorkflowExecutionStartedEventAttributes: child }) =>
    child?.workflowType?.name === 'bulkLane' ? [child.workflowExecution?.workflowId ?? ''] : [],
  )
  return temporal ? [first, ...(await Promise.all([...new Set(lanes)].map(readHistory)))] : [first]
}

async function readHistory(source: string): Promise<Named> {
  if (existsSync(source) && statSync(source).isFile()) {
    return { history: JSON.parse(readFileSync(source, 'utf8')), name: source }
  }
  if (source.endsWith('.json')) throw new Error(`There is no file ${source}`)
  temporal ??= await connectTemporal()
  const { workflow } = temporal.client
  try {
    return { history: await workflow.getHandle(source).fetchHistory(), name: source }
  } catch (error) {
    const shared = await carrierOf(source)
    if (shared === undefined) throw error
    return { history: await workflow.getHandle(shared).fetchHistory(), name: `${source} (shares ${shared})` }
  }
}

/** The run that a saga shares with others; undefined where it has one of its own, or there is no such saga. */
async function carrierOf(sagaId: string): Promise<string | undefined> {
  const pool = makePool(loadConfig().databaseUrl, { max: 1, name: 'saga-replay' })
  try {
    const { rows } = await pool.query('SELECT carried_by FROM saga WHERE saga_id = $1', [sagaId])
    return rows[0]?.carried_by ?? undefined
  } catch {
    return undefined
  } finally {
    await pool.end()
  }
}

try {
  const sources = process.argv.slice(2)
  if (sources.length === 0) throw new Error('Name what to replay: npm run replay -- <workflow id or history.json>…')
  installTemporalRuntime(pino({ level: 'silent' }))
  const running = readUrls(loadStartConfig().DATA_DIR)
  if (running) {
    process.env['TEMPORAL_ADDRESS'] ??= running.temporal
    process.env['DATABASE_URL'] ??= running.database
  }

  const payloadKeys = loadPayloadKeys()
  const code = {
    workflowBundle: payloadKeys.areThere ? encryptedWorkflowBundle : workflowBundle,
    dataConverter: encryptionBy(payloadKeys),
  }
  const disagreeing: string[] = []
  const histories: Named[] = []
  for (const source of sources) histories.push(...(await readHistories(source)))
  for (const { history, name } of histories) {
    const events = history.events?.length ?? 0
    try {
      // Under its own id, of which those of nested sagas are made.
      const { workflowId } = history.events?.[0]?.workflowExecutionStartedEventAttributes ?? {}
      await Worker.runReplayHistory(code, history, workflowId || undefined)
      console.log(`${name}: ${events} events replay`)
    } catch (error) {
      disagreeing.push(name)
      console.log(`${name}: ${(error as Error).message}`)
    }
  }
  await temporal?.connection.close()
  if (disagreeing.length > 0) {
    failProgram(`${disagreeing.length} of ${histories.length} do not replay against the workflow code as it is now.`)
  }
} catch (error) {
  failProgram(error)
}

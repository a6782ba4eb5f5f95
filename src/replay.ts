import { existsSync, readFileSync, statSync } from 'node:fs'
import { Worker } from '@temporalio/worker'
import { pino } from 'pino'
import { loadPayloadKeys, loadStartConfig } from './config.js'
import { readUrls } from './embedded/data-folder.js'
import { failProgram } from './program.js'
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
 * 1, and names the event, where they disagree. What is encrypted needs its key in PAYLOAD_KEYS. Ids are looked up at the server of the TEMPORAL_* settings, else at the one
 * that `npm start` runs.
 */
type History = Awaited<ReturnType<ReturnType<Temporal['client']['workflow']['getHandle']>['fetchHistory']>>

let temporal: Temporal | undefined

async function readHistory(source: string): Promise<History> {
  if (existsSync(source) && statSync(source).isFile()) return JSON.parse(readFileSync(source, 'utf8'))
  if (source.endsWith('.json')) throw new Error(`There is no file ${source}`)
  temporal ??= await connectTemporal()
  return temporal.client.workflow.getHandle(source).fetchHistory()
}

try {
  const sources = process.argv.slice(2)
  if (sources.length === 0) throw new Error('Name what to replay: npm run replay -- <workflow id or history.json>…')
  installTemporalRuntime(pino({ level: 'silent' }))
  const running = readUrls(loadStartConfig().DATA_DIR)
  if (running) process.env['TEMPORAL_ADDRESS'] ??= running.temporal

  const payloadKeys = loadPayloadKeys()
  const code = {
    workflowBundle: payloadKeys.areThere ? encryptedWorkflowBundle : workflowBundle,
    dataConverter: encryptionBy(payloadKeys),
  }
  const disagreeing: string[] = []
  for (const source of sources) {
    const history = await readHistory(source)
    const events = history.events?.length ?? 0
    try {
      // Under its own id, of which those of nested sagas are made.
      const { workflowId } = history.events?.[0]?.workflowExecutionStartedEventAttributes ?? {}
      await Worker.runReplayHistory(code, history, workflowId || undefined)
      console.log(`${source}: ${events} events replay`)
    } catch (error) {
      disagreeing.push(source)
      console.log(`${source}: ${(error as Error).message}`)
    }
  }
  await temporal?.connection.close()
  if (disagreeing.length > 0) {
    failProgram(`${disagreeing.length} of ${sources.length} do not replay against the workflow code as it is now.`)
  }
} catch (error) {
  failProgram(error)
}

import { Client } from '@temporalio/client'
import { NativeConnection, Runtime } from '@temporalio/worker'
import { pino } from 'pino'
import { startTripWorker } from './trip-worker.js'

/** The program: a worker against DATABASE_URL and TEMPORAL_ADDRESS. */
Runtime.install({ shutdownSignals: [] }) // signals are handled below
const connection = await NativeConnection.connect({ address: process.env['TEMPORAL_ADDRESS'] ?? '127.0.0.1:7233' })
const worker = await startTripWorker({
  connection,
  client: new Client({ connection }),
  databaseUrl: process.env['DATABASE_URL'] ?? '',
  workflows: new URL('./workflows.js', import.meta.url),
  logger: pino(),
})
process.once('SIGTERM', () => void worker.stop())
process.once('SIGINT', () => void worker.stop())
await worker.done
await connection.close()

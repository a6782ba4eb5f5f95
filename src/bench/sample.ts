import { randomUUID } from 'node:crypto'
import { fileURLToPath } from 'node:url'
import { activityInfo } from '@temporalio/activity'
import { ApplicationFailure } from '@temporalio/common'
import { Worker } from '@temporalio/worker'
import fastify from 'fastify'
import { loadConfig } from '../config.js'
import type { AppMessage } from '../embedded/app-process.js'
import { makeLogger } from '../program.js'
import { makePool, type Client, type Pool } from '../saga/node/db.js'
import { address } from '../services/address.js'
import { payment } from '../services/payment.js'
import { user } from '../services/user.js'
import { connectTemporal, installTemporalRuntime } from '../temporal.js'
import type { CreateUser } from '../workflows/create-user-input.js'
import type { bareSaga, sampleSaga } from './sample-workflow.js'

/** `refuse`: C says no, by a rule of its business. */
export type SampleRequest = CreateUser & { refuse?: boolean }

export type SampleActivities = ReturnType<typeof makeActivities>

const TASK_QUEUE = 'bench-sample'
const BARE_QUEUE = 'bench-bare'

/** As many as ours has: the opening, three steps, and the completion, or the claim, three compensations and the end. */
const LOCAL_ACTIVITIES = { happy: 5, refused: 9 }

/** By workflow id: to be called in the last local activity. As with ours, nobody waits for the run to have closed. */
const bareEnds = new Map<string, () => void>()

/** The very statements of services A, B and C, each a transaction of its own, with no barrier, log or saga's row. */
function makeActivities(pool: Pool) {
  const sagaId = () => activityInfo().workflowExecution?.workflowId ?? ''
  const withClient = async <T>(work: (client: Client) => Promise<T>): Promise<T> => {
    const client = await pool.connect()
    try {
      return await work(client)
    } finally {
      client.release()
    }
  }
  return {
    createUser: (input: { username: string }) => withClient((tx) => user.invoke(tx, { sagaId: sagaId(), input })),
    createAddress: (input: { userId: string; address: string }) =>
      withClient((tx) => address.invoke(tx, { sagaId: sagaId(), input })),
    async createPayment({ refuse, ...input }: { userId: string; payment: string; refuse: boolean | undefined }) {
      if (refuse) throw ApplicationFailure.nonRetryable('refused', 'Rejected')
      return withClient((tx) => payment.invoke(tx, { sagaId: sagaId(), input }))
    },
    nothing<Order extends { left: number }>(order: Order) {
      if (order.left === 0) bareEnds.get(sagaId())?.()
      return Promise.resolve({ ...order, status: 'succeeded', outcome: 'applied', attempts: 1 })
    },
    deleteUser: () => withClient((tx) => user.compensate(tx, undone(sagaId()))),
    deleteAddress: () => withClient((tx) => address.compensate(tx, undone(sagaId()))),
  }
}

/** A service undoes by the saga's id alone. */
const undone = (sagaId: string) => ({ sagaId, input: {} as never, result: {} as never })

/** The sample as a process beside the app: worker, client and `POST /saga`, which answers once the saga has ended. */
try {
  const config = loadConfig()
  const logger = makeLogger(config)
  installTemporalRuntime(logger)
  const { connection, client, namespace } = await connectTemporal({ disableFile: true })
  const pool = makePool(config.databaseUrl, { max: 20, name: 'bench-sample' })
  const common = {
    connection,
    namespace,
    workflowsPath: fileURLToPath(new URL('./sample-workflow.js', import.meta.url)),
    activities: makeActivities(pool),
  }
  const workers = [
    await Worker.create({ ...common, taskQueue: TASK_QUEUE }),
    // As ours: every saga is started eagerly.
    await Worker.create({ ...common, taskQueue: BARE_QUEUE, maxConcurrentWorkflowTaskExecutions: 100 }),
  ]
  const done = Promise.all(workers.map((worker) => worker.run()))

  const app = fastify()
  app.post('/saga', async (request, reply) => {
    const workflowId = randomUUID()
    const status = await client.workflow.execute<typeof sampleSaga>('sampleSaga', {
      workflowId,
      taskQueue: TASK_QUEUE,
      args: [request.body as SampleRequest],
    })
    return reply.header('location', `/saga/${workflowId}`).send({ sagaId: workflowId, status })
  })
  app.post('/bare', async (request, reply) => {
    const { refuse } = request.body as SampleRequest
    const workflowId = randomUUID()
    const ended = new Promise<void>((resolve) => bareEnds.set(workflowId, resolve))
    await client.workflow.start<typeof bareSaga>('bareSaga', {
      workflowId,
      taskQueue: BARE_QUEUE,
      args: [refuse ? LOCAL_ACTIVITIES.refused : LOCAL_ACTIVITIES.happy],
      requestEagerStart: true,
    })
    await ended
    bareEnds.delete(workflowId)
    return reply.send({ sagaId: workflowId, status: refuse ? 'COMPENSATED' : 'COMPLETED' })
  })
  const url = await app.listen({ host: config.host, port: config.port })

  const stop = async () => {
    await app.close()
    for (const worker of workers) worker.shutdown()
    await done
    await pool.end()
    await connection.close()
    process.exit(0)
  }
  process.once('SIGTERM', () => void stop())
  process.once('disconnect', () => void stop())
  process.on('SIGINT', () => {})
  process.send?.({ type: 'ready', url } satisfies AppMessage)
} catch (error) {
  console.error(error)
  process.send?.({ type: 'failed', message: (error as Error).message } satisfies AppMessage, () => process.exit(1))
}

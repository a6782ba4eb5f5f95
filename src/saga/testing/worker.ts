import { AsyncLocalStorage } from 'node:async_hooks'
import { isDeepStrictEqual } from 'node:util'
import { Client } from '@temporalio/client'
import { DefaultLogger, NativeConnection, Runtime } from '@temporalio/worker'
import { pino } from 'pino'
import { outcomeUnknown, rejected, textOf } from '../errors.js'
import type { AnyService, BarredParticipant, Call } from '../node/barrier.js'
import { makePool } from '../node/db.js'
import { startSagaWorker } from '../node/saga-worker.js'
import { undoByHand } from './by-hand.js'
import type { Matrix } from './matrix.js'

// A worker of the kit's, in a process of its own so that it can be killed. Before and after each call it asks the kit what
// is to happen, and waits for the answer: so a call is held by an answer that does not come.

/** What a worker is started with. */
export interface WorkerOrder {
  databaseUrl: string
  temporalAddress: string
  namespace: string
  taskQueue: string
  /** The bundle's file. */
  codePath: string
  stepTimeoutMs: number
}

/** A question of a worker's: a call is about to be made, or has ended. */
export interface Asked {
  id: number
  /** The same before and after one call. */
  call: number
  sagaId: string
  /** Empty for the engine's own work on the saga's row. */
  step: string
  op: string
  at: 'before' | 'after'
  /** Afterwards: how it ended. */
  end?: { verdict: string } | { error: string }
}

/** `fail`: in a way that can be retried; `refuse`: the participant does; `twice`: deliver it more than once; `clear`: what it is to undo is gone before. */
export type Answer = 'go' | 'fail' | 'refuse' | 'twice' | 'clear'

const order = JSON.parse(process.argv[3] ?? '{}') as WorkerOrder
const { default: matrix } = (await import(process.argv[2] ?? '')) as { default: Matrix }

// Whoever has started it is gone.
process.on('disconnect', () => process.kill(process.pid, 'SIGKILL'))
const waiting = new Map<number, (answer: Answer) => void>()
process.on('message', ({ id, answer }: { id: number; answer: Answer }) => {
  waiting.get(id)?.(answer)
  waiting.delete(id)
})

let ids = 0
function ask(question: Omit<Asked, 'id'>): Promise<Answer> {
  const id = ++ids
  return new Promise((resolve) => {
    waiting.set(id, resolve)
    process.send?.({ ...question, id } satisfies Asked)
  })
}

const isRefusing = new AsyncLocalStorage<true>()
const pool = makePool(order.databaseUrl, { max: 10, name: 'saga-matrix' })

/** One call, with whatever the kit wants to happen to it. */
async function around<T>(
  op: string,
  { sagaId, step }: Call,
  go: () => Promise<T>,
  verdictOf: (value: T) => string,
): Promise<T> {
  const call = ++ids
  const question = { call, sagaId, step, op }
  const before = await ask({ ...question, at: 'before' })
  if (before === 'fail') {
    await ask({ ...question, at: 'after', end: { error: 'not made' } })
    throw outcomeUnknown(`matrix: ${op} of ${step} fails before its transaction`)
  }
  let value: T
  try {
    if (before === 'clear') await undoByHand(pool, matrix, { sagaId, step })
    value = before === 'twice' ? await several(go) : await (before === 'refuse' ? isRefusing.run(true, go) : go())
  } catch (error) {
    await ask({ ...question, at: 'after', end: { error: textOf(error) } })
    throw error
  }
  if ((await ask({ ...question, at: 'after', end: { verdict: verdictOf(value) } })) === 'fail') {
    throw outcomeUnknown(`matrix: ${op} of ${step} fails after its commit`)
  }
  return value
}

/** Twice at once and once more: the same answer each time, but for who was first. */
async function several<T>(go: () => Promise<T>): Promise<T> {
  const both = await Promise.all([go(), go()])
  const answers = [...both, await go()].map((one) => ({ ...one, verdict: null }))
  if (answers.some((one) => !isDeepStrictEqual(one, answers[0]))) {
    throw new Error(`delivered again it answered otherwise: ${JSON.stringify(answers)}`)
  }
  return both.find((one) => (one as { verdict?: string }).verdict === 'applied') ?? both[0]
}

function withFaults(plain: BarredParticipant): BarredParticipant {
  return {
    ...plain,
    invoke: (call) =>
      around(
        'invoke',
        call,
        () => plain.invoke(call),
        ({ verdict }) => verdict,
      ),
    compensate: (call) => around('compensate', call, () => plain.compensate(call), String),
    settle: (call) =>
      around(
        'settle',
        call,
        () => plain.settle(call),
        ({ verdict }) => verdict,
      ),
  }
}

const participants = (matrix.participants as unknown as AnyService[]).map((one) => ({
  ...one,
  invoke: (...call: Parameters<AnyService['invoke']>) =>
    isRefusing.getStore() ? Promise.reject(rejected(`matrix: ${one.name} refuses`)) : one.invoke(...call),
}))

/** The engine's own activities at which a saga can be held. */
const HELD = new Set(['openSaga', 'completeSaga'])

Runtime.install({
  logger: new DefaultLogger('ERROR'),
  shutdownSignals: [],
  telemetryOptions: { logging: { filter: { core: 'ERROR', other: 'ERROR' } } },
})
const connection = await NativeConnection.connect({ address: order.temporalAddress })
await startSagaWorker({
  ...order,
  connection,
  client: new Client({ connection, namespace: order.namespace }),
  workflows: { workflowBundle: { codePath: order.codePath } },
  ...(matrix.dataConverter && { dataConverter: matrix.dataConverter }),
  interceptors: {
    activity: [
      ({ info: { activityType: op, workflowExecution } }) => ({
        inbound: {
          execute: (input, next) =>
            HELD.has(op)
              ? around(
                  op,
                  { sagaId: workflowExecution?.workflowId ?? '', step: '' },
                  () => next(input),
                  () => 'done',
                )
              : next(input),
        },
      }),
    ],
  },
  participants,
  sagas: matrix.sagas,
  deadlineMs: 3_600_000,
  failureInjection: false,
  around: withFaults,
  logger: pino({ level: 'silent' }),
})
process.send?.('ready')

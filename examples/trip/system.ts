import { randomUUID } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { setTimeout as pause } from 'node:timers/promises'
import { expect } from '@jest/globals'
import { ApplicationFailure, Client, WorkflowFailedError, type WorkflowHandle } from '@temporalio/client'
import { DefaultLogger, NativeConnection, Runtime } from '@temporalio/worker'
import { Pool } from 'pg'
import { pino } from 'pino'
import { SagaBulks } from '../../src/saga/node/saga-bulk.js'
import { isEnded } from '../../src/saga/node/saga-record.js'
import { SagaStarter } from '../../src/saga/node/saga-starter.js'
import { SagaStore } from '../../src/saga/node/saga-store.js'
import type { CompensationView, Decision, SagaError, SagaView } from '../../src/saga/types.js'
import { readShared } from '../../test/helpers/shared.js'
import { makeDatabase, makeNamespace } from '../../test/helpers/system.js'
import { stay, trip as tripType } from './sagas.js'
import { startTripWorker, TASK_QUEUE } from './trip-worker.js'
import { tripSaga, type Trip } from './workflows.js'

/** The details of a `SagaCompensated`. */
interface Account {
  sagaId: string
  failedStep: string | null
  error: SagaError
  compensations: CompensationView[]
}

export type System = Awaited<ReturnType<typeof startSystem>>

/** A database of its own, with the trip's tables beside the engine's. */
export async function makeTripDatabase(name: string): Promise<string> {
  const databaseUrl = await makeDatabase(name)
  const pool = new Pool({ connectionString: databaseUrl })
  await pool.query(readFileSync(new URL('./sql/0100_trip.sql', import.meta.url), 'utf8'))
  await pool.end()
  return databaseUrl
}

/** The system as the tests see it: its database, a client, and a worker, in a namespace of its own. */
export async function startSystem() {
  const namespace = 'trips'
  await makeNamespace(namespace)
  const databaseUrl = await makeTripDatabase(namespace)
  Runtime.install({ shutdownSignals: [], logger: new DefaultLogger('ERROR') })
  const connection = await NativeConnection.connect({ address: readShared().temporal })
  const client = new Client({ connection, namespace })
  const workflows = new URL('./workflows.ts', import.meta.url)
  const logger = pino({ level: 'silent' })
  const worker = await startTripWorker({ connection, client, databaseUrl, workflows, logger })
  const pool = new Pool({ connectionString: databaseUrl })
  const store = new SagaStore(pool, [tripType, stay])
  const starter = new SagaStarter(client, TASK_QUEUE)
  const intentOf = (input: Trip) => ({
    ...{ sagaId: `trip-${randomUUID()}`, saga: tripType, steps: tripSaga.steps, input: { ...input } },
  })

  return {
    pool,

    /** A flight, a hotel and a car class of the test's own, so that no other test moves their counters. */
    async offer() {
      const own = randomUUID()
      await pool.query('INSERT INTO flight_seats VALUES ($1, 10)', [own])
      await pool.query('INSERT INTO hotel_rooms VALUES ($1, 5)', [own])
      await pool.query('INSERT INTO car_class VALUES ($1)', [own])
      const trip: Trip = {
        email: 'ada@example.org',
        flight: own,
        seats: 2,
        hotel: own,
        nights: 3,
        carClass: own,
        cents: 90_000,
      }
      return trip
    },

    start(request: unknown) {
      return client.workflow.start('tripSaga', {
        taskQueue: TASK_QUEUE,
        workflowId: `trip-${randomUUID()}`,
        args: [request],
      })
    },

    /** Starts trips that share a run; returns their sagas' ids. */
    async startTogether(how: 'group' | 'bulk', trips: Trip[]): Promise<string[]> {
      const sagas = trips.map(intentOf)
      const sagaIds = sagas.map(({ sagaId }) => sagaId)
      if (how === 'group') {
        for (const intent of sagas) await store.writeIntent({ ...intent, maxOpen: 1_000 })
        await starter.startGroup('tripSaga', sagaIds)
      } else {
        const bulk = { bulkId: randomUUID(), type: 'tripSaga' }
        const bulks = new SagaBulks(pool, store, { taskQueue: TASK_QUEUE })
        await bulks.write({ ...bulk, sagas, rejected: 0, rejections: [] })
        await starter.startBulk(bulk)
      }
      return sagaIds
    },

    /** How the saga has ended, once it has. */
    async ended(sagaId: string): Promise<string> {
      for (;;) {
        const record = await store.get(sagaId)
        if (record && isEnded(record)) return record.status
        await pause(50)
      }
    },

    async free({ flight, hotel }: Trip): Promise<{ seats: number; rooms: number }> {
      const { rows } = await pool.query(
        'SELECT f.free AS seats, h.free AS rooms FROM flight_seats f, hotel_rooms h WHERE flight = $1 AND hotel = $2',
        [flight, hotel],
      )
      return rows[0]
    },

    /** All rows that a saga and its stay have, as `table: how many`; tables without any are left out. */
    async booked(sagaId: string): Promise<Record<string, number>> {
      const tables = ['flight_booking', 'room_booking', 'breakfast_booking', 'car_booking', 'trip_charge', 'ticket']
      const { rows } = await pool.query<{ name: string; count: number }>(
        tables
          .map((name) => `SELECT '${name}' AS name, count(*)::int FROM ${name} WHERE saga_id IN ($1, $1 || '.stay')`)
          .join(' UNION ALL '),
        [sagaId],
      )
      return Object.fromEntries(rows.filter(({ count }) => count > 0).map(({ name, count }) => [name, count]))
    },

    /** What has been undone, in the order in which it was. */
    async undone(sagaId: string): Promise<string[]> {
      const { rows } = await pool.query<{ service: string }>(
        `SELECT service FROM saga_log WHERE saga_id IN ($1, $1 || '.stay') AND service LIKE 'COMPENSATE%' AND status = 'success' ORDER BY id`,
        [sagaId],
      )
      return rows.map(({ service }) => service.replace('COMPENSATE_', ''))
    },

    async stop() {
      await worker.stop()
      await pool.end()
      await connection.close()
    },
  }
}

/** The saga, once it is as the test wants it. */
export async function until(handle: WorkflowHandle, isSo: (saga: SagaView) => boolean): Promise<SagaView> {
  for (;;) {
    const saga = await handle.query<SagaView | null>('state')
    if (saga && isSo(saga)) return saga
    await pause(50)
  }
}

export function decide(handle: WorkflowHandle, decision: Pick<Decision, 'step' | 'action'>) {
  return handle.executeUpdate<SagaView, [Decision]>('decide', {
    args: [{ ...decision, reason: 'looked into it', actor: 'grace' }],
  })
}

/** What a saga that did not complete has ended with. */
export async function failureOf(handle: WorkflowHandle): Promise<unknown> {
  const error: unknown = await handle.result().then(
    () => undefined,
    (thrown: unknown) => thrown,
  )
  expect(error).toBeInstanceOf(WorkflowFailedError)
  return (error as WorkflowFailedError).cause
}

/** What a `SagaCompensated` tells. */
export async function accountOf(handle: WorkflowHandle): Promise<Account> {
  const failure = await failureOf(handle)
  expect(failure).toBeInstanceOf(ApplicationFailure)
  expect(failure).toMatchObject({ type: 'SagaCompensated' })
  const [account] = (failure as ApplicationFailure).details as [Account]
  return account
}

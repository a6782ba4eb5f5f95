import type { Logger } from 'pino'
import type { Client, Pool } from '../db.js'
import { makeSagaActivities } from '../saga/node/activities.js'
import { throughBarrier, type BarredParticipant } from '../saga/node/barrier.js'
import { injectedRefusal, withFailureInjection } from '../saga/node/failure-injection.js'
import { makeSweepActivities, type SagaStarter } from '../saga/node/saga-starter.js'
import { SagaStore } from '../saga/node/saga-store.js'
import type { SagaType } from '../saga/node/saga-type.js'
import type { Json, Participant, SagaActivities, SweepActivities } from '../saga/types.js'
import { address } from '../services/address.js'
import { payment } from '../services/payment.js'
import { user } from '../services/user.js'
import { createUser } from '../workflows/create-user-input.js'

/** The participants of all sagas. */
const services = [user, address, payment] as unknown as Participant<Json, Json | void, Client>[]

/** The Node halves of all sagas. */
const sagas = [createUser] as unknown as SagaType<Json>[]

export function makeSagaStore(pool: Pool): SagaStore {
  return new SagaStore(pool, new Map(sagas.map((saga) => [saga.type, saga])))
}

export interface ActivityOptions {
  store: SagaStore
  starter: SagaStarter
  /** The participants' connections, with bounds of their own. */
  participants: Pool
  failureInjection: boolean
  stepTimeoutMs: number
  logger: Logger
}

/** Everything that workflows call, for the worker. */
export function makeActivities(options: ActivityOptions): SagaActivities & SweepActivities {
  const { store, starter, participants, failureInjection, stepTimeoutMs, logger } = options
  const barred = new Map<string, { real: BarredParticipant; refusing: BarredParticipant }>(
    services.map((service) => {
      const refuse = { ...service, invoke: () => Promise.reject(injectedRefusal(service.name)) }
      const refusing = throughBarrier(participants, refuse)
      return [service.name, { real: throughBarrier(participants, service), refusing }]
    }),
  )
  return {
    ...makeSweepActivities(store, starter, logger),
    ...makeSagaActivities({
      store,
      stepTimeoutMs,
      logger,
      participant(name, injection) {
        const service = barred.get(name)
        if (!service) throw new Error(`No service is named ${name}; src/activities/index.ts lists them`)
        if (!failureInjection || !injection) return service.real
        return withFailureInjection(participants, service.real, service.refusing, injection)
      },
    }),
  }
}

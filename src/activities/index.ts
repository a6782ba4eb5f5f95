import type { Logger } from 'pino'
import type { Pool } from '../db.js'
import { makeSagaActivities } from '../saga/node/activities.js'
import type { AnyService } from '../saga/node/barrier.js'
import { makeParticipants } from '../saga/node/participants.js'
import { makeSweepActivities, type SagaStarter } from '../saga/node/saga-starter.js'
import { SagaStore, type Times } from '../saga/node/saga-store.js'
import type { SagaType } from '../saga/node/saga-type.js'
import type { Json, SagaActivities, SweepActivities } from '../saga/types.js'
import { address } from '../services/address.js'
import { payment } from '../services/payment.js'
import { user } from '../services/user.js'
import { createUser } from '../workflows/create-user-input.js'

/** The participants of all sagas. */
const services = [user, address, payment] as unknown as AnyService[]

/** The Node halves of all sagas. */
const sagas = [createUser] as unknown as SagaType<Json>[]

export function makeSagaStore(pool: Pool): SagaStore {
  return new SagaStore(pool, new Map(sagas.map((saga) => [saga.type, saga])))
}

export interface ActivityOptions extends Times {
  store: SagaStore
  starter: SagaStarter
  /** The participants' connections, with bounds of their own. */
  participants: Pool
  failureInjection: boolean
  /** Whether the namespace knows the search attribute SagaStatus. */
  hasSagaStatus: () => Promise<boolean>
  logger: Logger
}

/** Everything that workflows call, for the worker. */
export function makeActivities(options: ActivityOptions): SagaActivities & SweepActivities {
  const { store, starter, participants, failureInjection, logger } = options
  return {
    ...makeSweepActivities(store, starter, logger),
    ...makeSagaActivities({ ...options, participant: makeParticipants(services, participants, { failureInjection }) }),
  }
}

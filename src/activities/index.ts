import type { AnyForwardParticipant } from '../saga/types.js'
import type { SagaType } from '../saga/node/saga-type.js'
import { address } from '../services/address.js'
import { payment } from '../services/payment.js'
import { user } from '../services/user.js'
import { createUser } from '../workflows/create-user-input.js'

/** The participants of all sagas. */
export const services: readonly AnyForwardParticipant[] = [user, address, payment]

/** The Node halves of all sagas. */
export const sagas: readonly SagaType[] = [createUser]

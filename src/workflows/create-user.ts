import { compensatable, defineSaga } from '../saga/workflow/define-saga.js'
import type { address } from '../services/address.js'
import type { payment } from '../services/payment.js'
import type { user } from '../services/user.js'
import type { CreateUser } from './create-user-input.js'

/** Creates a user (A), their address (B) and their payment method (C), or leaves no trace of any of them. */
export const createUserSaga = defineSaga(
  'createUserSaga',
  {
    A: compensatable<typeof user>('user'),
    B: compensatable<typeof address>('address'),
    C: compensatable<typeof payment>('payment'),
  },
  async (step, { username, address, payment }: CreateUser) => {
    const { userId } = await step.A({ username })
    await step.B({ userId, address })
    await step.C({ userId, payment })
    return { userId }
  },
)

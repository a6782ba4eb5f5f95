import { patched, sleep } from '@temporalio/workflow'
import { compensatable, defineSaga } from '../../src/saga/workflow/define-saga.js'
import type { address } from '../../src/services/address.js'
import type { payment } from '../../src/services/payment.js'
import type { user } from '../../src/services/user.js'
import type { CreateUser } from '../../src/workflows/create-user-input.js'
import type { effectService } from '../helpers/engine.js'

/** What somebody may make of createUserSaga while sagas of it are in flight: docs/change-a-saga.md. */

const A = compensatable<typeof user>('user')
const B = compensatable<typeof address>('address')
const C = compensatable<typeof payment>('payment')
const D = compensatable<ReturnType<typeof effectService>>('letter')

export const unchanged = defineSaga('createUserSaga', { A, B, C }, async (step, input: CreateUser) => {
  const { userId } = await step.A({ username: input.username })
  await step.B({ userId, address: input.address })
  await step.C({ userId, payment: input.payment })
  return { userId }
})

export const otherInput = defineSaga('createUserSaga', { A, B, C }, async (step, input: CreateUser) => {
  const { userId } = await step.A({ username: input.username.toUpperCase() })
  await step.B({ userId, address: `${input.address}, Zürich` })
  await step.C({ userId, payment: input.payment })
  return { userId, address: input.address }
})

export const stepSwapped = defineSaga('createUserSaga', { A, B, C }, async (step, input: CreateUser) => {
  const { userId } = await step.A({ username: input.username })
  await step.C({ userId, payment: input.payment })
  await step.B({ userId, address: input.address })
  return { userId }
})

export const stepRenamed = defineSaga('createUserSaga', { A, address: B, C }, async (step, input: CreateUser) => {
  const { userId } = await step.A({ username: input.username })
  await step.address({ userId, address: input.address })
  await step.C({ userId, payment: input.payment })
  return { userId }
})

export const stepRemoved = defineSaga('createUserSaga', { A, B, C }, async (step, input: CreateUser) => {
  const { userId } = await step.A({ username: input.username })
  await step.C({ userId, payment: input.payment })
  return { userId }
})

export const stepInTheMiddle = defineSaga('createUserSaga', { A, D, B, C }, async (step, input: CreateUser) => {
  const { userId } = await step.A({ username: input.username })
  await step.D({ userId })
  await step.B({ userId, address: input.address })
  await step.C({ userId, payment: input.payment })
  return { userId }
})

export const stepAtTheEnd = defineSaga('createUserSaga', { A, B, C, D }, async (step, input: CreateUser) => {
  const { userId } = await step.A({ username: input.username })
  await step.B({ userId, address: input.address })
  await step.C({ userId, payment: input.payment })
  await step.D({ userId })
  return { userId }
})

export const stepGuarded = defineSaga('createUserSaga', { A, B, C, D }, async (step, input: CreateUser) => {
  const { userId } = await step.A({ username: input.username })
  await step.B({ userId, address: input.address })
  await step.C({ userId, payment: input.payment })
  if (patched('letter')) await step.D({ userId })
  return { userId }
})

export const stepsInParallel = defineSaga('createUserSaga', { A, B, C }, async (step, input: CreateUser) => {
  const { userId } = await step.A({ username: input.username })
  await Promise.all([
    step.B({ userId, address: input.address }),
    step.C({ userId, payment: input.payment }),
  ])
  return { userId }
})

export const timerAdded = defineSaga('createUserSaga', { A, B, C }, async (step, input: CreateUser) => {
  const { userId } = await step.A({ username: input.username })
  await sleep('1s')
  await step.B({ userId, address: input.address })
  await step.C({ userId, payment: input.payment })
  return { userId }
})

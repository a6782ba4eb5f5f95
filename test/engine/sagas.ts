import { sleep } from '@temporalio/workflow'
import { compensatable, defineSaga, pivot, retriable } from '../../src/saga/workflow/define-saga.js'
import type { effectService } from '../helpers/engine.js'

export * from '../../src/saga/workflow/engine.js'

type Effect = ReturnType<typeof effectService>

const steps = {
  flight: compensatable<Effect>('flight'),
  hotel: compensatable<Effect>('hotel'),
  charge: pivot<Effect>('charge'),
  ticket: retriable<Effect>('ticket'),
  letter: retriable<Effect>('letter'),
}

/** Two steps that can be undone, the point of no return, and two behind it. */
export const tripSaga = defineSaga('tripSaga', steps, async (step, input: { to: string }) => {
  await step.flight(input)
  await step.hotel(input)
  const { by } = await step.charge(input)
  const ticket = await step.ticket(input)
  await step.letter(input)
  return { by, ticket: ticket?.by ?? 'by hand' }
})

/** The same with what can go side by side so, in another order than the declared one. */
export const sideBySideSaga = defineSaga('sideBySideSaga', steps, async (step, input: { to: string }) => {
  const [hotel, flight] = await Promise.all([step.hotel(input), step.flight(input)])
  await step.charge(input)
  const [letter, ticket] = await Promise.all([step.letter(input), step.ticket(input)])
  return { by: [flight.by, hotel.by, ticket?.by ?? 'by hand', letter?.by ?? 'by hand'] }
})

/** Sleeps so long before the steps that the input names. */
export const napSaga = defineSaga('napSaga', steps, async (step, input: { naps?: { [before: string]: number } }) => {
  const napBefore = async (name: string) => {
    const ms = input.naps?.[name]
    if (ms !== undefined) await sleep(ms)
  }
  await napBefore('flight')
  await step.flight(input)
  await napBefore('hotel')
  await step.hotel(input)
  await napBefore('charge')
  await step.charge(input)
  await napBefore('ticket')
  await step.ticket(input)
  await step.letter(input)
})

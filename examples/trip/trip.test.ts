import { afterAll, expect, test } from '@jest/globals'
import { CancelledFailure } from '@temporalio/client'
import { accountOf, decide, failureOf, startSystem, until } from './system.js'

const system = await startSystem()
afterAll(() => system.stop())

const untouched = { seats: 10, rooms: 5 }

test.concurrent('a trip is booked, charged and ticketed', async () => {
  const trip = await system.offer()
  const saga = await system.start(trip)

  const result: { nights: number; ticket: string } = await saga.result()

  const { rows } = await system.pool.query('SELECT number, email FROM ticket WHERE saga_id = $1', [saga.workflowId])
  expect(rows).toEqual([{ number: result.ticket, email: trip.email }])
  expect(result.nights).toBe(3)
  expect(await system.booked(saga.workflowId)).toEqual({
    ...{ flight_booking: 1, room_booking: 1, breakfast_booking: 1, car_booking: 1, trip_charge: 1, ticket: 1 },
  })
  expect(await system.free(trip)).toEqual({ seats: 8, rooms: 4 })
})

test.concurrent('a declined card undoes car, stay and flight', async () => {
  const trip = await system.offer()
  const saga = await system.start({ ...trip, cents: 900_000 })

  const { failedStep, error, compensations } = await accountOf(saga)

  expect(failedStep).toBe('charge')
  expect(error).toEqual({ type: 'Rejected', message: 'the card was declined' })
  expect(compensations.map(({ step, status }) => `${step}: ${status}`)).toEqual([
    'charge: empty',
    'car: done',
    'stay: done',
    'flight: done',
  ])
  expect(await system.undone(saga.workflowId)).toEqual(['car', 'breakfast', 'room', 'stay', 'flight'])
  expect(await system.booked(saga.workflowId)).toEqual({})
  expect(await system.free(trip)).toEqual(untouched)
})

test.concurrent('a car of an unknown class is refused, and nothing is charged', async () => {
  const trip = await system.offer()
  const saga = await system.start({ ...trip, carClass: 'zeppelin' })

  const { failedStep, error } = await accountOf(saga)

  expect(failedStep).toBe('car')
  expect(error.message).toBe('there is no car of class zeppelin')
  expect(await system.undone(saga.workflowId)).toEqual(['breakfast', 'room', 'stay', 'flight'])
  expect(await system.booked(saga.workflowId)).toEqual({})
  expect(await system.free(trip)).toEqual(untouched)
})

test.concurrent('a flight without enough seats is refused, and nothing else is tried', async () => {
  const trip = await system.offer()
  const saga = await system.start({ ...trip, seats: 11 })

  expect((await accountOf(saga)).failedStep).toBe('flight')
  expect(await system.undone(saga.workflowId)).toEqual([])
  expect(await system.free(trip)).toEqual(untouched)
})

test.concurrent('a stay without a room is refused, and the flight undone', async () => {
  const trip = await system.offer()
  await system.pool.query('UPDATE hotel_rooms SET free = 0 WHERE hotel = $1', [trip.hotel])
  const saga = await system.start(trip)

  expect((await accountOf(saga)).failedStep).toBe('stay')
  expect(await system.undone(saga.workflowId)).toEqual(['flight'])
  expect(await system.free(trip)).toEqual({ seats: 10, rooms: 0 })
})

test.concurrent('a cancel while the car is being booked undoes the trip', async () => {
  const trip = await system.offer()
  const desk = await system.pool.connect() // somebody else has the car's class in hand
  await desk.query('BEGIN')
  await desk.query('SELECT FROM car_class WHERE class = $1 FOR UPDATE', [trip.carClass])
  const saga = await system.start(trip)
  // A first attempt and all that follows it is one workflow task, which hears of no cancel: wait for its failure.
  await until(saga, ({ steps }) =>
    steps.some(({ step, status, attempts }) => step === 'car' && status === 'running' && attempts > 0),
  )

  await saga.cancel()
  await desk.query('COMMIT')
  desk.release()

  expect(await failureOf(saga)).toBeInstanceOf(CancelledFailure)
  expect(await system.booked(saga.workflowId)).toEqual({})
  expect(await system.free(trip)).toEqual(untouched)
})

test.concurrent('an undo that is refused waits for a person, and is tried again', async () => {
  const trip = await system.offer()
  await system.pool.query('UPDATE car_class SET takes_back = false WHERE class = $1', [trip.carClass])
  const saga = await system.start({ ...trip, cents: 900_000 })

  const waiting = await until(saga, ({ status }) => status === 'NEEDS_ATTENTION')
  expect(waiting.compensations.find(({ step }) => step === 'car')?.status).toBe('stuck')
  expect((await system.booked(saga.workflowId))['car_booking']).toBe(1)

  await system.pool.query('UPDATE car_class SET takes_back = true WHERE class = $1', [trip.carClass])
  await decide(saga, { step: 'car', action: 'retry' })

  expect((await accountOf(saga)).failedStep).toBe('charge')
  expect(await system.undone(saga.workflowId)).toEqual(['car', 'breakfast', 'room', 'stay', 'flight'])
  expect(await system.booked(saga.workflowId)).toEqual({})
  expect(await system.free(trip)).toEqual(untouched)
})

test.concurrent('an undo that is refused can be left as it is', async () => {
  const trip = await system.offer()
  await system.pool.query('UPDATE car_class SET takes_back = false WHERE class = $1', [trip.carClass])
  const saga = await system.start({ ...trip, cents: 900_000 })
  await until(saga, ({ status }) => status === 'NEEDS_ATTENTION')

  await decide(saga, { step: 'car', action: 'skip' })

  const { compensations } = await accountOf(saga)
  expect(compensations.find(({ step }) => step === 'car')?.status).toBe('skipped')
  expect(await system.booked(saga.workflowId)).toEqual({ car_booking: 1 })
  expect(await system.free(trip)).toEqual(untouched)
})

test.concurrent.each([
  ['retry', 1],
  ['resolve', 0],
] as const)('a refused ticket waits for a person: %s', async (action, tickets) => {
  const trip = await system.offer()
  await system.pool.query('INSERT INTO closed_ticket_office VALUES ($1)', [trip.flight])
  const saga = await system.start(trip)
  const waiting = await until(saga, ({ status }) => status === 'NEEDS_ATTENTION')
  expect(waiting.steps.find(({ step }) => step === 'ticket')?.status).toBe('stuck')

  await system.pool.query('DELETE FROM closed_ticket_office WHERE flight = $1', [trip.flight])
  await decide(saga, { step: 'ticket', action })

  const result: { ticket: string | null } = await saga.result()
  expect(result.ticket === null).toBe(action === 'resolve')
  const { ticket = 0, trip_charge } = await system.booked(saga.workflowId)
  expect({ ticket, trip_charge }).toEqual({ ticket: tickets, trip_charge: 1 })
  expect(await system.free(trip)).toEqual({ seats: 8, rooms: 4 })
})

test.concurrent.each(['group', 'bulk'] as const)('trips that share a run, a %s, have a stay each', async (how) => {
  const [good, declined] = [await system.offer(), await system.offer()]

  const [booked = '', undone = ''] = await system.startTogether(how, [good, { ...declined, cents: 900_000 }])

  expect(await system.ended(booked)).toBe('COMPLETED')
  expect(await system.ended(undone)).toBe('COMPENSATED')
  expect(await system.booked(booked)).toEqual({
    ...{ flight_booking: 1, room_booking: 1, breakfast_booking: 1, car_booking: 1, trip_charge: 1, ticket: 1 },
  })
  expect(await system.undone(undone)).toEqual(['car', 'breakfast', 'room', 'stay', 'flight'])
  expect(await system.booked(undone)).toEqual({})
  expect([await system.free(good), await system.free(declined)]).toEqual([{ seats: 8, rooms: 4 }, untouched])
})

test.concurrent('input that is not right ends the saga before anything ran', async () => {
  const trip = await system.offer()
  const saga = await system.start({ ...trip, seats: 0, email: '' })

  expect(await failureOf(saga)).toMatchObject({
    type: 'InvalidInput',
    details: [
      [
        { path: '/email', message: 'must be a text' },
        { path: '/seats', message: 'must be a whole number above 0' },
      ],
    ],
  })
  expect(await system.booked(saga.workflowId)).toEqual({})
  expect(await system.free(trip)).toEqual(untouched)
})

import { compensatable, defineSaga, nested, pivot, retriable } from '../../src/saga/workflow/define-saga.js'
import type { breakfast, car, charge, flight, room, ticket } from './services/index.js'

export * from '../../src/saga/workflow/engine.js'

export interface Stay {
  hotel: string
  nights: number
}

export interface Trip {
  email: string
  flight: string
  seats: number
  hotel: string
  nights: number
  carClass: string
  cents: number
}

/** A room with breakfast, or nothing. */
export const staySaga = defineSaga(
  'staySaga',
  { room: compensatable<typeof room>('room'), breakfast: compensatable<typeof breakfast>('breakfast') },
  async (step, { hotel, nights }: Stay) => {
    await step.room({ hotel, nights })
    await step.breakfast({ hotel, mornings: nights })
    return { hotel, nights }
  },
)

/** Books flight, stay and car, charges and sends the ticket, or charges nothing and leaves nothing booked. */
export const tripSaga = defineSaga(
  'tripSaga',
  {
    flight: compensatable<typeof flight>('flight'),
    stay: nested(staySaga),
    car: compensatable<typeof car>('car'),
    charge: pivot<typeof charge>('charge'),
    ticket: retriable<typeof ticket>('ticket'),
  },
  async (step, { email, flight, seats, hotel, nights, carClass, cents }: Trip) => {
    await step.flight({ flight, seats })
    const stay = await step.stay({ hotel, nights })
    await step.car({ class: carClass, days: stay.nights })
    await step.charge({ cents })
    const sent = await step.ticket({ flight, email })
    return { nights: stay.nights, ticket: sent?.number ?? null }
  },
)

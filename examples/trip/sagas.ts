import type { SagaType } from '../../src/saga/node/saga-type.js'
import type { Stay, Trip } from './workflows.js'

type Check = (value: unknown) => string | undefined

const text: Check = (value) => (typeof value === 'string' && value ? undefined : 'must be a text')
const count: Check = (value) =>
  Number.isInteger(value) && Number(value) > 0 ? undefined : 'must be a whole number above 0'

/** All that is wrong with the fields of a request. */
function problemsOf(request: unknown, checks: Record<string, Check>) {
  const fields = (request ?? {}) as Record<string, unknown>
  return Object.entries(checks).flatMap(([name, check]) => {
    const message = check(fields[name])
    return message ? [{ path: `/${name}`, message }] : []
  })
}

export const trip: SagaType<Trip> = {
  type: 'tripSaga',
  parse(request) {
    const problems = problemsOf(request, {
      email: text,
      flight: text,
      seats: count,
      hotel: text,
      nights: count,
      carClass: text,
      cents: count,
    })
    if (problems.length > 0) return { problems }
    const { email, flight, seats, hotel, nights, carClass, cents } = request as Trip
    return { input: { email, flight, seats, hotel, nights, carClass, cents } }
  },
  view: ({ flight, seats, hotel, nights, carClass }) => ({ flight, seats, hotel, nights, carClass }),
  label: ({ flight }) => flight,
  secrets: ({ email }) => [email],
}

export const stay: SagaType<Stay> = {
  type: 'staySaga',
  parse(request) {
    const problems = problemsOf(request, { hotel: text, nights: count })
    if (problems.length > 0) return { problems }
    const { hotel, nights } = request as Stay
    return { input: { hotel, nights } }
  },
  view: ({ hotel, nights }) => ({ hotel, nights }),
  label: ({ hotel }) => hotel,
  secrets: () => [],
}

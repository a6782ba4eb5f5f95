import { fileURLToPath } from 'node:url'
import { defineMatrix } from '../../src/saga/testing/index.js'
import { stay, trip } from './sagas.js'
import { breakfast, car, charge, flight, room, ticket } from './services/index.js'
import { tripSaga } from './workflows.js'

/** All that the test kit needs to know. A module of its own: the kit's workers are processes that import it. */
export default defineMatrix({
  saga: tripSaga,
  workflows: { workflowsPath: fileURLToPath(new URL('./workflows.js', import.meta.url)) },
  participants: [flight, room, breakfast, car, charge, ticket],
  sagas: [trip, stay],
  // A flight and a hotel for each, so that no two wait for the same counter.
  input: (n) => ({
    ...{ email: `traveller-${n}@example.org`, flight: `flight ${n}`, seats: 1, hotel: `hotel ${n}`, nights: 2 },
    ...{ carClass: 'van', cents: 90_000 },
  }),
})

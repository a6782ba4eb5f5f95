import { sagas, services } from '../../dist/activities/index.js'
import { defineMatrix } from '../../dist/saga/testing/index.js'
import { payloadConverterPath, workflowBundle } from '../../dist/temporal.js'
import { createUserSaga } from '../../dist/workflows/create-user.js'

// JavaScript, on what `npm run build` made: the kit's workers are processes of their own.
export default defineMatrix({
  saga: createUserSaga,
  workflows: workflowBundle,
  dataConverter: { payloadConverterPath },
  participants: services,
  sagas,
  input: (n) => ({ username: `user ${n}`, address: `${n} Byron Street`, payment: `4111 1111 1111 ${1000 + n}` }),
})

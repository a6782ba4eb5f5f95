import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { createUserSaga } from '../../workflows/create-user.js'
import { answers } from '../openapi.js'
import { SagaTypes } from '../schemas/saga-types.js'

const { type, steps } = createUserSaga
const types = [{ type, steps: Object.entries(steps).map(([step, { kind, service }]) => ({ step, kind, service })) }]

/** GET /saga-types: the declared steps of each type. The console and failure injection read them. */
export const sagaTypeRoutes: FastifyPluginAsyncTypebox = async (app) => {
  const schema = {
    tags: ['sagas'],
    summary: 'The types of sagas, and their steps',
    response: answers({ 200: SagaTypes }),
  }
  app.get('/saga-types', { schema }, async () => ({ types }))
}

import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { completeFailures, type Failures as Complete } from '../../saga/failure.js'
import { readFailures, replaceFailures } from '../../saga/node/failure-injection.js'
import { createUserSaga } from '../../workflows/create-user.js'
import type { AppContext } from '../app.js'
import { HttpProblem } from '../problem.js'
import { answers } from '../openapi.js'
import { Failures, FailuresInForce } from '../schemas/failure.js'

const none = { mode: 'none', when: 'before', kind: 'error', on: 'invoke' } as const

/** GET and PUT /failures: what is injected into sagas without failures of their own. */
export const failureRoutes =
  ({ config, pool }: AppContext): FastifyPluginAsyncTypebox =>
  async (app) => {
    const allow = { type: 'string', description: 'Without PUT: failure injection is off here.' }
    const schema = {
      tags: ['failures'],
      summary: 'What is injected into sagas without failures of their own',
      response: answers({ 200: { ...FailuresInForce, headers: { allow } } }),
    }
    app.get('/failures', { schema }, async (_request, reply) =>
      reply
        .header('allow', config.failureInjection ? 'GET, HEAD, PUT' : 'GET, HEAD')
        .send(config.failureInjection ? inForce(await readFailures(pool)) : inForce({})),
    )

    const change = {
      tags: ['failures'],
      summary: 'Replace all of it, and start its counts anew',
      body: Failures,
      response: answers({ 200: FailuresInForce }, 400, 413, 415),
    }
    app.put('/failures', { schema: change, config: { role: 'operator' } }, async (request) => {
      if (!config.failureInjection) throw new HttpProblem(403, 'Failure injection is off here (FAILURE_INJECTION).')
      const failures = completeFailures(request.body)
      await replaceFailures(pool, failures)
      return inForce(failures)
    })
  }

/** Every service by name; a single failure stands alone, as it would be put. */
function inForce(failures: Complete) {
  const shown = (list: Complete[string] = []) => (list.length > 1 ? list : (list[0] ?? none))
  return Object.fromEntries(Object.keys(createUserSaga.steps).map((step) => [step, shown(failures[step])]))
}

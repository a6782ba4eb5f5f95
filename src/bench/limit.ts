import { randomUUID } from 'node:crypto'
import fastify from 'fastify'
import type { AppMessage } from '../embedded/app-process.js'
import { loadConfig } from '../config.js'
import { FailureType, isFailure, rejected } from '../saga/errors.js'
import { throughBarrier, type AnyService, type BarredParticipant } from '../saga/node/barrier.js'
import { makePool, participantBounds, prepared, type Queryable } from '../saga/node/db.js'
import { address } from '../services/address.js'
import { payment } from '../services/payment.js'
import { user } from '../services/user.js'
import type { CreateUser } from '../workflows/create-user-input.js'
import { inLanes } from './measure.js'

/**
 * What no engine can take away: the participants' statements, each saga's behind its own barrier, with the log's row in the
 * same transaction, from a plain loop. Nothing is durable but the rows: who ends it in the middle of a saga leaves it there.
 */
export type LimitRequest = CreateUser & { refuse?: boolean }

/** So many sagas without HTTP between them, of which every so many-th is refused (0: none). */
export interface ManyRequest extends CreateUser {
  sagas: number
  refusedOf: number
}

/** As many as the loop has under way, each in one transaction. */
const CONNECTIONS = 16

const { databaseUrl, host, port } = loadConfig()
const pool = makePool(databaseUrl, { max: CONNECTIONS, name: 'bench-limit', bounds: participantBounds, waitMs: 60_000 })

interface LogEntry {
  service: string
  status: string
  message: string
}

function log(db: Queryable, sagaId: string, ...entries: LogEntry[]): Promise<unknown> {
  return db.query(
    prepared(
      `INSERT INTO saga_log (saga_id, service, status, message)
       SELECT $1, service, status, message FROM unnest($2::text[], $3::text[], $4::text[]) AS e (service, status, message)`,
      [sagaId, ...(['service', 'status', 'message'] as const).map((of) => entries.map((entry) => entry[of]))],
    ),
  )
}

/** The participant behind its barrier, with a row of the log in each of its transactions. */
function step(name: string, service: AnyService): BarredParticipant {
  return throughBarrier(pool, {
    name: service.name,
    // Both statements go out together.
    async invoke(tx, call) {
      const logged = { service: name, status: 'success', message: 'applied' }
      const [result] = await Promise.all([service.invoke(tx, call), log(tx, call.sagaId, logged)])
      return result
    },
    async compensate(tx, call) {
      const logged = { service: `COMPENSATE_${name}`, status: 'success', message: 'done' }
      await Promise.all([service.compensate?.(tx, call), log(tx, call.sagaId, logged)])
    },
  })
}

const A = step('A', user)
const B = step('B', address)
const C = step('C', payment)
const refusing = throughBarrier(pool, { name: 'payment', invoke: () => Promise.reject(rejected('payment refuses')) })

async function saga({ username, address, payment, refuse = false }: LimitRequest) {
  const sagaId = randomUUID()
  await log(pool, sagaId, { service: 'SAGA', status: 'started', message: username })
  const { userId } = (await A.invoke({ sagaId, step: 'A', input: { username } })).result as { userId: string }
  await B.invoke({ sagaId, step: 'B', input: { userId, address } })
  if (!refuse) {
    await C.invoke({ sagaId, step: 'C', input: { userId, payment } })
    await log(pool, sagaId, { service: 'SAGA', status: 'completed', message: 'completed' })
    return { sagaId, status: 'COMPLETED' }
  }
  await refusing.invoke({ sagaId, step: 'C', input: { userId, payment } }).catch((error: unknown) => {
    if (!isFailure(error, FailureType.Rejected)) throw error
  })
  await log(
    pool,
    sagaId,
    { service: 'C', status: 'failed', message: 'Rejected: payment refuses' },
    { service: 'ROLLBACK', status: 'triggered', message: 'step C failed' },
  )
  await B.compensate({ sagaId, step: 'B' })
  await A.compensate({ sagaId, step: 'A' })
  await log(pool, sagaId, { service: 'SAGA', status: 'compensated', message: 'compensated' })
  return { sagaId, status: 'COMPENSATED' }
}

const app = fastify()
app.post('/saga', (request) => saga(request.body as LimitRequest))
app.post('/many', async (request) => {
  const { sagas, refusedOf, ...input } = request.body as ManyRequest
  let made = 0
  const one = () => saga({ ...input, refuse: refusedOf > 0 && ++made % refusedOf === 0 })
  return (await inLanes(one, { sagas, inFlight: CONNECTIONS })).answers
})
const url = await app.listen({ host, port })
process.once('SIGTERM', () => process.exit(0))
process.once('disconnect', () => process.exit(0))
process.on('SIGINT', () => {})
process.send?.({ type: 'ready', url } satisfies AppMessage)

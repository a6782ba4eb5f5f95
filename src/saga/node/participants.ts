import type { Pool } from './db.js'
import { throughBarrier, type AnyService, type BarredParticipant } from './barrier.js'
import { injectedRefusal, withFailureInjection, type Injection } from './failure-injection.js'

/**
 * The participants by name, each behind its barrier in the database of `pool`, and with the failures that a call brings
 * along injected around it. Throws, naming it, where there is no such participant.
 */
export function makeParticipants(
  services: AnyService[],
  pool: Pool,
  { failureInjection }: { failureInjection: boolean },
): (name: string, injection: Injection | undefined) => BarredParticipant {
  const barred = new Map<string, { real: BarredParticipant; refusing: BarredParticipant }>(
    services.map((service) => {
      const refuse = { ...service, invoke: () => Promise.reject(injectedRefusal(service.name)) }
      return [service.name, { real: throughBarrier(pool, service), refusing: throughBarrier(pool, refuse) }]
    }),
  )
  return (name, injection) => {
    const service = barred.get(name)
    if (!service) throw new Error(`This worker has no participant ${name}; add it to its list`)
    if (!failureInjection || !injection) return service.real
    return withFailureInjection(pool, service.real, service.refusing, injection)
  }
}

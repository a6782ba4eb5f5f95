import type { Pool } from './db.js'
import { throughBarrier, type AnyService, type BarredParticipant } from './barrier.js'
import { countCalls, refusing, withFailureInjection, type Injection } from './failure-injection.js'
import { remoteParticipant } from './remote.js'

export interface ParticipantOptions {
  failureInjection: boolean
  /** Where those are that run elsewhere, by name: each behind a barrier of its own there. */
  remotes?: Readonly<Record<string, string>>
  /** What goes along with calls of those. */
  remoteHeaders?: () => Record<string, string>
}

/**
 * The participants by name, each behind its barrier in the database of `pool`, and with the failures that a call brings
 * along injected around it; one that runs elsewhere is told them. Throws, naming it, where there is no such participant.
 */
export function makeParticipants(
  services: AnyService[],
  pool: Pool,
  { failureInjection, remotes = {}, remoteHeaders }: ParticipantOptions,
): (name: string, injection: Injection | undefined) => BarredParticipant {
  const elsewhere = new Map(
    Object.entries(remotes).map(([name, url]) => [name, remoteParticipant(name, url, remoteHeaders)]),
  )
  const barred = new Map<string, { real: BarredParticipant; refusing: BarredParticipant }>(
    services.map((service) => [
      service.name,
      { real: throughBarrier(pool, service), refusing: throughBarrier(pool, refusing(service)) },
    ]),
  )
  const counts = countCalls(pool)
  return (name, injection) => {
    const remote = elsewhere.get(name)
    if (remote) return remote.as(failureInjection ? injection : undefined)
    const service = barred.get(name)
    if (!service) throw new Error(`This worker has no participant ${name}; add it to its list`)
    if (!failureInjection || !injection?.failures.length) return service.real
    return withFailureInjection(counts, service.real, service.refusing, injection)
  }
}

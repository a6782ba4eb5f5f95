import { startLimit, startOurs, startSample, type Contender } from './contenders.js'
import { carriersOf, historyOf } from './histories.js'
import { inLanes, measured } from './measure.js'
import { loadCase, type Kind, type Measured } from './results.js'
import { alternating, type Part } from './rounds.js'
import { checkRows } from './rows.js'

/** Of what the plan says a contender makes so much: each is to be under load for some seconds. */
const SHARE = { single: 1, grouped: 8, sample: 0.5, limit: 8, bulk: 1, plain: 1, bare: 1 } as const

/** How many sagas a batch has. */
function sagasOf({ name }: Contender, kind: Kind, inFlight: number, sagas: number): number {
  // With the demo's failures a saga waits for its retries.
  if (inFlight === 1) return Math.max(1, kind === 'demo' ? Math.floor(sagas / 16) : sagas)
  const share = kind === 'demo' ? Math.min(SHARE[name], 4) : SHARE[name]
  return Math.max(inFlight, Math.floor(sagas * (inFlight < 64 ? share / 2 : share)))
}

/** Sagas by `POST /saga`, each answered once it has ended. */
export const load: Part = async (servers, plan, record, { withBare }) => {
  const { sample, bare } = await startSample(servers)
  const contenders = [
    await startOurs('single', servers),
    await startOurs('grouped', servers),
    sample,
    await startLimit(servers),
    ...(withBare ? [bare] : []),
  ]
  const cases = (['happy', 'refused', 'demo'] as const).flatMap((kind) =>
    plan.inFlight.map((inFlight) => ({ kind, inFlight })),
  )
  await servers.output.during('POST /saga: warming up', async () => {
    for (const contender of contenders) {
      for (const kind of ['happy', 'refused'] as const) {
        const inFlight = Math.max(...plan.inFlight.filter((n) => n <= 64))
        await batch(contender, kind, { sagas: sagasOf(contender, kind, inFlight, plan.sagas), inFlight })
      }
    }
  })
  const races = cases.map((one) =>
    contenders.filter(({ kinds }) => kinds.includes(one.kind)).map((contender) => ({ contender, ...one })),
  )
  await alternating(servers, plan, 'POST /saga', races, async ({ contender, kind, inFlight }) => {
    const sagas = sagasOf(contender, kind, inFlight, plan.sagas)
    record(loadCase(kind, inFlight), contender.name, await batch(contender, kind, { sagas, inFlight }))
  })
  await Promise.all(contenders.map((contender) => contender.stop()))
}

/** So many sagas, `inFlight` at a time. */
async function batch(
  contender: Contender,
  kind: Kind,
  { sagas, inFlight }: { sagas: number; inFlight: number },
): Promise<Measured> {
  const { database, temporal, keeps } = contender
  await contender.prepare(kind)
  const { answer, used } = await measured(contender.pids, sagas, () =>
    inLanes(() => contender.one(kind), { sagas, inFlight }),
  )
  const ids = answer.answers.map(({ sagaId }) => sagaId)
  if (keeps !== 'nothing') await checkRows(database, answer.answers, { kind, hasLog: keeps === 'rows and log' })
  const isOurs = contender.name === 'single' || contender.name === 'grouped'
  const carriers = isOurs ? await carriersOf(database, ids) : ids.map((id) => ({ id, sagas: 1 }))
  return { ...answer.timed, ...used, ...(temporal && (await historyOf(temporal, carriers))) }
}

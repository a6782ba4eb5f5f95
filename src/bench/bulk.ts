import type { Bulk, BulkAccepted } from '../http/schemas/bulk.js'
import { linesOf, manyOf, startLimit, startOurs, type Contender } from './contenders.js'
import { historyOfAll } from './histories.js'
import { ask } from './http.js'
import { inLanes, measured, percentiles } from './measure.js'
import {
  besideCase,
  bulkCase,
  IDLE_CASE,
  REFUSED_OF_BULK,
  type ContenderName,
  type Kind,
  type Measured,
} from './results.js'
import { alternating, type Part } from './rounds.js'
import { checkRows, type Ended } from './rows.js'

/** Sagas that the API takes in one call; more of them are several bulks at once. */
const MOST = 10_000

/** Sagas by `POST /saga/bulk`, from the call until the last of them has ended; beside them as many from a plain loop. */
export const bulks: Part = async (servers, plan, record) => {
  const single = await startOurs('single', servers, 'bulk')
  const plain = await startOurs('plain', servers)
  const limit = await startLimit(servers, 'limit-of-bulk')
  const run = async (who: ContenderName, kind: Kind, sagas: number): Promise<Measured> => {
    if (who === 'limit') return loop(limit, kind, sagas)
    return bulk(who === 'plain' ? plain : single, kind, sagas)
  }
  const race = (kind: Kind, sagas: number, ...all: ContenderName[]) => all.map((who) => ({ who, kind, sagas }))
  const races = [
    ...plan.bulks.map((sagas) =>
      race('happy', sagas, 'bulk', ...(sagas === plan.bulk ? (['plain', 'limit'] as const) : [])),
    ),
    race('refused', plan.bulk, 'bulk', 'limit'),
    race('demo', plan.bulk, 'bulk'),
  ]
  await servers.output.during('POST /saga/bulk: warming up', async () => {
    for (const who of ['bulk', 'plain', 'limit'] as const) await run(who, 'happy', Math.ceil(plan.bulk / 10))
  })
  await alternating(servers, plan, 'POST /saga/bulk', races, async ({ who, kind, sagas }) =>
    record(bulkCase(kind, sagas), who, await run(who, kind, sagas)),
  )
  await alternating(servers, plan, 'Beside a bulk', [[false, true]], async (isBeside) =>
    isBeside
      ? record(besideCase(plan.bulk), 'single', await besideBulk(single, plan.bulk))
      : record(IDLE_CASE, 'single', await besideNothing(single, plan.alone)),
  )
  await Promise.all([single, plain, limit].map((contender) => contender.stop()))
}

/** So many sagas in as few bulks as they go into. */
export async function bulk(contender: Contender, kind: Kind, sagas: number): Promise<Measured> {
  const { temporal } = contender
  await contender.prepare(kind)
  const sizes = Array.from({ length: Math.ceil(sagas / MOST) }, (_, i) => Math.min(MOST, sagas - i * MOST))
  const bodies = sizes.map((size) => linesOf(kind, size))
  const began = Date.now()
  const { answer, used } = await measured(contender.pids, sagas, async () => {
    const acknowledgements: number[] = []
    const ends: Promise<Bulk>[] = []
    for (const body of bodies) {
      const { accepted, ms } = await post(contender, body)
      acknowledgements.push(ms)
      ends.push(untilEnded(contender.url + accepted.links.events))
    }
    return { ack: Math.max(...acknowledgements), ended: await Promise.all(ends) }
  })
  const bulkIds = answer.ended.map(({ bulkId }) => bulkId)
  const rows = await checked(contender, kind, { bulkIds, sagas })
  // PostgreSQL's clock is ours.
  const ms = rows.reduce((latest, { endedAt }) => Math.max(latest, endedAt.getTime()), 0) - began
  const carriers = bulkIds.map((id) => ({ id: `saga-bulk-${id}`, sagas: sagas / bulkIds.length }))
  return {
    throughput: (sagas / ms) * 1_000,
    acknowledged: (sagas / (ms - answer.ack)) * 1_000,
    ack: answer.ack,
    ...used,
    ...(temporal && (await historyOfAll(temporal, carriers))),
  }
}

/** The sagas of bulks, when each has ended as it should. */
async function checked(
  { database }: Contender,
  kind: Kind,
  { bulkIds, sagas }: { bulkIds: string[]; sagas: number },
): Promise<{ endedAt: Date }[]> {
  const { rows } = await database.query<Ended & { endedAt: Date }>(
    `SELECT saga_id AS "sagaId", status, ended_at AS "endedAt" FROM saga WHERE bulk_id = ANY ($1)`,
    [bulkIds],
  )
  if (rows.length !== sagas) throw new Error(`Of ${sagas} sagas of ${bulkIds.join(', ')} there are ${rows.length}`)
  await checkRows(database, rows, { kind, refusedOf: REFUSED_OF_BULK })
  return rows
}

/** As many by the statements alone. */
async function loop(limit: Contender, kind: Kind, sagas: number): Promise<Measured> {
  const { answer, used } = await measured(limit.pids, sagas, async () => {
    const began = performance.now()
    const ended = await manyOf(limit, kind, sagas)
    return { ended, ms: performance.now() - began }
  })
  await checkRows(limit.database, answer.ended, { kind, refusedOf: REFUSED_OF_BULK })
  return { throughput: (sagas / answer.ms) * 1_000, ...used }
}

async function besideNothing(contender: Contender, sagas: number): Promise<Measured> {
  await contender.prepare('happy')
  const { answers, timed } = await inLanes(() => contender.one('happy'), { sagas, inFlight: 1 })
  await checkRows(contender.database, answers, { kind: 'happy' })
  return timed
}

/** Single sagas one at a time while a bulk of so many runs. */
async function besideBulk(contender: Contender, sagas: number): Promise<Measured> {
  await contender.prepare('happy')
  const { accepted } = await post(contender, linesOf('happy', sagas))
  const over = untilEnded(contender.url + accepted.links.events)
  const bulk = { isOver: false }
  const noted = () => void (bulk.isOver = true)
  void over.then(noted, noted)
  const singles: Ended[] = []
  const latencies: number[] = []
  while (!bulk.isOver) {
    const asked = performance.now()
    singles.push(await contender.one('happy'))
    latencies.push(performance.now() - asked)
  }
  const { bulkId } = await over
  await checked(contender, 'happy', { bulkIds: [bulkId], sagas })
  await checkRows(contender.database, singles, { kind: 'happy' })
  const mean = latencies.reduce((sum, ms) => sum + ms, 0) / latencies.length
  return { throughput: 1_000 / mean, ...percentiles(latencies) }
}

async function post({ url }: Contender, body: Buffer): Promise<{ accepted: BulkAccepted; ms: number }> {
  const asked = performance.now()
  const options = { body, type: 'application/x-ndjson', status: 202 }
  const accepted = await ask<BulkAccepted>('POST', `${url}/saga/bulk`, options)
  return { accepted, ms: performance.now() - asked }
}

/** Follows the events of a bulk until it has ended. Where that fails it is heard of when it is awaited, and not before. */
function untilEnded(events: string): Promise<Bulk> {
  const ended = follow(events)
  ended.catch(() => {})
  return ended
}

async function follow(events: string): Promise<Bulk> {
  const { body } = await fetch(events, { headers: { accept: 'text/event-stream' } })
  let text = ''
  for await (const chunk of body?.pipeThrough(new TextDecoderStream()) ?? []) {
    text += chunk
    const [last] = [...text.matchAll(/^data: (.*)\n/gm)].slice(-1)
    if (!last) continue
    const bulk = JSON.parse(last[1] ?? '') as Bulk
    if (bulk.status === 'ENDED') return bulk
    if (bulk.status === 'PAUSED') throw new Error(`Bulk ${bulk.bulkId} has paused: ${bulk.pausedBecause}`)
    text = text.slice(last.index + last[0].length)
  }
  throw new Error(`${events} ended before its bulk`)
}

import { afterAll, beforeAll, expect, test } from '@jest/globals'
import type { Overview } from '../../src/http/schemas/overview.js'
import { Sagas, testReplay } from '../helpers/sagas.js'
import { query } from '../helpers/shared.js'
import { startSystem, type System } from '../helpers/system.js'
import { until } from '../helpers/until.js'

// A system of its own: all sagas there are count.
let system: System
let sagas: Sagas
beforeAll(async () => {
  system = await startSystem('overview')
  sagas = new Sagas(system.where)
})
afterAll(() => system?.stop())

async function overview(minutes?: number): Promise<Overview> {
  const response = await sagas.request(`/overview${minutes === undefined ? '' : `?minutes=${minutes}`}`)
  expect(response.status).toBe(200)
  return (await response.json()) as Overview
}

/** What is kept for 2 s is older than what has happened since: read on until it fits. */
const shown = (what: string, fits: (one: Overview) => boolean, minutes?: number): Promise<Overview> =>
  until(what, async () => {
    const one = await overview(minutes)
    return fits(one) && one
  })

const sum = (numbers: number[]) => numbers.reduce((all, one) => all + one, 0)
/** What a list of sagas that ended, or waited, would say. */
const total = ({ points }: Overview, of: 'started' | 'completed' | 'rolledBack') => sum(points.map((one) => one[of]))

const refusedC = { C: { mode: 'always', kind: 'reject' } } as const
/** Its undo of A is stuck after eight attempts, and succeeds at the ninth. */
const stuck = { ...refusedC, A: { mode: 'first', n: 8, on: 'compensate' } } as const

async function decide(sagaId: string, step: string, action: string): Promise<void> {
  const response = await sagas.post(`/saga/${sagaId}/decision`, { step, action, reason: 'seen to', actor: 'grace' })
  expect(response.status).toBe(200)
}

/** A saga as it would have been left some time ago, with the log rows of its waits; each is "secondsAgo service status". */
async function past(
  sagaId: string,
  {
    started,
    ended,
    status = 'COMPLETED',
    parent,
  }: { started: number; ended?: number; status?: string; parent?: string },
  log: string[] = [],
): Promise<void> {
  const fate = { COMPLETED: 'completed', COMPENSATED: 'rolledBack', PARTIALLY_COMPENSATED: 'rolledBack' }[status]
  await query(
    system.where.database,
    `INSERT INTO saga (saga_id, type, fate, status, view, input_hash, steps, parent_id, started_at, ended_at, progress_at)
     VALUES ($1, 'someoneElses', $2, $3, '{}', '', '[]', $4, now() - $5 * interval '1 s', now() - $6 * interval '1 s',
             now() - $7 * interval '1 s')`,
    [sagaId, fate ?? 'rollback', status, parent ?? null, started, ended ?? null, ended ?? started],
  )
  for (const row of log) {
    const [ago, service, status] = row.split(' ')
    await query(
      system.where.database,
      `INSERT INTO saga_log (saga_id, service, status, message, created_at)
       VALUES ($1, $2, $3, '', now() - $4::float8 * interval '1 s')`,
      [sagaId, service, status, ago],
    )
  }
}

/** The numbers that waited, as they follow one another. */
const waits = ({ points }: Overview) =>
  points.map(({ waiting }) => waiting).filter((one, i, all) => i === 0 || one !== all[i - 1])

test('with no saga at all there are points, and nothing in them', async () => {
  const { points, ...rest } = await overview()
  expect(rest).toEqual({
    at: expect.any(String),
    minutes: 60,
    widthS: 60,
    unfinished: { RUNNING: 0, COMPENSATING: 0, NEEDS_ATTENTION: 0 },
    ended: { COMPLETED: 0, COMPENSATED: 0, PARTIALLY_COMPENSATED: 0 },
    oldestWaitingS: 0,
    withoutProgress: 0,
  })
  expect(points).toHaveLength(60)
  for (const { at, ...point } of points) {
    expect(point).toEqual({ started: 0, completed: 0, rolledBack: 0, p50Ms: null, p95Ms: null, waiting: 0 })
    expect(new Date(at).getUTCSeconds()).toBe(0)
  }
})

test.each([
  { minutes: 5, widthS: 5 },
  { minutes: 7, widthS: 5 },
  { minutes: 15, widthS: 10 },
  { minutes: 61, widthS: 60 },
  { minutes: 360, widthS: 300 },
  { minutes: 1_440, widthS: 900 },
])('$minutes minutes are cut into points of $widthS s, the last one under way', async ({ minutes, widthS }) => {
  const one = await overview(minutes)
  expect(one).toMatchObject({ minutes, widthS })
  const { points } = one
  expect(points).toHaveLength(Math.ceil((minutes * 60) / widthS))
  expect(points.length).toBeLessThanOrEqual(120)
  const starts = points.map(({ at }) => Date.parse(at) / 1_000)
  expect(starts.map((start, i) => start - i * widthS)).toEqual(points.map(() => starts[0]))
  const sinceLast = Date.parse(one.at) / 1_000 - starts.at(-1)!
  expect(sinceLast).toBeGreaterThanOrEqual(0)
  expect(sinceLast).toBeLessThan(widthS)
})

test.each(['4', '1441', 'x', '5.5', ''])('minutes=%s is refused', async (minutes) => {
  const response = await sagas.request(`/overview?minutes=${minutes}`)
  expect(response.status).toBe(400)
  expect(await response.json()).toMatchObject({ errors: [{ path: '/minutes' }] })
})

test('sagas that complete, are rolled back, wait and are decided are told as they happen', async () => {
  const completed = await Promise.all([sagas.run(), sagas.run({ B: { mode: 'first', n: 1 } })])
  const [rolledBack, parked] = await Promise.all([sagas.run(refusedC), sagas.start(stuck)])
  await sagas.logged(parked, 'COMPENSATE_A stuck')
  const waiting = await shown('one waits', ({ unfinished }) => unfinished.NEEDS_ATTENTION === 1)
  expect(waiting).toMatchObject({
    unfinished: { RUNNING: 0, COMPENSATING: 0, NEEDS_ATTENTION: 1 },
    ended: { COMPLETED: 2, COMPENSATED: 1, PARTIALLY_COMPENSATED: 0 },
    withoutProgress: 0,
  })
  expect(waiting.oldestWaitingS).toBeGreaterThan(0)
  expect([total(waiting, 'started'), total(waiting, 'completed'), total(waiting, 'rolledBack')]).toEqual([4, 2, 1])
  expect(waits(waiting)).toEqual([0, 1])
  const took = [...completed, rolledBack].map(
    ({ startedAt, endedAt = '' }) => Date.parse(endedAt) - Date.parse(startedAt),
  )
  const longest = Math.max(...waiting.points.map(({ p95Ms }) => p95Ms ?? 0))
  expect(Math.abs(longest - Math.max(...took))).toBeLessThanOrEqual(1)
  for (const { completed, rolledBack, p50Ms, p95Ms } of waiting.points) {
    expect(p50Ms !== null).toBe(completed + rolledBack > 0)
    if (p50Ms !== null) expect(p50Ms).toBeLessThanOrEqual(p95Ms!)
  }

  await decide(parked, 'A', 'retry')
  await sagas.ended(parked)
  const after = await shown('it has ended', ({ ended }) => ended.COMPENSATED === 2)
  expect(after).toMatchObject({ unfinished: { NEEDS_ATTENTION: 0 }, oldestWaitingS: 0 })
  expect(after.points.at(-1)).toMatchObject({ waiting: 0 })
  expect(total(after, 'rolledBack')).toBe(2)
})

test('what ended lies where it did, and a saga nested in another only counts where it waits', async () => {
  const before = await overview(360)
  await past('long-ago', { started: 40_000, ended: 30_000 })
  await past('started-before', { started: 25_000, ended: 10_010, status: 'PARTIALLY_COMPENSATED' })
  await past('within', { started: 10_020, ended: 10_005 })
  await past('within.stay', { started: 10_020, ended: 10_005, parent: 'within' })
  await past('left', { started: 7_000, status: 'COMPENSATING' })
  const after = await shown('they count', ({ ended }) => ended.PARTIALLY_COMPENSATED === 1, 360)
  expect(after.ended).toEqual({
    ...before.ended,
    COMPLETED: before.ended.COMPLETED + 1,
    PARTIALLY_COMPENSATED: 1,
  })
  expect(total(after, 'started')).toBe(total(before, 'started') + 2)
  expect(after.unfinished.COMPENSATING).toBe(before.unfinished.COMPENSATING + 1)
  const [row] = await query<{ at: Date }>(
    system.where.database,
    `SELECT ended_at AS at FROM saga WHERE saga_id = 'within'`,
  )
  const there = after.points.findLast(({ at }) => Date.parse(at) <= row!.at.getTime())
  expect(there).toMatchObject({ completed: 1, p50Ms: 15_000 })
})

test('undo debt: a saga waits from its first stuck step until the last one is decided, and begins again', async () => {
  const before = waits(await overview(1_440)).at(-1)!
  // Stuck before the window, and still.
  await past('ever', { started: 90_000, status: 'NEEDS_ATTENTION' }, ['89000 COMPENSATE_A stuck'])
  // Stuck on two: one word is not enough.
  await past('two', { started: 70_000, ended: 50_000, status: 'COMPENSATED' }, [
    ...['69000 COMPENSATE_B stuck', '66000 COMPENSATE_A stuck', '63000 COMPENSATE_B decision'],
    ...['60000 COMPENSATE_A decision', '59999 SAGA compensated'],
  ])
  // Decided, and stuck once more, until its run is taken up again.
  await past('again', { started: 100_000, ended: 20_000, status: 'COMPENSATED' }, [
    ...['95000 COMPENSATE_A stuck', '48000 COMPENSATE_A decision', '45000 COMPENSATE_A stuck'],
    ...['42000 SAGA recovered', '41999 SAGA compensated'],
  ])
  // One that is a step of another.
  await past('trip.stay', { started: 30_000, status: 'NEEDS_ATTENTION', parent: 'trip' }, ['29000 COMPENSATE_A stuck'])
  const after = await shown('they wait', ({ unfinished }) => unfinished.NEEDS_ATTENTION === before + 2, 1_440)
  //                          ever again  two  two decided  again decided  stuck  recovered  stay
  expect(waits(after)).toEqual([2, 3, 2, 1, 2, 1, 2].map((one) => one + before))
  expect(after.oldestWaitingS).toBeGreaterThan(89_000)
})

test('it is one snapshot for 2 s, however many ask', async () => {
  const all = await Promise.all(Array.from({ length: 20 }, () => overview(33)))
  expect(new Set(all.map(({ at }) => at)).size).toBeLessThanOrEqual(2)
})

testReplay(() => sagas)

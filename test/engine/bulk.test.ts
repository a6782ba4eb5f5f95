import { afterAll, expect, test } from '@jest/globals'
import type { Bulk } from '../../src/http/schemas/bulk.js'
import { testEnded } from '../helpers/check-ended.js'
import { startEngine } from '../helpers/engine.js'
import { Sagas } from '../helpers/sagas.js'
import { query } from '../helpers/shared.js'
import { until } from '../helpers/until.js'
import { decide, Gated, parked, type Asked } from './gates.js'
import { tripSaga } from './sagas.js'

const names = ['flight', 'hotel', 'charge', 'ticket', 'letter']
const gated = new Gated()
const engine = await startEngine('bulk', {
  workflows: new URL('./sagas.ts', import.meta.url),
  services: names.map((name) => gated.service(name)),
  types: ['tripSaga'],
  steps: { tripSaga: tripSaga.steps },
  bulkLimits: { window: 4, stuck: 2, failedWindows: 3 },
})
const { sagas, client } = engine
const { database } = sagas.where
/** All of them, whichever run carries them. */
const members = new Sagas(sagas.where)
afterAll(() => engine.stop())

const run = (bulkId: string) => client.workflow.getHandle(`saga-bulk-${bulkId}`)

/** Starts a bulk of trips, one for each of these inputs. */
async function start(inputs: Asked[]) {
  const bulk = await engine.startBulk(
    'tripSaga',
    inputs.map((input) => ({ input: { to: 'Zürich', ...input } })),
  )
  members.started.push(...bulk.sagaIds)
  return bulk
}

async function get(bulkId: string): Promise<Bulk> {
  const response = await sagas.request(`/saga/bulk/${bulkId}`)
  expect(response.status).toBe(200)
  return (await response.json()) as Bulk
}

/** The bulk once it has that status. */
const when = (bulkId: string, status: Bulk['status']) =>
  until(`bulk ${bulkId} is ${status}`, async () => {
    const bulk = await get(bulkId)
    return bulk.status === status && bulk
  })

const resume = (bulkId: string) => sagas.post(`/saga/bulk/${bulkId}/resume`, {})

const plain: Asked = {}
const refused: Asked = { refuse: ['charge invoke'] }
const stuck: Asked = { refuse: ['charge invoke', 'flight compensate'] }
const times = (n: number, input: Asked) => Array.from({ length: n }, () => input)

async function undoStuck(sagaIds: string[]): Promise<void> {
  sagas.started.push(...sagaIds)
  for (const sagaId of sagaIds) {
    expect(await parked(engine, sagaId)).toEqual(['flight'])
    gated.mend(sagaId, 'flight compensate')
    expect(await decide(engine, sagaId, { step: 'flight', action: 'retry' })).toBe(200)
    expect((await sagas.ended(sagaId)).status).toBe('COMPENSATED')
  }
}

test('each saga of a bulk ends as it would alone, and the bulk counts them', async () => {
  const broken: Asked = { fail: 'hotel invoke' }
  const inputs = [
    ...times(4, plain),
    refused,
    ...times(4, plain),
    stuck,
    ...times(4, plain),
    broken,
    ...times(6, plain),
  ]
  const { bulkId, sagaIds } = await start(inputs)
  const { links, startedAt, endedAt, failures, ...bulk } = await when(bulkId, 'ENDED')
  expect(bulk).toEqual({
    bulkId,
    type: 'tripSaga',
    status: 'ENDED',
    total: 21,
    completed: 18,
    compensated: 2,
    partiallyCompensated: 0,
    needsAttention: 1,
    running: 0,
    compensating: 0,
    cancellable: 0,
    rejected: 0,
    rejections: [],
  })
  expect(links).toMatchObject({ stuck: `/saga?bulk=${bulkId}&status=NEEDS_ATTENTION` })
  expect(failures).toEqual([
    { step: 'charge', type: 'Rejected', message: expect.stringContaining('charge invoke is refused'), count: 2 },
    { step: 'hotel', type: expect.any(String), message: expect.stringContaining('hotel invoke fails'), count: 1 },
  ])
  const [stuckId = ''] = sagaIds.filter((_, i) => inputs[i] === stuck)
  for (const [i, sagaId] of sagaIds.entries()) {
    const { status, bulkId: itsBulk, links } = await sagas.get(sagaId)
    expect({ i, status, itsBulk }).toEqual({
      i,
      status: inputs[i] === plain ? 'COMPLETED' : inputs[i] === stuck ? 'NEEDS_ATTENTION' : 'COMPENSATED',
      itsBulk: bulkId,
    })
    // One that waits for a person has a run of its own.
    expect(links.temporal).toContain(sagaId === stuckId ? sagaId : `saga-bulk-${bulkId}`)
  }
  const completed = sagaIds[0] ?? ''
  expect(await engine.effects(completed)).toEqual(names)
  expect(await sagas.log(completed)).toEqual([
    'SAGA started',
    ...names.map((name) => `${name} success 1`),
    'SAGA completed',
  ])
  await undoStuck([stuckId])
  expect(await get(bulkId)).toMatchObject({ status: 'ENDED', compensated: 3, needsAttention: 0 })
})

test('a bulk too many of whose sagas wait for people pauses, says why, and goes on when it is resumed', async () => {
  const { bulkId, sagaIds } = await start([...times(3, stuck), ...times(37, plain)])
  const paused = await when(bulkId, 'PAUSED')
  expect(paused.pausedBecause).toBe(
    '3 of its sagas wait for people: more than 2. Decide on those, or mend what they fail at, then resume it.',
  )
  await run(bulkId).result()
  const { running, needsAttention, completed } = await get(bulkId)
  expect(needsAttention).toBe(3)
  expect(running).toBeGreaterThan(0)
  // Those that are left have not begun.
  const begun = await query<{ sagaId: string }>(
    database,
    'SELECT DISTINCT saga_id AS "sagaId" FROM saga_log WHERE saga_id = ANY ($1)',
    [sagaIds],
  )
  expect(begun).toHaveLength(needsAttention + completed)
  // The sweep leaves a bulk that has paused, and its sagas, alone.
  await age(bulkId)
  expect(await engine.sweep.sweep()).toMatchObject({ started: 0, bulks: 0, recovered: 0 })
  expect((await resume(bulkId)).status).toBe(202)
  expect((await resume(bulkId)).status).toBe(409)
  expect(await when(bulkId, 'ENDED')).toMatchObject({ completed: 37, needsAttention: 3, running: 0 })
  await undoStuck(sagaIds.slice(0, 3))
})

test('a bulk of which nothing is left does not pause', async () => {
  const { bulkId, sagaIds } = await start(times(3, stuck))
  expect(await when(bulkId, 'ENDED')).toMatchObject({ needsAttention: 3, running: 0 })
  await undoStuck(sagaIds)
})

test('a bulk whose sagas fail, window for window, pauses, and goes on when it is resumed', async () => {
  const { bulkId } = await start([...times(16, refused), ...times(44, plain)])
  const paused = await when(bulkId, 'PAUSED')
  expect(paused.pausedBecause).toBe(
    '12 of the last 12 sagas have failed, and more than half in each of 3 windows in a row. Mend what they fail at, then resume it.',
  )
  await run(bulkId).result()
  expect((await get(bulkId)).running).toBeGreaterThan(0)
  expect((await resume(bulkId)).status).toBe(202)
  expect(await when(bulkId, 'ENDED')).toMatchObject({ completed: 44, compensated: 16, needsAttention: 0 })
})

/** As if the bulk had been started, and its sagas had last moved, an hour ago. */
async function age(bulkId: string): Promise<void> {
  const hour = `interval '1 hour'`
  await query(database, `UPDATE saga_bulk SET started_at = started_at - ${hour} WHERE bulk_id = $1`, [bulkId])
  await query(
    database,
    `UPDATE saga SET started_at = started_at - ${hour}, progress_at = now() - ${hour} WHERE bulk_id = $1`,
    [bulkId],
  )
}

test('a bulk whose run was terminated is taken up again where it stood', async () => {
  const hold: Asked = { hold: 'hotel invoke' }
  const { bulkId, sagaIds } = await start(times(14, hold))
  await Promise.all(sagaIds.slice(0, 4).map((sagaId) => gated.at(sagaId).reached))
  await run(bulkId).terminate('by mistake')
  await age(bulkId)
  expect(await engine.sweep.sweep()).toMatchObject({ started: 0, bulks: 1, recovered: 0 })
  await sagas.logged(sagaIds[0] ?? '', 'SAGA recovered')
  for (const sagaId of sagaIds) gated.at(sagaId).open()
  // One that both runs have tried too often is undone.
  expect(await when(bulkId, 'ENDED')).toMatchObject({ total: 14, running: 0, needsAttention: 0 })
})

testEnded(
  () => members,
  async (sagaId) => {
    const effects = await engine.effects(sagaId)
    return names.map((name) => effects.filter((one) => one === name).length)
  },
)

test('every run replays', async () => {
  expect(await engine.replay()).toBeGreaterThan(0)
})

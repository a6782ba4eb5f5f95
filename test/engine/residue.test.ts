import { randomUUID } from 'node:crypto'
import { afterAll, expect, test } from '@jest/globals'
import type { Client } from '../../src/saga/node/db.js'
import type { AnyService } from '../../src/saga/node/barrier.js'
import { effectService, startEngine } from '../helpers/engine.js'
import { query } from '../helpers/shared.js'
import { until } from '../helpers/until.js'

/** "<saga> <service>": its compensate says that it is done, and leaves its row. */
const forgetful = new Set<string>()
/** "<saga> <service>": its verify throws. */
const blind = new Set<string>()

/** Sagas whose third step takes effect past its barrier, as the call of another system does, which a probe finds. */
const pastBarrier = new Set<string>()
/** Sagas of which nobody can look for what is left of the third step. */
const unverifiable = new Set<string>()

function forgettingService(name: string): AnyService {
  const service = effectService(name)
  return {
    ...service,
    async invoke(tx: Client, call) {
      if (name !== 'third' || !pastBarrier.has(call.sagaId)) return service.invoke(tx, call)
      const database = engine.sagas.where.database
      await query(database, 'INSERT INTO effect (saga_id, service) VALUES ($1, $2) ON CONFLICT DO NOTHING', [
        call.sagaId,
        name,
      ])
      throw new Error('500')
    },
    async probe(tx: Client, call) {
      if (!pastBarrier.has(call.sagaId)) return { applied: false }
      return { applied: (await service.verify(tx, call)).length > 0, result: { by: name } }
    },
    async compensate(tx: Client, call) {
      if (!forgetful.has(`${call.sagaId} ${name}`)) await service.compensate(tx, call)
    },
    async verify(tx: Client, call) {
      if (blind.has(`${call.sagaId} ${name}`)) throw new Error(`${name} can't look`)
      // As the engine has it of a participant without verify.
      if (name === 'third' && unverifiable.has(call.sagaId)) return undefined as unknown as string[]
      return service.verify(tx, call)
    },
  }
}

const engine = await startEngine('residue', {
  workflows: new URL('./attention-sagas.ts', import.meta.url),
  services: ['first', 'second', 'third'].map(forgettingService),
  types: ['stackSaga', 'haltSaga'],
})
const { sagas, client } = engine
afterAll(() => engine.stop())

const hers = { reason: 'looked at it', actor: 'grace' }

async function decide(sagaId: string, decision: object) {
  const response = await sagas.post(`/saga/${sagaId}/decision`, { ...decision, ...hers })
  expect(response.status).toBe(200)
}

/** The log of what came behind the compensations. */
async function account(sagaId: string): Promise<string[]> {
  const log = await sagas.log(sagaId)
  return log.slice(log.findLastIndex((row) => / (success|skipped) \d+$/.test(row)) + 1)
}

/** Its third step's outcome stays unknown, so that there is something to verify. */
async function startDoubtful(sagaId: string = randomUUID()): Promise<string> {
  return engine.start('stackSaga', { to: 'Zürich' }, { sagaId, failures: { third: { mode: 'always' } } })
}

/** One whose second step is compensated in name only, once that has been found. */
async function startLittered(): Promise<{ sagaId: string; left: string }> {
  const sagaId = randomUUID()
  forgetful.add(`${sagaId} second`)
  await startDoubtful(sagaId)
  await sagas.logged(sagaId, 'COMPENSATE_second stuck')
  const [row] = await query<{ id: number }>(sagas.where.database, 'SELECT id FROM effect WHERE saga_id = $1', [sagaId])
  return { sagaId, left: `effect ${row?.id}` }
}

const removeByHand = (sagaId: string) => query(sagas.where.database, 'DELETE FROM effect WHERE saga_id = $1', [sagaId])

const allVerified = ['COMPENSATE_third verified', 'COMPENSATE_second verified', 'COMPENSATE_first verified']

test.concurrent('a saga that completes is not verified', async () => {
  const sagaId = await engine.start('stackSaga', { to: 'Zürich' })
  expect(await sagas.ended(sagaId)).toMatchObject({ status: 'COMPLETED' })
  expect((await sagas.log(sagaId)).filter((row) => /verified|residue/.test(row))).toEqual([])
})

test.concurrent('a clean refusal leaves no doubt, and is not verified', async () => {
  const sagaId = await engine.start(
    'stackSaga',
    { to: 'Zürich' },
    { failures: { third: { mode: 'always', kind: 'reject' } } },
  )
  expect(await sagas.ended(sagaId)).toMatchObject({ status: 'COMPENSATED' })
  expect(await account(sagaId)).toEqual(['SAGA compensated'])
})

test.concurrent('behind an unknown outcome each participant is asked what is left', async () => {
  const sagaId = await startDoubtful()
  expect(await sagas.ended(sagaId)).toMatchObject({ status: 'COMPENSATED' })
  expect(await account(sagaId)).toEqual([...allVerified, 'SAGA compensated'])
})

test.concurrent('behind a compensation that failed once each participant is asked what is left', async () => {
  const sagaId = await engine.start(
    'stackSaga',
    { to: 'Zürich' },
    {
      failures: {
        third: { mode: 'always', kind: 'reject' },
        first: { mode: 'first', n: 1, on: 'compensate', when: 'after' },
      },
    },
  )
  expect(await sagas.ended(sagaId)).toMatchObject({ status: 'COMPENSATED' })
  expect(await account(sagaId)).toEqual([...allVerified, 'SAGA compensated'])
})

test.concurrent('behind a recovery each participant is asked what is left', async () => {
  const sagaId = await engine.start(
    'stackSaga',
    { to: 'Zürich' },
    { failures: { third: { mode: 'first', n: 1, kind: 'hang' } } },
  )
  await sagas.logged(sagaId, 'second success 1')
  await client.workflow.getHandle(sagaId).terminate('by mistake')
  const saga = await until('the sweep has taken it up', async () => {
    // What the sweep does once it has found the run gone, and need not be waited for.
    await engine.starter.recover(sagaId, 'its run was terminated: by mistake').catch(() => {})
    const saga = await sagas.get(sagaId)
    return saga.endedAt !== undefined && saga
  })
  expect(saga).toMatchObject({ status: 'COMPENSATED', error: { type: 'Terminated' } })
  const log = await sagas.log(sagaId)
  expect(log).toContain('SAGA recovered')
  expect(log).toEqual(expect.arrayContaining(['COMPENSATE_second verified', 'COMPENSATE_first verified']))
  expect(await engine.effects(sagaId)).toEqual([])
})

test.concurrent('a compensation that leaves something is named, and holds the saga until a person has removed it', async () => {
  const { sagaId, left } = await startLittered()
  expect(await sagas.get(sagaId)).toMatchObject({
    status: 'NEEDS_ATTENTION',
    compensations: [
      { step: 'third', status: 'empty' },
      { step: 'second', status: 'stuck', error: { type: 'Residue', message: `still there: ${left}` } },
      { step: 'first', status: 'done' },
    ],
  })
  const rows = (await sagas.logRows(sagaId)).filter(({ status }) => status === 'residue' || status === 'stuck')
  expect(rows).toMatchObject([
    { service: 'COMPENSATE_second', status: 'residue', message: `still there: ${left}` },
    { service: 'COMPENSATE_second', status: 'stuck', message: expect.stringMatching(/Remove it, then decide: retry/) },
  ])
  await removeByHand(sagaId)
  await decide(sagaId, { step: 'second', action: 'retry' })
  const saga = await sagas.ended(sagaId)
  expect(saga).toMatchObject({
    status: 'COMPENSATED',
    compensations: [{}, { step: 'second', status: 'done', ...hers }, {}],
  })
  expect(saga.compensations[1]).not.toHaveProperty('error')
  const log = await sagas.log(sagaId)
  expect(log.slice(log.indexOf('COMPENSATE_third verified'))).toEqual([
    'COMPENSATE_third verified',
    ...['COMPENSATE_second residue', 'COMPENSATE_second stuck'],
    'COMPENSATE_first verified',
    ...['COMPENSATE_second decision', 'COMPENSATE_second success 2', 'COMPENSATE_second verified'],
    'SAGA compensated',
  ])
})

test.concurrent('a retry that still finds something waits again', async () => {
  const { sagaId } = await startLittered()
  await decide(sagaId, { step: 'second', action: 'retry' })
  await until('it is stuck again', async () => {
    const log = await sagas.log(sagaId)
    return log.filter((row) => row === 'COMPENSATE_second stuck').length === 2
  })
  expect(await sagas.get(sagaId)).toMatchObject({ status: 'NEEDS_ATTENTION' })
  await removeByHand(sagaId)
  await decide(sagaId, { step: 'second', action: 'retry' })
  expect(await sagas.ended(sagaId)).toMatchObject({ status: 'COMPENSATED' })
  expect(await engine.effects(sagaId)).toEqual([])
})

test.concurrent.each([
  ['resolve', 'resolved', 'COMPENSATED'],
  ['skip', 'skipped', 'PARTIALLY_COMPENSATED'],
])(
  'something left behind that a person %ss is as the person said, and the log names it',
  async (action, status, end) => {
    const { sagaId, left } = await startLittered()
    await decide(sagaId, { step: 'second', action })
    expect(await sagas.ended(sagaId)).toMatchObject({
      status: end,
      compensations: [{ status: 'empty' }, { step: 'second', status, ...hers }, { status: 'done' }],
    })
    expect(await engine.effects(sagaId)).toEqual(['second'])
    const residue = (await sagas.logRows(sagaId)).filter((row) => row.status === 'residue')
    expect(residue.at(-1)).toMatchObject({ service: 'COMPENSATE_second', message: `still there: ${left}` })
  },
)

test.concurrent('something left by two participants is decided one after the other', async () => {
  const sagaId = randomUUID()
  forgetful.add(`${sagaId} second`)
  forgetful.add(`${sagaId} first`)
  await startDoubtful(sagaId)
  await sagas.logged(sagaId, 'COMPENSATE_first stuck')
  await removeByHand(sagaId)
  await decide(sagaId, { step: 'second', action: 'retry' })
  await sagas.logged(sagaId, 'COMPENSATE_second success 2')
  expect(await sagas.get(sagaId)).toMatchObject({ status: 'NEEDS_ATTENTION' })
  await decide(sagaId, { step: 'first', action: 'retry' })
  expect(await sagas.ended(sagaId)).toMatchObject({ status: 'COMPENSATED' })
})

test.concurrent('of two participants that left something either may be decided first', async () => {
  const sagaId = randomUUID()
  forgetful.add(`${sagaId} second`)
  forgetful.add(`${sagaId} first`)
  await startDoubtful(sagaId)
  await sagas.logged(sagaId, 'COMPENSATE_first stuck')
  await removeByHand(sagaId)
  await decide(sagaId, { step: 'first', action: 'retry' })
  expect(await sagas.get(sagaId)).toMatchObject({ status: 'NEEDS_ATTENTION' })
  await decide(sagaId, { step: 'second', action: 'resolve' })
  expect(await sagas.ended(sagaId)).toMatchObject({ status: 'COMPENSATED' })
})

test.concurrent('a participant that cannot look is logged, and does not hold the saga', async () => {
  const sagaId = randomUUID()
  blind.add(`${sagaId} second`)
  await startDoubtful(sagaId)
  expect(await sagas.ended(sagaId)).toMatchObject({ status: 'COMPENSATED' })
  expect(await account(sagaId)).toEqual([
    ...['COMPENSATE_third verified', 'COMPENSATE_second residue', 'COMPENSATE_first verified'],
    'SAGA compensated',
  ])
  const [residue] = (await sagas.logRows(sagaId)).filter(({ status }) => status === 'residue')
  expect(residue?.message).toContain("second can't look")
  expect(await engine.effects(sagaId)).toEqual([])
})

/** A saga whose third step took effect past its barrier, and which is cancelled before it completes. */
async function startContradiction({ canLook }: { canLook: boolean }): Promise<string> {
  const sagaId = randomUUID()
  pastBarrier.add(sagaId)
  if (!canLook) unverifiable.add(sagaId)
  await engine.start('haltSaga', { to: 'Zürich' }, { sagaId })
  await sagas.logged(sagaId, 'third success 1')
  expect((await sagas.post(`/saga/${sagaId}/cancel`, hers)).status).toBe(202)
  return sagaId
}

test.concurrent('a compensation that finds nothing of a step which took effect asks its participant what is left', async () => {
  const sagaId = await startContradiction({ canLook: true })
  await sagas.logged(sagaId, 'COMPENSATE_third stuck')
  expect(await sagas.get(sagaId)).toMatchObject({ status: 'NEEDS_ATTENTION' })
  const [stuck] = (await sagas.logRows(sagaId)).filter(({ status }) => status === 'stuck')
  expect(stuck?.message).toContain('left something: still there: effect')
  await removeByHand(sagaId)
  await decide(sagaId, { step: 'third', action: 'retry' })
  expect(await sagas.ended(sagaId)).toMatchObject({ status: 'COMPENSATED' })
})

test.concurrent('a compensation that finds nothing of a step which took effect waits for an operator if nobody can look', async () => {
  const sagaId = await startContradiction({ canLook: false })
  await sagas.logged(sagaId, 'COMPENSATE_third stuck')
  expect(await sagas.get(sagaId)).toMatchObject({
    status: 'NEEDS_ATTENTION',
    compensations: [{ step: 'third', status: 'stuck', error: { type: 'NothingToUndo' } }, {}, {}],
  })
  const [stuck] = (await sagas.logRows(sagaId)).filter(({ status }) => status === 'stuck')
  expect(stuck?.message).toContain('found nothing to undo, though the step took effect')
  // Tried again it is as it was.
  await decide(sagaId, { step: 'third', action: 'retry' })
  await until('it waits again', async () => {
    return (await sagas.log(sagaId)).filter((row) => row === 'COMPENSATE_third stuck').length === 2
  })
  await decide(sagaId, { step: 'third', action: 'resolve' })
  expect(await sagas.ended(sagaId)).toMatchObject({ status: 'COMPENSATED' })
})

test('every run replays', async () => {
  expect(await engine.replay()).toBe(sagas.started.length)
})

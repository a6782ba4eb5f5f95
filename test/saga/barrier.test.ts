import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { makePool, type Client, type Pool } from '../../src/saga/node/db.js'
import { rejected } from '../../src/saga/errors.js'
import { throughBarrier, type BarredParticipant } from '../../src/saga/node/barrier.js'
import type { Json, Participant } from '../../src/saga/types.js'
import { makeDatabase } from '../helpers/system.js'
import { until } from '../helpers/until.js'

type Service = Participant<Json, Json | void, Client>

const input = { username: 'ada' }
const step = 'A'
let pool: Pool
let barred: BarredParticipant

beforeAll(async () => {
  pool = makePool(await makeDatabase('barrier'), { max: 20, name: 'barrier-test' })
  barred = throughBarrier(pool, service)
})
afterAll(() => pool.end())

/** A row in table_a; like service A, but its undo says in the row's place what it was given. */
const service: Service = {
  name: 'user',
  async invoke(tx, { sagaId, input }) {
    const { rows } = await tx.query('INSERT INTO table_a (username, saga_id) VALUES ($1, $2) RETURNING id', [
      (input as { username: string }).username,
      sagaId,
    ])
    return { userId: rows[0].id }
  },
  async compensate(tx, { sagaId, input, result }) {
    const { rowCount } = await tx.query('DELETE FROM table_a WHERE saga_id = $1 AND username = $2 AND id = $3', [
      sagaId,
      (input as { username: string }).username,
      (result as { userId: number }).userId,
    ])
    if (rowCount !== 1) throw new Error('the row to compensate is not there')
  },
}

/** The same with a business that writes its row and then refuses. */
const refusing = (message: string): Service => ({
  ...service,
  async invoke(tx, call) {
    await service.invoke(tx, call)
    throw rejected(message)
  },
})

const newCall = () => ({ sagaId: randomUUID(), step, input })

/** What a call comes to, in one word: its verdict, or the type of its failure. */
const outcomeOf = (call: Promise<{ verdict: string } | string>): Promise<string> =>
  call.then(
    (answer) => (typeof answer === 'string' ? answer : answer.verdict),
    (error: { type?: string }) => {
      if (!error.type) throw error
      return error.type
    },
  )

const late = { type: 'LateInvoke', nonRetryable: true }
const refused = (message: string) => ({ type: 'Rejected', nonRetryable: true, message })

async function users(sagaId: string): Promise<{ id: number; username: string }[]> {
  return (await pool.query('SELECT id, username FROM table_a WHERE saga_id = $1', [sagaId])).rows
}

/** The barrier's rows, each as "op by writer: verdict". */
async function barrierRows(sagaId: string): Promise<string[]> {
  const { rows } = await pool.query(
    `SELECT op || ' by ' || written_by || ': ' || coalesce(verdict, '?') AS row
     FROM saga_barrier WHERE saga_id = $1 ORDER BY op`,
    [sagaId],
  )
  return rows.map(({ row }) => row)
}

/** Holds whoever waits for it until it is opened. */
function makeGate() {
  let open = () => {}
  const opened = new Promise<void>((resolve) => (open = resolve))
  return { open, opened }
}

const applied = 'invoke by invoke: applied'
const tombstone = ['compensate by compensate: empty', 'invoke by compensate: tombstone']

test('an invoke is applied once, and its duplicates are answered with its result', async () => {
  const call = newCall()
  const first = await barred.invoke(call)
  expect(first).toEqual({ verdict: 'applied', result: { userId: expect.any(Number) } })
  expect(await barred.invoke(call)).toEqual({ verdict: 'duplicate', result: first.result })
  expect(await barred.invoke({ ...call, input: { username: 'eve' } })).toEqual({
    verdict: 'duplicate',
    result: first.result,
  })
  expect(await users(call.sagaId)).toEqual([{ id: (first.result as { userId: number }).userId, username: 'ada' }])
  expect(await barrierRows(call.sagaId)).toEqual([applied])
})

test('a participant that answers nothing is answered for with null', async () => {
  const silent = throughBarrier(pool, { ...service, invoke: async () => {}, compensate: async () => {} })
  const call = newCall()
  expect(await silent.invoke(call)).toEqual({ verdict: 'applied', result: null })
  expect(await silent.invoke(call)).toEqual({ verdict: 'duplicate', result: null })
  expect(await silent.compensate(call)).toBe('done')
})

test('steps of one saga, and the same step of two sagas, know nothing of each other', async () => {
  const call = newCall()
  const noted: Service = { name: 'note', invoke: async () => 'noted', compensate: async () => {} }
  await barred.invoke(call)
  expect(await throughBarrier(pool, noted).compensate({ ...call, step: 'B' })).toBe('empty')
  expect(await outcomeOf(barred.invoke(newCall()))).toBe('applied')
  expect(await users(call.sagaId)).toHaveLength(1)
})

test("an invoke that breaks leaves neither its row nor the barrier's, and the next one is applied", async () => {
  const breaking = throughBarrier(pool, {
    ...service,
    async invoke(tx, call) {
      await service.invoke(tx, call)
      throw new Error('out of order')
    },
  })
  const call = newCall()
  await expect(breaking.invoke(call)).rejects.toThrow('out of order')
  expect(await users(call.sagaId)).toEqual([])
  expect(await barrierRows(call.sagaId)).toEqual([])
  expect(await outcomeOf(barred.invoke(call))).toBe('applied')
})

test('a compensation undoes what was applied, from the input and the result that were kept', async () => {
  const call = newCall()
  await barred.invoke(call)
  expect(await barred.compensate(call)).toBe('done')
  expect(await users(call.sagaId)).toEqual([])
  expect(await barrierRows(call.sagaId)).toEqual(['compensate by compensate: done', applied])
})

test('a second compensation answers with the verdict of the first, and runs nothing', async () => {
  const call = newCall()
  await barred.invoke(call)
  await barred.compensate(call)
  // The undo would fail now: its row is gone.
  expect(await barred.compensate(call)).toBe('done')
})

test('a compensation that breaks has done nothing, and is done by the next one', async () => {
  const breaking = throughBarrier(pool, {
    ...service,
    async compensate(tx, call) {
      await service.compensate(tx, call)
      throw new Error('out of order')
    },
  })
  const call = newCall()
  await barred.invoke(call)
  await expect(breaking.compensate(call)).rejects.toThrow('out of order')
  expect(await users(call.sagaId)).toHaveLength(1)
  expect(await barrierRows(call.sagaId)).toEqual([applied])
  expect(await barred.compensate(call)).toBe('done')
  expect(await users(call.sagaId)).toEqual([])
})

test('an invoke after its compensation is late: it is refused for good, and commits nothing', async () => {
  const call = newCall()
  await barred.invoke(call)
  await barred.compensate(call)
  await expect(barred.invoke(call)).rejects.toMatchObject(late)
  await expect(throughBarrier(pool, refusing('no')).invoke(call)).rejects.toMatchObject(late)
  expect(await users(call.sagaId)).toEqual([])
  expect(await barrierRows(call.sagaId)).toEqual(['compensate by compensate: done', applied])
})

test('a compensation with nothing to undo leaves a tombstone, behind which every invoke is late', async () => {
  const call = newCall()
  expect(await barred.compensate(call)).toBe('empty')
  expect(await barrierRows(call.sagaId)).toEqual(tombstone)
  await expect(barred.invoke(call)).rejects.toMatchObject(late)
  await expect(barred.invoke(call)).rejects.toMatchObject(late)
  expect(await barred.compensate(call)).toBe('empty')
  expect(await users(call.sagaId)).toEqual([])
  expect(await barrierRows(call.sagaId)).toEqual(tombstone)
})

test('a refusal takes its business back and is kept: the next invoke is refused alike, though it would be applied', async () => {
  const call = newCall()
  await expect(throughBarrier(pool, refusing('card expired')).invoke(call)).rejects.toMatchObject(
    refused('card expired'),
  )
  expect(await users(call.sagaId)).toEqual([])
  expect(await barrierRows(call.sagaId)).toEqual(['invoke by invoke: rejected'])
  await expect(barred.invoke(call)).rejects.toMatchObject(refused('card expired'))
  await expect(throughBarrier(pool, refusing('no card')).invoke(call)).rejects.toMatchObject(refused('card expired'))
  expect(await users(call.sagaId)).toEqual([])
})

test('a refusal is kept without the secrets of its saga, nor what looks like a card number', async () => {
  const call = { sagaId: randomUUID(), step, input, secrets: ['9929 1234 5678 9016'] }
  const words = 'no card 9929-1234-5678-9016, nor 4111111111111111'
  await expect(throughBarrier(pool, refusing(words)).invoke(call)).rejects.toMatchObject(refused(words))
  await expect(barred.invoke(call)).rejects.toMatchObject(refused('no card ****, nor ****'))
})

test('a refused invoke has nothing to undo, and is late after that', async () => {
  const call = newCall()
  await throughBarrier(pool, refusing('no'))
    .invoke(call)
    .catch(() => {})
  expect(await barred.compensate(call)).toBe('empty')
  expect(await barred.compensate(call)).toBe('empty')
  await expect(barred.invoke(call)).rejects.toMatchObject(late)
  expect(await barrierRows(call.sagaId)).toEqual(['compensate by compensate: empty', 'invoke by invoke: rejected'])
})

/** Something that commits after a refusal has rolled its business back and before it is kept. */
const meetings: { what: string; meanwhile: (call: ReturnType<typeof newCall>) => Promise<unknown>; outcome: string }[] =
  [
    { what: 'a tombstone', meanwhile: (call) => barred.compensate(call), outcome: 'LateInvoke' },
    { what: 'a result', meanwhile: (call) => barred.invoke(call), outcome: 'duplicate' },
    {
      what: 'a result that has been undone',
      meanwhile: async (call) => [await barred.invoke(call), await barred.compensate(call)],
      outcome: 'LateInvoke',
    },
    {
      what: 'another refusal',
      meanwhile: (call) =>
        throughBarrier(pool, refusing('the first'))
          .invoke(call)
          .catch(() => {}),
      outcome: 'Rejected: the first',
    },
  ]
test.each(meetings)(
  'a refusal that meets $what answers what stands there ($outcome)',
  async ({ meanwhile, outcome }) => {
    const call = newCall()
    let connections = 0
    const held = {
      async connect() {
        if (++connections === 2) await meanwhile(call)
        return pool.connect()
      },
    } as Pool
    const answer = await throughBarrier(held, refusing('the second'))
      .invoke(call)
      .then(
        ({ verdict }) => verdict,
        ({ type, message }) => (type === 'Rejected' ? `${type}: ${message}` : type),
      )
    expect(answer).toBe(outcome)
    expect(await users(call.sagaId)).toHaveLength(outcome === 'duplicate' ? 1 : 0)
  },
)

async function someoneWaitsForALock(): Promise<void> {
  await until('a statement waits for a lock', async () => {
    const { rows } = await pool.query(
      `SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`,
    )
    return rows.length > 0
  })
}

test.each([
  { end: 'commits', verdict: 'done', rows: ['compensate by compensate: done', applied] },
  { end: 'breaks', verdict: 'empty', rows: tombstone },
])(
  'a compensation waits for an invoke that is still in its transaction; when that $end it is $verdict',
  async ({ end, verdict, rows }) => {
    const gate = makeGate()
    const inside = makeGate()
    const slow = throughBarrier(pool, {
      ...service,
      async invoke(tx, call) {
        const result = await service.invoke(tx, call)
        inside.open()
        await gate.opened
        if (end === 'breaks') throw new Error('out of order')
        return result
      },
    })
    const call = newCall()
    const invoked = slow.invoke(call).then(
      ({ verdict }) => verdict,
      ({ message }) => message,
    )
    await inside.opened
    const compensate = barred.compensate(call)
    await someoneWaitsForALock()
    gate.open()
    expect(await compensate).toBe(verdict)
    expect(await users(call.sagaId)).toEqual([])
    expect(await barrierRows(call.sagaId)).toEqual(rows)
    expect(await invoked).toBe(end === 'breaks' ? 'out of order' : 'applied')
    await expect(barred.invoke(call)).rejects.toMatchObject(late)
  },
)

test.each([
  { end: 'COMMIT', outcome: 'LateInvoke' },
  { end: 'ROLLBACK', outcome: 'applied' },
])(
  'an invoke waits for a compensation that is still in its transaction; after $end it is $outcome',
  async ({ end, outcome }) => {
    const call = newCall()
    const tx = await pool.connect()
    await tx.query('BEGIN')
    await tx.query(
      `INSERT INTO saga_barrier (saga_id, step, op, written_by, verdict)
     VALUES ($1, $2, 'compensate', 'compensate', 'empty'), ($1, $2, 'invoke', 'compensate', 'tombstone')`,
      [call.sagaId, step],
    )
    const invoke = outcomeOf(barred.invoke(call))
    await someoneWaitsForALock()
    await tx.query(end)
    tx.release()
    expect(await invoke).toBe(outcome)
    expect(await users(call.sagaId)).toHaveLength(outcome === 'applied' ? 1 : 0)
  },
)

const pairs: { calls: ('invoke' | 'refuse' | 'compensate')[]; endings: string[] }[] = [
  { calls: ['invoke', 'invoke'], endings: ['applied duplicate'] },
  { calls: ['invoke', 'compensate'], endings: ['applied done', 'LateInvoke empty'] },
  { calls: ['compensate', 'compensate'], endings: ['empty empty'] },
  { calls: ['refuse', 'refuse'], endings: ['Rejected Rejected'] },
  { calls: ['refuse', 'compensate'], endings: ['Rejected empty', 'LateInvoke empty'] },
  { calls: ['invoke', 'refuse'], endings: ['applied duplicate', 'Rejected Rejected'] },
  {
    calls: ['invoke', 'invoke', 'compensate', 'compensate'],
    endings: ['applied duplicate done done', 'LateInvoke applied done done', 'LateInvoke LateInvoke empty empty'],
  },
  {
    calls: ['invoke', 'refuse', 'compensate'],
    endings: [
      'applied duplicate done',
      'applied LateInvoke done',
      'Rejected Rejected empty',
      'LateInvoke Rejected empty',
      'LateInvoke LateInvoke empty',
    ],
  },
]
const ROUNDS = 200

test.each(pairs)(`$calls at once, ${ROUNDS} times, end as one after the other`, async ({ calls, endings }) => {
  const refuser = throughBarrier(pool, refusing('no'))
  const round = async () => {
    const call = newCall()
    const make = {
      invoke: () => barred.invoke(call),
      refuse: () => refuser.invoke(call),
      compensate: () => barred.compensate(call),
    }
    const outcomes = await Promise.all(calls.map((op) => outcomeOf(make[op]())))
    // Of two alike it does not matter which was first.
    const alike = calls[0] === calls[1] ? 2 : 0
    const ending = [...outcomes.slice(0, alike).toSorted(), ...outcomes.slice(alike)].join(' ')
    const left = (await users(call.sagaId)).length
    return { ending, left, rows: await barrierRows(call.sagaId) }
  }
  const isCompensated = calls.includes('compensate')
  for (let i = 0; i < ROUNDS; i += 5) {
    for (const { ending, left, rows } of await Promise.all([round(), round(), round(), round(), round()])) {
      expect(endings).toContain(ending)
      expect({ ending, left }).toEqual({ ending, left: !isCompensated && ending.includes('applied') ? 1 : 0 })
      expect(rows).toHaveLength(isCompensated ? 2 : 1)
      expect(rows.filter((row) => row.includes('?'))).toEqual([])
    }
  }
})

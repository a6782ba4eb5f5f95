import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { ApplicationFailure } from '@temporalio/common'
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
      (result as { userId: string }).userId,
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

async function users(sagaId: string): Promise<{ id: string; username: string }[]> {
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
  expect(first).toEqual({ verdict: 'applied', result: { userId: expect.any(String) } })
  expect(await barred.invoke(call)).toEqual({ verdict: 'duplicate', result: first.result })
  expect(await barred.invoke({ ...call, input: { username: 'eve' } })).toEqual({
    verdict: 'duplicate',
    result: first.result,
  })
  expect(await users(call.sagaId)).toEqual([{ id: (first.result as { userId: string }).userId, username: 'ada' }])
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
  expect(await barrierRows(call.sagaId)).toEqual(['compensate by compensate: empty', 'invoke by invoke: tombstone'])
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
  await until('a statement waits for a lock', async () => (await waiting()) > 0)
}

async function waiting(): Promise<number> {
  const { rows } = await pool.query(
    `SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`,
  )
  return rows.length
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

/** A statement that fails: there is no such table. */
const failing = 'INSERT INTO stats VALUES (1)'

test.each<{ what: string; run: (tx: Client) => Promise<unknown> }>([
  { what: 'swallows', run: (tx) => tx.query(failing).catch(() => {}) },
  { what: 'does not await', run: async (tx) => void tx.query(failing) },
  { what: 'gives a callback, and does not look at', run: async (tx) => tx.query(failing, [], () => {}) },
])('a compensation with a statement whose error it $what is not done, and the next one is', async ({ run }) => {
  const careless = throughBarrier(pool, {
    ...service,
    async compensate(tx, call) {
      await service.compensate(tx, call)
      await run(tx)
    },
  })
  const call = newCall()
  await barred.invoke(call)
  await expect(careless.compensate(call)).rejects.toThrow(/stats|a statement in it had failed/)
  expect(await users(call.sagaId)).toHaveLength(1)
  expect(await barrierRows(call.sagaId)).toEqual([applied])
  expect(await barred.compensate(call)).toBe('done')
  expect(await users(call.sagaId)).toEqual([])
})

test('an invoke fails with the error that it has swallowed, and not with the statement that came after it', async () => {
  const careless = throughBarrier(pool, {
    ...service,
    async invoke(tx, call) {
      await tx.query(failing).catch(() => {})
      return service.invoke(tx, call).catch(() => {})
    },
  })
  const call = newCall()
  await expect(careless.invoke(call)).rejects.toMatchObject({ code: '42P01' })
  expect(await barrierRows(call.sagaId)).toEqual([])
})

test('an error that is taken back to a savepoint is no failure', async () => {
  const careful = throughBarrier(pool, {
    ...service,
    async compensate(tx, call) {
      await tx.query('SAVEPOINT before_stats')
      await tx.query(failing).catch(() => tx.query('ROLLBACK TO SAVEPOINT before_stats'))
      await service.compensate(tx, call)
    },
  })
  const call = newCall()
  await barred.invoke(call)
  expect(await careful.compensate(call)).toBe('done')
  expect(await users(call.sagaId)).toEqual([])
})

test('a statement that is sent after its work has ended does not run in the next transaction of its connection', async () => {
  const single = makePool(pool.options.connectionString ?? '', { max: 1, name: 'barrier-single' })
  const ended = makeGate()
  let late: Promise<unknown> | undefined
  const careless = throughBarrier(single, {
    ...service,
    async invoke(tx, { sagaId }) {
      late = ended.opened.then(() => tx.query(`INSERT INTO table_a (username, saga_id) VALUES ('late', $1)`, [sagaId]))
      return null
    },
  })
  const next = throughBarrier(single, {
    ...service,
    async invoke(tx, call) {
      const result = await service.invoke(tx, call)
      ended.open()
      await expect(late).rejects.toThrow('The transaction of this statement has ended')
      return result
    },
  })
  const [first, second] = [newCall(), newCall()]
  await careless.invoke(first)
  await next.invoke(second)
  expect(await users(first.sagaId)).toEqual([])
  expect(await users(second.sagaId)).toHaveLength(1)
  await single.end()
})

test('a compensation that comes after an operator has decided runs nothing, and says so', async () => {
  const call = newCall()
  await barred.invoke(call)
  await barred.forbid(call)
  expect(await barred.compensate(call)).toBe('forbidden')
  expect(await barred.compensate(call)).toBe('forbidden')
  expect(await users(call.sagaId)).toHaveLength(1)
  await expect(barred.invoke(call)).rejects.toMatchObject(late)
  expect(await barrierRows(call.sagaId)).toEqual(['compensate by compensate: forbidden', applied])
})

test('an invoke that comes after an operator has decided is late', async () => {
  const call = newCall()
  await barred.forbid(call)
  await barred.forbid(call)
  await expect(barred.invoke(call)).rejects.toMatchObject(late)
  expect(await users(call.sagaId)).toEqual([])
})

test('a compensation that was done before an operator decided keeps its verdict', async () => {
  const call = newCall()
  await barred.invoke(call)
  await barred.compensate(call)
  await barred.forbid(call)
  expect(await barred.compensate(call)).toBe('done')
})

test.each(['settle', 'compensate'] as const)(
  'a %s of a refusal that is being asked for again ends as one after the other',
  async (op) => {
    const call = newCall()
    await expect(throughBarrier(pool, refusing('no')).invoke(call)).rejects.toMatchObject(refused('no'))
    const holder = await pool.connect()
    await holder.query('BEGIN')
    await holder.query('SELECT FROM saga_barrier WHERE saga_id = $1 FOR UPDATE', [call.sagaId])
    // It has begun to look, and waits for the row.
    const asked = outcomeOf(barred.invoke({ ...call, decisions: 1 }))
    await someoneWaitsForALock()
    let isOver = false
    const ended = outcomeOf(barred[op](call)).finally(() => (isOver = true))
    await until('it has ended, or waits too', async () => isOver || (await waiting()) > 1)
    await holder.query('COMMIT')
    holder.release()
    const endings = {
      settle: ['applied applied', 'LateInvoke empty'],
      compensate: ['applied done', 'LateInvoke empty'],
    }
    expect(endings[op]).toContain(`${await asked} ${await ended}`)
  },
)

/** JSON of so many bytes, a character of two bytes in it. */
const ofBytes = (bytes: number) => ({ text: `é${'x'.repeat(bytes - '{"text":"é"}'.length - 1)}` })

test('a result of 1,000,000 bytes is kept; one of more is refused for good, before the commit', async () => {
  const answering = (result: Json) =>
    throughBarrier(pool, {
      ...service,
      async invoke(tx, call) {
        await service.invoke(tx, call)
        return result
      },
    })
  const [fits, tooLarge] = [newCall(), newCall()]
  expect((await answering(ofBytes(1_000_000)).invoke(fits)).verdict).toBe('applied')
  await expect(answering(ofBytes(1_000_001)).invoke(tooLarge)).rejects.toMatchObject({
    type: 'InvalidResult',
    message: 'the result of user has 1000001 bytes as JSON; 1000000 is the most',
    nonRetryable: true,
  })
  expect(await users(tooLarge.sagaId)).toEqual([])
  expect(await barrierRows(tooLarge.sagaId)).toEqual([])
})

test('a result that is a function is refused for good, before the commit', async () => {
  const call = newCall()
  const odd = throughBarrier(pool, { ...service, invoke: () => Promise.resolve((() => 1) as unknown as Json) })
  const message = 'the result of user is no JSON: it is a function'
  await expect(odd.invoke(call)).rejects.toMatchObject({ type: 'InvalidResult', message })
  expect(await barrierRows(call.sagaId)).toEqual([])
})

test('a result that only looks as if it held a NUL is kept', async () => {
  const call = newCall()
  const result = { text: String.raw`\u0000 \\ud83d`, emoji: '😀' }
  const plain = throughBarrier(pool, { ...service, invoke: async () => result })
  await plain.invoke(call)
  expect(await plain.invoke(call)).toEqual({ verdict: 'duplicate', result })
})

test('what a probe finds is no answer where it is too large to be told', async () => {
  const probing = throughBarrier(pool, {
    ...service,
    probe: async () => ({ applied: true, result: ofBytes(1_000_001) }),
  })
  await expect(probing.probe(newCall())).rejects.toMatchObject({ type: 'InvalidResult' })
})

test('a compensation is given the input that an operator has put right, also where that is null', async () => {
  const given: Json[] = []
  const noting = throughBarrier(pool, {
    ...service,
    async compensate(_tx, { input }) {
      given.push(input)
    },
  })
  for (const corrected of [null, false, 0, '']) {
    const call = newCall()
    await noting.invoke(call)
    await noting.compensate({ ...call, input: corrected })
  }
  expect(given).toEqual([null, false, 0, ''])
})

const withMessage = (message: unknown) => Object.assign(new Error('x'), { message })

test.each<{ what: string; thrown: unknown; message: string }>([
  { what: 'undefined', thrown: undefined, message: 'undefined was thrown, with no text that says why' },
  { what: 'null', thrown: null, message: 'null was thrown, with no text that says why' },
  {
    what: 'an object without prototype',
    thrown: Object.create(null),
    message: 'no error but something of type object was thrown',
  },
  { what: 'an error whose message is no text', thrown: withMessage({}), message: 'Error was thrown, with no text' },
  { what: 'an error whose message is a symbol', thrown: withMessage(Symbol('x')), message: 'Error was thrown' },
  { what: 'a text with a NUL', thrown: 'odd\0', message: 'odd\ufffd' },
  {
    what: 'an object that breaks when it is looked at',
    thrown: new Proxy(
      {},
      {
        get: () => {
          throw new Error('no')
        },
        has: () => true,
      },
    ),
    message: 'something was thrown that has no text',
  },
])('a participant that throws $what fails with an error that has a text', async ({ thrown, message }) => {
  const throws = () => {
    throw thrown
  }
  const odd = throughBarrier(pool, { ...service, invoke: throws, compensate: throws, probe: throws, verify: throws })
  const call = newCall()
  const error = expect.objectContaining({ message: expect.stringContaining(message) })
  await expect(odd.invoke(call)).rejects.toEqual(error)
  await expect(odd.probe(call)).rejects.toEqual(error)
  await expect(odd.verify(call)).rejects.toEqual(error)
  await barred.invoke(call)
  await expect(odd.compensate(call)).rejects.toEqual(error)
})

test.each([
  { what: 'of its own', refusal: () => rejected('sold\0 out \ud83d') },
  {
    what: 'that is made by hand',
    refusal: () => ApplicationFailure.create({ type: 'Rejected', message: 'sold\0 out \ud83d', nonRetryable: true }),
  },
])('a refusal $what whose words PostgreSQL can not keep is kept with others in their place', async ({ refusal }) => {
  const call = newCall()
  const refuses = throughBarrier(pool, { ...service, invoke: () => Promise.reject(refusal()) })
  await expect(refuses.invoke(call)).rejects.toMatchObject(refused('sold\ufffd out \ufffd'))
  await expect(barred.invoke(call)).rejects.toMatchObject(refused('sold\ufffd out \ufffd'))
})
test('an int8 comes as text, also from who else uses the driver in this process', async () => {
  const id = '9007199254740993'
  expect((await pool.query(`SELECT ${id}::bigint AS id`)).rows).toEqual([{ id }])
})

test('a participant that undoes by the id which its invoke returned removes its own row, of ids beyond 2^53', async () => {
  await pool.query(
    `CREATE TABLE parcel (id bigint GENERATED ALWAYS AS IDENTITY (START WITH 9007199254740992) PRIMARY KEY, saga_id text)`,
  )
  const parcels = throughBarrier(pool, {
    name: 'parcel',
    async invoke(tx, { sagaId }) {
      const { rows } = await tx.query('INSERT INTO parcel (saga_id) VALUES ($1) RETURNING id', [sagaId])
      return { id: rows[0].id }
    },
    async compensate(tx, { result }) {
      await tx.query('DELETE FROM parcel WHERE id = $1', [(result as { id: string }).id])
    },
  })
  const [first, second] = [newCall(), newCall()]
  for (const call of [first, second]) expect(await parcels.invoke(call)).toMatchObject({ verdict: 'applied' })
  expect(await parcels.compensate(second)).toBe('done')
  expect((await pool.query('SELECT saga_id FROM parcel')).rows).toEqual([{ saga_id: first.sagaId }])
})

const circle: Record<string, unknown> = {}
circle['self'] = circle

test.each<[what: string, result: unknown, words: string]>([
  ['a BigInt', { id: 1n }, '/id is a BigInt, which JSON does not have; give it as a string'],
  ['an integer beyond 2^53 - 1', { ids: [2 ** 53] }, '/ids/0 is a number that loses digits here; give it as a string'],
  ['a number that is none', NaN, 'it is not a finite number'],
  ['a NUL', '\0', 'it holds a NUL'],
  ['half a character', { '\ud800': 1 }, 'half a character'],
  ['10,000 levels', JSON.parse(`${'['.repeat(10_000)}${']'.repeat(10_000)}`), 'nested more than 100 levels deep'],
  ['a circle', circle, 'nested more than 100 levels deep'],
])('a result with %s is refused before the commit, and not asked for again', async (_what, result, words) => {
  const call = newCall()
  const returning = { ...service, invoke: (tx: Client) => service.invoke(tx, call).then(() => result as Json) }
  const failure = await throughBarrier(pool, returning)
    .invoke(call)
    .catch((error: unknown) => error)
  expect(failure).toMatchObject({ type: 'InvalidResult', nonRetryable: true, message: expect.stringContaining(words) })
  expect((failure as Error).message).toMatch(/^the result of user can't be kept: /)
  expect(await users(call.sagaId)).toEqual([])
  expect(await barrierRows(call.sagaId)).toEqual([])
})

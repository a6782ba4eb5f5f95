import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { rejected } from '../../src/saga/errors.js'
import {
  NotTogether,
  throughBarrier,
  type AnyService,
  type CompensateCall,
  type InvokeCall,
} from '../../src/saga/node/barrier.js'
import { makePool, type Pool } from '../../src/saga/node/db.js'
import type { Json } from '../../src/saga/types.js'
import { ownServices } from '../../src/services/index.js'
import { makeDatabase } from '../helpers/system.js'
import { until } from '../helpers/until.js'

const step = 'A'
let pool: Pool

beforeAll(async () => {
  pool = makePool(await makeDatabase('invoke_many'), { max: 20, name: 'invoke-many-test' })
})
afterAll(() => pool.end())

/** Who waits for a lock in this database. */
const WAITING = `SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()`

const newCall = (username = 'ada') => ({ sagaId: randomUUID(), step, input: { username } })
const user = ownServices.A.participant as unknown as AnyService

/** Service A, with how many calls each of its windows had. */
function counted(windows: number[]): AnyService {
  return {
    ...user,
    invokeMany(tx, calls) {
      windows.push(calls.length)
      return user.invokeMany?.(tx, calls) ?? Promise.reject(new Error('it has none'))
    },
  }
}

/** Calls made at the same time: what each came to, the type of its failure, or "alone". */
function madeTogether<C>(calls: C[], make: ((call: C) => Promise<Json>) | undefined): Promise<Json[]> {
  return Promise.all(
    calls.map(async (call) => {
      try {
        return (await make?.(call)) ?? null
      } catch (error) {
        return error instanceof NotTogether ? 'alone' : ((error as { type?: string }).type ?? String(error))
      }
    }),
  )
}

function invokedTogether(service: AnyService, calls: InvokeCall[]): Promise<Json[]> {
  const { together } = throughBarrier(pool, service)
  return madeTogether(calls, together?.invoke && (async (call) => (await together.invoke?.(call))?.result ?? null))
}

function compensatedTogether(service: AnyService, calls: CompensateCall[]): Promise<Json[]> {
  return madeTogether(calls, throughBarrier(pool, service).together?.compensate)
}

async function usersOf(calls: InvokeCall[]): Promise<{ saga_id: string; id: string; username: string }[]> {
  const ids = calls.map(({ sagaId }) => sagaId)
  return (await pool.query('SELECT saga_id, id, username FROM table_a WHERE saga_id = ANY ($1)', [ids])).rows
}

async function barriersOf(calls: InvokeCall[]): Promise<number> {
  const { rows } = await pool.query('SELECT count(*)::int AS n FROM saga_barrier WHERE saga_id = ANY ($1)', [
    calls.map(({ sagaId }) => sagaId),
  ])
  return rows[0].n
}

test('calls that are made at the same time are one, each with its own row, result and barrier', async () => {
  const windows: number[] = []
  const calls = Array.from({ length: 40 }, (_, i) => newCall(`user ${i}`))
  const results = await invokedTogether(counted(windows), calls)
  expect(windows).toEqual([40])
  const users = new Map((await usersOf(calls)).map((row) => [row.saga_id, row]))
  expect(results).toEqual(calls.map(({ sagaId }) => ({ userId: users.get(sagaId)?.id })))
  expect(calls.map(({ sagaId }) => users.get(sagaId)?.username)).toEqual(calls.map(({ input }) => input.username))
  const barred = throughBarrier(pool, user)
  expect(await Promise.all(calls.map((call) => barred.invoke(call)))).toEqual(
    results.map((result) => ({ verdict: 'duplicate', result })),
  )
})

test('one that was made before has none of the others take effect: each is to be made alone', async () => {
  const [made, ...others] = [newCall(), newCall(), newCall()]
  await throughBarrier(pool, user).invoke(made)
  expect(await invokedTogether(user, [...others, made])).toEqual(['alone', 'alone', 'alone'])
  expect(await usersOf(others)).toEqual([])
  expect(await barriersOf(others)).toBe(0)
})

test('of calls that are made again each has the answer that was kept of it, and the others are made', async () => {
  const [made, refused, late, asked] = [newCall(), newCall(), newCall(), newCall()]
  const others = [newCall(), newCall()]
  const barred = throughBarrier(pool, user)
  const { result } = await barred.invoke(made)
  const no = throughBarrier(pool, { ...user, invoke: () => Promise.reject(rejected('no')) })
  await Promise.allSettled([no.invoke(refused), no.invoke(asked)])
  await barred.compensate(late)
  // Behind a decision a refusal that was kept is asked for again.
  const all = [made, refused, late, { ...asked, decisions: 1 }, ...others]
  const again = all.map((call) => ({ ...call, attempt: 2 }))
  const newUser = { userId: expect.any(String) }
  expect(await invokedTogether(user, again)).toEqual([result, 'Rejected', 'LateInvoke', 'alone', newUser, newUser])
  expect(await usersOf(all)).toHaveLength(3)
})

test('one that is refused is refused alone, and stays so', async () => {
  const choosy: AnyService = {
    ...user,
    async invokeMany(tx, calls) {
      const isRefused = ({ input }: { input: Json }) => (input as { username: string }).username === 'eve'
      const results = await user.invokeMany?.(
        tx,
        calls.filter((call) => !isRefused(call)),
      )
      return calls.map((call) => (isRefused(call) ? rejected('no eves') : (results?.shift() ?? null)))
    },
  }
  const eve = newCall('eve')
  const calls = [newCall('ada'), eve, newCall('grace')]
  const newUser = { userId: expect.any(String) }
  expect(await invokedTogether(choosy, calls)).toEqual([newUser, 'Rejected', newUser])
  expect((await usersOf(calls)).map(({ username }) => username).toSorted()).toEqual(['ada', 'grace'])
  await expect(throughBarrier(pool, user).invoke(eve)).rejects.toMatchObject({ message: 'no eves' })
  expect(await compensatedTogether(user, calls)).toEqual(['done', 'empty', 'done'])
  expect(await usersOf(calls)).toEqual([])
})

test('one whose undo came first is kept out, and its late call refused', async () => {
  const [late, other] = [newCall(), newCall()]
  const barred = throughBarrier(pool, user)
  await barred.compensate(late)
  expect(await invokedTogether(user, [late, other])).toEqual(['alone', 'alone'])
  await expect(barred.invoke(late)).rejects.toMatchObject({ type: 'LateInvoke' })
  expect(await usersOf([late, other])).toEqual([])
})

test.each([
  ['refuses', () => Promise.reject(rejected('no'))],
  ['fails', () => Promise.reject(new Error('broken'))],
  ['gives a result that cannot be kept', () => Promise.resolve([{ id: '1' }, { id: 2 ** 53 }])],
  ['gives too few results', () => Promise.resolve([{ userId: '1' }])],
])('a participant that %s leaves nothing behind', async (_, end) => {
  const service: AnyService = {
    ...user,
    async invokeMany(tx, calls) {
      await user.invokeMany?.(tx, calls)
      return end()
    },
  }
  const calls = [newCall(), newCall()]
  expect(await invokedTogether(service, calls)).toEqual(['alone', 'alone'])
  expect(await usersOf(calls)).toEqual([])
  expect(await barriersOf(calls)).toBe(0)
})

test('what was done is undone together, once; what never was is not, and kept out from then on', async () => {
  const [undone, ...done] = [newCall(), newCall(), newCall()]
  const never = newCall()
  await invokedTogether(user, [undone, ...done])
  const barred = throughBarrier(pool, user)
  await barred.compensate(undone)
  expect(await compensatedTogether(user, [...done, never, undone])).toEqual(['done', 'done', 'empty', 'alone'])
  expect(await usersOf([undone, ...done])).toEqual([])
  expect(await barred.compensate(undone)).toBe('done')
  expect(await compensatedTogether(user, done)).toEqual(['alone', 'alone'])
  await expect(barred.invoke(never)).rejects.toMatchObject({ type: 'LateInvoke' })
})

test('an undo is given what the work was given and has answered, or what a person has put in its place', async () => {
  const given: unknown[] = []
  const noted: AnyService = {
    ...user,
    async compensateMany(_tx, calls) {
      given.push(...calls)
    },
  }
  const [ada, grace] = [newCall('ada'), newCall('grace')]
  const results = await invokedTogether(user, [ada, grace])
  const { sagaId } = ada
  await compensatedTogether(noted, [
    { sagaId, step },
    { ...grace, input: 'put right' },
  ])
  expect(given).toEqual([
    { sagaId, input: { username: 'ada' }, result: results[0] },
    { sagaId: grace.sagaId, input: 'put right', result: results[1] },
  ])
})

test('an undo that fails for many leaves all as it was: each is to be made alone', async () => {
  const failing: AnyService = {
    ...user,
    async compensateMany(tx, calls) {
      await user.compensateMany?.(tx, calls)
      throw new Error('broken')
    },
  }
  const calls = [newCall(), newCall()]
  await invokedTogether(user, calls)
  expect(await compensatedTogether(failing, calls)).toEqual(['alone', 'alone'])
  expect(await usersOf(calls)).toHaveLength(2)
  expect(await barriersOf(calls)).toBe(2)
})

test('an undo waits for work that is still under way, and undoes it', async () => {
  const [slow, never] = [newCall(), newCall()]
  let isHeld = false
  let goOn = () => {}
  const held: AnyService = {
    ...user,
    async invoke(tx, call) {
      const result = await user.invoke(tx, call)
      isHeld = true
      await new Promise<void>((resolve) => (goOn = resolve))
      return result
    },
  }
  const invoked = throughBarrier(pool, held).invoke(slow)
  await until('the work is under way', () => isHeld)
  const compensated = compensatedTogether(user, [slow, never])
  await until('the undo waits', async () => (await pool.query(WAITING)).rows.length > 0)
  goOn()
  await invoked
  expect(await compensated).toEqual(['done', 'empty'])
  expect(await usersOf([slow])).toEqual([])
})

test('a participant that takes one call at a time is not asked for more', () => {
  const { name, invoke } = ownServices.A.participant as unknown as Pick<AnyService, 'name'> & { invoke: never }
  expect(throughBarrier(pool, { name, invoke }).together).toEqual({})
})

test('the three services do for many what they do for one', async () => {
  const calls = Array.from({ length: 3 }, (_, i) => newCall(`user ${i}`))
  const users = (await invokedTogether(user, calls)) as { userId: string }[]
  const step = async (letter: 'B' | 'C', of: (i: number) => Json) => {
    const service = ownServices[letter].participant as unknown as AnyService
    return invokedTogether(
      service,
      calls.map(({ sagaId }, i) => ({ sagaId, step: letter, input: of(i) })),
    )
  }
  const addresses = await step('B', (i) => ({ userId: users[i]?.userId ?? '', address: `street ${i}` }))
  const payments = await step('C', (i) => ({ userId: users[i]?.userId ?? '', payment: `card ${i}` }))
  const { rows } = await pool.query(
    `SELECT table_b.id AS "addressId", address, table_c.id AS "paymentId", payment_method AS payment
     FROM table_a JOIN table_b ON table_b.user_id = table_a.id JOIN table_c ON table_c.user_id = table_a.id
     WHERE table_a.id = ANY ($1) AND table_a.saga_id = table_b.saga_id AND table_a.saga_id = table_c.saga_id ORDER BY table_a.id`,
    [users.map(({ userId }) => userId)],
  )
  expect(rows).toEqual(
    calls.map((_, i) => ({
      ...(addresses[i] as object),
      ...(payments[i] as object),
      address: `street ${i}`,
      payment: `card ${i}`,
    })),
  )
})

/** Service A whose undo of many ends with a statement that fails, and that nobody looks at. */
const careless: AnyService = {
  ...user,
  async compensateMany(tx, calls) {
    await user.compensateMany?.(tx, calls)
    await tx.query('INSERT INTO stats VALUES (1)').catch(() => {})
  },
}

test('an undo of many that swallows an error of the database is not done: each is to be made alone', async () => {
  const calls = [newCall(), newCall()]
  await invokedTogether(user, calls)
  expect(await compensatedTogether(careless, calls)).toEqual(['alone', 'alone'])
  expect(await usersOf(calls)).toHaveLength(2)
  expect(await compensatedTogether(user, calls)).toEqual(['done', 'done'])
  expect(await usersOf(calls)).toEqual([])
})

test('a compensation that is asked for twice at the same time is undone once, and both have its verdict', async () => {
  const given: string[] = []
  const noting: AnyService = {
    ...user,
    compensateMany(tx, calls) {
      given.push(...calls.map(({ sagaId }) => sagaId))
      return user.compensateMany?.(tx, calls) ?? Promise.resolve()
    },
  }
  const [one, other] = [newCall(), newCall()]
  await invokedTogether(user, [one, other])
  expect(await compensatedTogether(noting, [one, other, one])).toEqual(['done', 'done', 'done'])
  expect(given.toSorted()).toEqual([one.sagaId, other.sagaId].toSorted())
})

test('an undo of many is given the input that an operator has put right, also where that is null', async () => {
  const given: Json[] = []
  const noting: AnyService = {
    ...user,
    async compensateMany(_tx, calls) {
      given.push(...calls.map(({ input }) => input))
    },
  }
  const call = newCall()
  await invokedTogether(user, [call])
  expect(await compensatedTogether(noting, [{ sagaId: call.sagaId, step, input: null }])).toEqual(['done'])
  expect(given).toEqual([null])
})

test('one that an operator has forbidden is answered by itself, and undoes nothing', async () => {
  const [decided, other] = [newCall(), newCall()]
  await invokedTogether(user, [decided, other])
  const barred = throughBarrier(pool, user)
  await barred.forbid(decided)
  expect(await compensatedTogether(user, [decided, other])).toEqual(['alone', 'done'])
  expect(await barred.compensate(decided)).toBe('forbidden')
  expect((await usersOf([decided, other])).map(({ saga_id: id }) => id)).toEqual([decided.sagaId])
})

test('a result that is too large has none of its window take effect: each is to be made alone', async () => {
  const large: AnyService = {
    ...user,
    async invokeMany(tx, calls) {
      const results = (await user.invokeMany?.(tx, calls)) ?? []
      return results.map((result, i) => (i === 0 ? 'x'.repeat(1_000_001) : result))
    },
  }
  const calls = [newCall(), newCall()]
  expect(await invokedTogether(large, calls)).toEqual(['alone', 'alone'])
  expect(await usersOf(calls)).toEqual([])
})

test('a refusal of one of many whose words PostgreSQL can not keep is kept with others in their place', async () => {
  const refuses: AnyService = {
    ...user,
    invokeMany: async (_tx, calls) => calls.map(() => rejected('sold\0 out')),
  }
  const call = newCall()
  expect(await invokedTogether(refuses, [call])).toEqual(['Rejected'])
  await expect(throughBarrier(pool, user).invoke(call)).rejects.toMatchObject({ message: 'sold\ufffd out' })
})

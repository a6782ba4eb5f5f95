import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { rejected } from '../../src/saga/errors.js'
import { NotTogether, throughBarrier, type AnyService, type InvokeCall } from '../../src/saga/node/barrier.js'
import { makePool, type Pool } from '../../src/saga/node/db.js'
import type { Json } from '../../src/saga/types.js'
import { ownServices } from '../../src/services/index.js'
import { makeDatabase } from '../helpers/system.js'

const step = 'A'
let pool: Pool

beforeAll(async () => {
  pool = makePool(await makeDatabase('invoke_many'), { max: 20, name: 'invoke-many-test' })
})
afterAll(() => pool.end())

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

/** The calls made at the same time: what each came to, or "alone". */
function madeTogether(service: AnyService, calls: InvokeCall[]): Promise<Json[]> {
  const barred = throughBarrier(pool, service)
  return Promise.all(
    calls.map(async (call) => {
      try {
        return (await barred.invokeTogether?.(call))?.result ?? null
      } catch (error) {
        if (error instanceof NotTogether) return 'alone'
        throw error
      }
    }),
  )
}

async function usersOf(calls: InvokeCall[]): Promise<{ saga_id: string; id: number; username: string }[]> {
  const ids = calls.map(({ sagaId }) => sagaId)
  return (await pool.query('SELECT saga_id, id, username FROM table_a WHERE saga_id = ANY ($1)', [ids])).rows
}

async function barriersOf(calls: InvokeCall[]): Promise<number> {
  const { rows } = await pool.query('SELECT count(*) AS n FROM saga_barrier WHERE saga_id = ANY ($1)', [
    calls.map(({ sagaId }) => sagaId),
  ])
  return rows[0].n
}

test('calls that are made at the same time are one, each with its own row, result and barrier', async () => {
  const windows: number[] = []
  const calls = Array.from({ length: 40 }, (_, i) => newCall(`user ${i}`))
  const results = await madeTogether(counted(windows), calls)
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
  expect(await madeTogether(user, [...others, made])).toEqual(['alone', 'alone', 'alone'])
  expect(await usersOf(others)).toEqual([])
  expect(await barriersOf(others)).toBe(0)
})

test('of calls that are made again those that took effect are left out', async () => {
  const [made, ...others] = [newCall(), newCall(), newCall()]
  await throughBarrier(pool, user).invoke(made)
  const again = [...others, made].map((call) => ({ ...call, attempt: 2 }))
  expect(await madeTogether(user, again)).toEqual([expect.anything(), expect.anything(), 'alone'])
  expect(await usersOf([made, ...others])).toHaveLength(3)
})

test('one whose undo came first is kept out, and its late call refused', async () => {
  const [late, other] = [newCall(), newCall()]
  const barred = throughBarrier(pool, user)
  await barred.compensate(late)
  expect(await madeTogether(user, [late, other])).toEqual(['alone', 'alone'])
  await expect(barred.invoke(late)).rejects.toMatchObject({ type: 'LateInvoke' })
  expect(await usersOf([late, other])).toEqual([])
})

test.each([
  ['refuses', () => Promise.reject(rejected('no'))],
  ['fails', () => Promise.reject(new Error('broken'))],
  ['gives too few results', () => Promise.resolve([{ userId: 1 }])],
])('a participant that %s leaves nothing behind', async (_, end) => {
  const service: AnyService = {
    ...user,
    async invokeMany(tx, calls) {
      await user.invokeMany?.(tx, calls)
      return end()
    },
  }
  const calls = [newCall(), newCall()]
  expect(await madeTogether(service, calls)).toEqual(['alone', 'alone'])
  expect(await usersOf(calls)).toEqual([])
  expect(await barriersOf(calls)).toBe(0)
})

test('a participant that takes one call at a time is not asked for more', () => {
  const { name, invoke } = ownServices.A.participant as unknown as Pick<AnyService, 'name'> & { invoke: never }
  expect(throughBarrier(pool, { name, invoke })).not.toHaveProperty('invokeTogether')
})

test('the three services do for many what they do for one', async () => {
  const calls = Array.from({ length: 3 }, (_, i) => newCall(`user ${i}`))
  const users = (await madeTogether(user, calls)) as { userId: number }[]
  const step = async (letter: 'B' | 'C', of: (i: number) => Json) => {
    const service = ownServices[letter].participant as unknown as AnyService
    return madeTogether(
      service,
      calls.map(({ sagaId }, i) => ({ sagaId, step: letter, input: of(i) })),
    )
  }
  const addresses = await step('B', (i) => ({ userId: users[i]?.userId ?? 0, address: `street ${i}` }))
  const payments = await step('C', (i) => ({ userId: users[i]?.userId ?? 0, payment: `card ${i}` }))
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

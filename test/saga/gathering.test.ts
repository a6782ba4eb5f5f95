import { setImmediate as nextTurn } from 'node:timers/promises'
import { expect, test } from '@jest/globals'
import { Gathering } from '../../src/saga/node/gathering.js'

/** One that answers each item with its double, and the batches it was given. */
function doubling(isMoreComing: () => boolean) {
  const batches: number[][] = []
  const work = (items: number[]) => {
    batches.push(items)
    return Promise.resolve(items.map((item) => item * 2))
  }
  return { batches, gathering: new Gathering(work, { most: 3, atOnce: 2, isMoreComing }) }
}

test('what comes while more is on its way waits for it, and goes once its batch is full', async () => {
  const { batches, gathering } = doubling(() => true)
  const first = gathering.add(1)
  await nextTurn()
  expect(await Promise.all([first, ...[2, 3, 4].map((item) => gathering.add(item))])).toEqual([2, 4, 6, 8])
  expect(batches).toEqual([[1, 2, 3], [4]])
})

test('where nothing more is on its way nothing waits for it', async () => {
  const { batches, gathering } = doubling(() => false)
  const first = gathering.add(1)
  await nextTurn()
  expect(await Promise.all([first, gathering.add(2)])).toEqual([2, 4])
  expect(batches).toEqual([[1], [2]])
})

test('what has waited in vain is done all the same, and what comes then has a batch of its own', async () => {
  const { batches, gathering } = doubling(() => true)
  expect(await gathering.add(1)).toBe(2)
  expect(await gathering.add(2)).toBe(4)
  expect(batches).toEqual([[1], [2]])
})

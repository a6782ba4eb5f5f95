import { existsSync, readFileSync } from 'node:fs'
import { describe, expect, test } from '@jest/globals'
import { mutants, mutated } from './helpers/mutants.js'

// Whether the tests kill them takes `npm run mutants` many minutes to say. That they can be made is seen here.
describe.each(mutants)('the mutant "$name"', ({ changes, test: [testPath], matrix: [matrixPath] }) => {
  test.each(changes)('finds its place in %s once: %s', (...change) => {
    const text = readFileSync(change[0], 'utf8')
    expect(mutated(text, change)).not.toBe(text)
  })

  test('names test files that are there', () => {
    expect([testPath, matrixPath].filter((path) => !existsSync(path))).toEqual([])
  })
})

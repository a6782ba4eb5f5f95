import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from '@jest/globals'

/** Files of a folder, or the file itself, with their texts. */
function read(path: string): { file: string; text: string }[] {
  if (/\.\w+$/.test(path)) return [{ file: path, text: readFileSync(path, 'utf8') }]
  const names = readdirSync(path, { recursive: true, encoding: 'utf8' }).filter((name) => /\.tsx?$/.test(name))
  return names.map((name) => ({ file: join(path, name), text: readFileSync(join(path, name), 'utf8') }))
}

// README, "Add a step": these follow from the declaration in src/workflows/create-user.ts.
test('API, console and audit have the steps from the declaration, and no list of their own', () => {
  const following = ['src/http', 'src/workflows/create-user-input.ts', 'src/audit.ts', 'src/run-worker.ts', 'web/src']
  const listed = /'A'[\s,|]+'B'|\[ABC\]|COMPENSATE_[ABC]|\bA: '?\w+'?, B: /
  const own = following.flatMap(read).filter(({ text }) => listed.test(text))

  expect(own.map(({ file }) => file)).toEqual([])
})

test("the console has the engine's policy, and no numbers of its own", () => {
  const numbers = /(attempts|irstDelayMs|axDelayMs): \d|\bn: 8\b|\beight (times|tries)\b|\b(some|about) [24]0 s/i
  const own = read('web/src').filter(({ text }) => numbers.test(text))

  expect(own.map(({ file }) => file)).toEqual([])
})

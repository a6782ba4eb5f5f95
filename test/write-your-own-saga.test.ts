import { execFileSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from '@jest/globals'
import { query, readShared } from './helpers/shared.js'
import { makeDatabase } from './helpers/system.js'

// What docs/write-your-own-saga.md tells its readers to copy and to install, held against the engine as it is.
const page = readFileSync('docs/write-your-own-saga.md', 'utf8')

/** The first command of the page that begins with these words, in one line. */
function commandOf(words: string): string {
  const blocks = [...page.matchAll(/```sh\n([\s\S]*?)```/g)].map(([, text = '']) => text.replaceAll(/\\\n\s*/g, ''))
  const found = blocks.flatMap((text) => text.split('\n')).find((line) => line.startsWith(words))
  if (found === undefined) throw new Error(`The page has no command that begins with ${words}`)
  return found
}

/** What a command installs, with the versions. */
const installedBy = (command: string): Record<string, string> =>
  Object.fromEntries(
    [...command.matchAll(/ (@?[\w./-]+)@(\d\S*)/g)].map(([, name = '', version = '']) => [name, version]),
  )

/** Packages that modules of the engine import, as values or as types. */
function importedByTheEngine(): Set<string> {
  const files = readdirSync('src/saga', { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.ts'))
  const named = files.flatMap((file) => {
    const text = readFileSync(join('src/saga', file), 'utf8')
    return [...text.matchAll(/(?:\bfrom |\bimport |\bimport\()'([^']+)'/g)].map(([, name = '']) => name)
  })
  const isPackage = (name: string) => !name.startsWith('.') && !name.startsWith('node:')
  return new Set(named.filter(isPackage).map((name) => name.split('/', name.startsWith('@') ? 2 : 1).join('/')))
}

test('the page installs every package that the engine imports, and no other', () => {
  const names = Object.keys(installedBy(commandOf('npm install --save-exact @')))

  expect(names.toSorted()).toEqual([...importedByTheEngine()].toSorted())
})

test('the page installs the versions that the engine is tested with', () => {
  const { dependencies, devDependencies } = JSON.parse(readFileSync('package.json', 'utf8'))
  const wanted = {
    ...installedBy(commandOf('npm install --save-exact @')),
    ...installedBy(commandOf('npm install --save-exact --save-dev')),
  }

  expect({ ...dependencies, ...devDependencies }).toMatchObject(wanted)
})

const TABLES = `SELECT table_name || '.' || column_name || ' ' || data_type AS one FROM information_schema.columns
  WHERE table_schema = 'public' ORDER BY 1`

test("the page's command names the files that make the engine's tables, and none of this project's own", async () => {
  const command = commandOf('grep -l').replace('../durable-sagas/', '').replace(/\|.*/, '')
  const files = execFileSync('sh', ['-c', command], { encoding: 'utf8' }).trim().split('\n')
  const { postgres } = readShared()
  await query(postgres, 'CREATE DATABASE "engine-alone"')
  const alone = Object.assign(new URL(postgres), { pathname: '/engine-alone' }).href

  for (const file of files) await query(alone, readFileSync(file, 'utf8'))

  const ours = /^(table_[a-z]|schema_migration)\./
  const all = (await query<{ one: string }>(await makeDatabase('engine-and-demo'), TABLES)).map(({ one }) => one)
  const made = (await query<{ one: string }>(alone, TABLES)).map(({ one }) => one)
  expect(made).toEqual(all.filter((one) => !ours.test(one)))
  expect(await query(alone, 'SELECT failures FROM failure_injection')).toEqual([{ failures: {} }])
})

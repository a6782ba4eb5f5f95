import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { createContext, runInContext } from 'node:vm'
import { expect, test } from '@jest/globals'
import { withoutStacks } from '../../src/saga/node/bundle.js'

/** As `npm run build` makes it. */
const codePath = fileURLToPath(new URL('../../dist/workflow-bundle.js', import.meta.url))

/** What an error says of its place, in a context that has loaded the code. */
function stackIn(code: string): unknown {
  const context = createContext({ __webpack_module_cache__: {} })
  runInContext(code, context)
  return runInContext('new Error().stack', context)
}

test('the code of sagas notes one frame of each stack, and as a run of many sagas has it, none', async () => {
  const code = await readFile(codePath, 'utf8')
  expect(stackIn(code)).toMatch(/^Error.*\n +at .+$/)
  for (const bundle of [{ codePath }, { code }]) {
    const bare = await withoutStacks(bundle)
    expect(stackIn('code' in bare ? bare.code : '')).toBeUndefined()
  }
})

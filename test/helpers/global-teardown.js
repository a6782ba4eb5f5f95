import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

/**
 * Stops what global-setup.js has started. Fails the run where a workflow task has failed in any program of it, but for those
 * whose name says that it is to.
 */
export default async function tearDown() {
  const { folder } = JSON.parse(readFileSync(process.env.SAGA_TEST_SHARED, 'utf8'))
  const failures = readdirSync(folder, { recursive: true })
    .filter((name) => name.endsWith('.log') && !name.endsWith('-tasks-fail.log'))
    .flatMap((name) => readFileSync(join(folder, name), 'utf8').split('\n'))
    // A test starts a type of workflow that there is not.
    .filter((line) => line.includes('Failing workflow task') && !line.includes("'noSuchSaga'"))
  await globalThis.stopTestRun()
  if (failures.length > 0) throw new Error(`Workflow tasks have failed:\n${failures.join('\n').slice(0, 5_000)}`)
}

import { writeFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { bundleSagas } from './saga/node/bundle.js'
import { payloadConverterPath, workflowBundle } from './temporal.js'

/** Part of `npm run build`: bundles the workflow code once, so that no worker does it at its start. */
const { code } = await bundleSagas({
  workflowsPath: fileURLToPath(new URL('./workflows/index.js', import.meta.url)),
  payloadConverterPath,
  logger: { log() {}, trace() {}, debug() {}, info() {}, warn: console.warn, error: console.error },
})
await writeFile(workflowBundle.codePath, code)

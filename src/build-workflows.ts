import { writeFile } from 'node:fs/promises'
import { bundleSagas } from './saga/node/bundle.js'
import { payloadConverterPath, workflowBundle, workflowsPath } from './temporal.js'

/** Part of `npm run build`: bundles the workflow code once, so that no worker does it at its start. */
const { code } = await bundleSagas({
  workflowsPath,
  payloadConverterPath,
  logger: { log() {}, trace() {}, debug() {}, info() {}, warn: console.warn, error: console.error },
})
await writeFile(workflowBundle.codePath, code)

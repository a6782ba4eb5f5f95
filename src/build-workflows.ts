import { writeFile } from 'node:fs/promises'
import { bundleSagas } from './saga/node/bundle.js'
import {
  encryptedWorkflowBundle,
  failureConverterPath,
  payloadConverterPath,
  workflowBundle,
  workflowsPath,
} from './temporal.js'

/** Part of `npm run build`: bundles the workflow code once, with and without encrypted failures, so that no worker does it at its start. */
const options = {
  workflowsPath,
  payloadConverterPath,
  logger: { log() {}, trace() {}, debug() {}, info() {}, warn: console.warn, error: console.error },
}
const [plain, encrypted] = await Promise.all([bundleSagas(options), bundleSagas({ ...options, failureConverterPath })])
await writeFile(workflowBundle.codePath, plain.code)
await writeFile(encryptedWorkflowBundle.codePath, encrypted.code)

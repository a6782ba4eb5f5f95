import { readFile } from 'node:fs/promises'
import {
  bundleWorkflowCode,
  type BundleOptions,
  type WorkflowBundleOption,
  type WorkflowBundleWithSourceMap,
} from '@temporalio/worker'

/**
 * The SDK takes a stack trace of every promise that workflow code makes, for the Web UI's "Call Stack". With the ten frames
 * that are Node's default a saga's workflow takes 29 ms of CPU, with one 22 (300 replays each, in turn); one still says where
 * an error was thrown. It has to stand here: what the code finds when it runs is frozen.
 */
const ONE_FRAME = 'Error.stackTraceLimit = 1; '

/** V8 then takes no stack trace at all, and the SDK notes none. */
const NO_STACKS = 'delete Error.stackTraceLimit; '

/** Bundles the code of sagas for their workers, as Temporal's own bundler does, but for the depth of stack traces. */
export async function bundleSagas(options: BundleOptions): Promise<WorkflowBundleWithSourceMap> {
  const { code, sourceMap } = await bundleWorkflowCode(options)
  // On the first line, so that the source map's lines stay true.
  return { code: ONE_FRAME + code, sourceMap }
}

/**
 * The same code for runs of many sagas, without stack traces: half of what its workflow code took went into those, and nobody
 * can read the call stacks of hundreds of sagas. A saga whose code throws leaves that run, and throws again in one of its own.
 */
export async function withoutStacks(bundle: WorkflowBundleOption): Promise<WorkflowBundleOption> {
  const code = 'code' in bundle ? bundle.code : await readFile(bundle.codePath, 'utf8')
  return { code: NO_STACKS + code.replace(ONE_FRAME, '') }
}

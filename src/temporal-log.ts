import { DefaultLogger } from '@temporalio/worker'
import type { Logger } from 'pino'
import { redacted } from './saga/node/secrets.js'

/** Workflows that look after sagas, or that many share, and are none. */
const NO_SAGAS = new Set<unknown>(['sagaSweep', 'sagaDecisions', 'sagaGroup', 'sagaBulk', 'bulkLane'])

/** Runs whose saga is remembered: many more than a worker has at once. */
const MAX_RUNS = 10_000

/** Written otherwise, of no use without the SDK, or a failure as text, which may quote what the workflow was given. */
const LEFT_OUT = new Set([
  'workflowId',
  'workflow_id',
  'runId',
  'run_id',
  'workflowRunId',
  'taskToken',
  'spanContexts',
  'failure',
])

type Whose = { sagaId: string; workflowId?: never } | { workflowId: string; sagaId?: never }

/** The saga that a run is of; its workflow id where it is none. */
export function whoseRun(workflowId: string, workflowType: unknown): Whose {
  return NO_SAGAS.has(workflowType) ? { workflowId } : { sagaId: workflowId }
}

/**
 * Writes the warnings and errors of Temporal's runtime into `logger`, with the saga that each is about as `sagaId`. What it
 * says below them repeats the sagas' inputs and is only read: the SDK's core names nothing but a run, and that way it is
 * known whose that is.
 */
export function temporalLogger(logger: Logger): DefaultLogger {
  const sagas = new Map<string, Whose>()

  function whose(meta: Record<string, unknown>, runId: string | undefined): Whose | undefined {
    const workflowId = meta['workflowId'] ?? meta['workflow_id']
    if (typeof workflowId !== 'string') return runId === undefined ? undefined : sagas.get(runId)
    const found = whoseRun(workflowId, meta['workflowType'])
    if (runId !== undefined && !sagas.has(runId)) {
      sagas.set(runId, found)
      for (const oldest of sagas.keys()) {
        if (sagas.size <= MAX_RUNS) break
        sagas.delete(oldest)
      }
    }
    return found
  }

  return new DefaultLogger('TRACE', ({ level, message, meta = {} }) => {
    const runId = runOf(meta, message)
    const saga = whose(meta, runId)
    if (level !== 'WARN' && level !== 'ERROR') return
    const told = Object.entries(meta).filter(([name]) => !LEFT_OUT.has(name))
    const rest = Object.fromEntries(
      told.map(([name, one]) => [name, typeof one === 'string' ? redacted(one, []) : one]),
    )
    const line = { ...saga, ...(runId !== undefined && { runId }), ...rest, ...toldOf(meta['failure']) }
    logger[level === 'ERROR' ? 'error' : 'warn'](line, redacted(message, []))
  })
}

function runOf(meta: Record<string, unknown>, message: string): string | undefined {
  const runId = meta['runId'] ?? meta['run_id'] ?? meta['workflowRunId']
  if (typeof runId === 'string') return runId
  // "[TMPRL1104] 0199…:4:1 Workflow task duration exceeded 5 seconds."
  return /\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b/.exec(message)?.[0]
}

/**
 * Where a workflow's code failed; what it said is in its history, behind whatever guards that. Where it disagrees with its
 * history, or is not there at all, the words are the SDK's and the engine's: steps, types, and what to do.
 */
function toldOf(failure: unknown): { failure?: string; stack?: string } {
  if (typeof failure !== 'string') return {}
  const frames = failure.match(/\bat (?:[\w.<>$ ]+ \()?[^\s()\\"]+:\d+:\d+\)?/g)
  const isTold = /\bDeterminismViolationError\b|\[TMPRL1100\]|no such function is exported by/.test(failure)
  const message = isTold ? /message: "((?:[^"\\]|\\.)*)"/.exec(failure)?.[1] : undefined
  return { ...(message !== undefined && { failure: message }), ...(frames && { stack: frames.join('\n') }) }
}

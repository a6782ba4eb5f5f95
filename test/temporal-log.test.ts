import { expect, test } from '@jest/globals'
import { pino } from 'pino'
import { temporalLogger } from '../src/temporal-log.js'

const runId = '01a21c3f-ff97-7e62-8c50-8522cabe1235'
const secret = '4111-2222-3333-9876'

function lines(tell: (logger: ReturnType<typeof temporalLogger>) => void): object[] {
  const written: object[] = []
  const stream = { write: (line: string) => void written.push(JSON.parse(line)) }
  tell(temporalLogger(pino({ base: null, timestamp: false }, stream)))
  return written
}

test('a line of the core has the saga whose run it names, known from lines that are not written', () => {
  const written = lines((logger) => {
    logger.debug('Activity started', { workflowId: 'saga-1', workflowRunId: runId, args: secret })
    logger.warn(`[TMPRL1104] ${runId}:4:1 Workflow task duration exceeded 5 seconds.`, { spanContexts: [secret] })
    logger.error('Network error', { run_id: 'unheard-of' })
  })
  expect(written).toEqual([
    { level: 40, sagaId: 'saga-1', runId, msg: expect.stringMatching(/TMPRL1104/) },
    { level: 50, runId: 'unheard-of', msg: 'Network error' },
  ])
})

test('what looks after sagas is none', () => {
  const written = lines((logger) => {
    logger.debug('Workflow started', { workflowId: 'saga-sweep-v1', workflowType: 'sagaSweep', runId })
    logger.warn('Slow', { run_id: runId })
  })
  expect(written).toEqual([{ level: 40, workflowId: 'saga-sweep-v1', runId, msg: 'Slow' }])
})

test('a run that sagas share is none of them', () => {
  const written = lines((logger) => {
    logger.warn('Slow', { workflowId: 'saga-group-1', workflowType: 'sagaGroup', runId })
    logger.warn('Slow', { workflowId: 'saga-bulk-1', workflowType: 'sagaBulk', runId: 'another' })
  })
  expect(written).toEqual([
    { level: 40, workflowId: 'saga-group-1', runId, msg: expect.any(String), workflowType: 'sagaGroup' },
    { level: 40, workflowId: 'saga-bulk-1', runId: 'another', msg: expect.any(String), workflowType: 'sagaBulk' },
  ])
})

test('a workflow task that fails says where, not what', () => {
  // As the core tells it.
  const failure = `Failure { failure: Some(Failure { message: "no money on ${secret}", source: "TypeScriptSDK", stack_trace: "Error: no money on ${secret}\\n    at pay (workflow-bundle.js:78:6)\\n    at async run (workflow-bundle.js:12:3)", cause: None }) }`
  const written = lines((logger) =>
    logger.warn('Failing workflow task', { run_id: runId, failure, workflow_id: 'saga-1' }),
  )
  const stack = 'at pay (workflow-bundle.js:78:6)\nat async run (workflow-bundle.js:12:3)'
  expect(written).toEqual([{ level: 40, sagaId: 'saga-1', runId, stack, msg: 'Failing workflow task' }])
})

test('code that disagrees with its history says how, and what to do', () => {
  const failure = `Failure { failure: Some(Failure { message: "the saga's code calls step C where its history has B: bring the old code back", source: "TypeScriptSDK", stack_trace: "DeterminismViolationError: the saga's code calls step C", cause: None }) }`
  const written = lines((logger) => logger.warn('Failing workflow task', { failure, workflow_id: 'saga-1' }))
  const said = "the saga's code calls step C where its history has B: bring the old code back"
  expect(written).toEqual([{ level: 40, sagaId: 'saga-1', failure: said, msg: 'Failing workflow task' }])
})

test('a type of workflow that there is not is named', () => {
  const said = "Failed to initialize workflow of type 'payAll': no such function is exported by the workflow bundle"
  const failure = `Failure { failure: Some(Failure { message: "${said}", source: "TypeScriptSDK", stack_trace: "", cause: None }) }`
  const written = lines((logger) => logger.warn('Failing workflow task', { failure, workflow_id: 'saga-1' }))
  expect(written).toEqual([{ level: 40, sagaId: 'saga-1', failure: said, msg: 'Failing workflow task' }])
})

import { readdirSync, readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { expect, test } from '@jest/globals'
import { Worker, type ReplayWorkerOptions } from '@temporalio/worker'
import { bundleWorkflows } from '../helpers/engine.js'
import { filesOf, scenarios } from '../histories/scenarios.js'

// The recorded histories (npm run record-histories) against the workflow code of this build: docs/change-a-saga.md.

interface History {
  events: {
    eventId: string
    workflowExecutionStartedEventAttributes?: { workflowId: string; workflowType: { name: string } }
  }[]
}
type Code = NonNullable<ReplayWorkerOptions['workflowBundle']>

const folder = new URL('../histories/', import.meta.url)
const textOf = (file: string) => readFileSync(new URL(file, folder), 'utf8')
const recorded = readdirSync(folder).filter((file) => file.endsWith('.json'))
const shipped: Code = { codePath: resolve('dist/workflow-bundle.js') }
const ofEngine: Code = await bundleWorkflows(new URL('sagas.ts', folder))
const changed: Code = await bundleWorkflows(new URL('changed-sagas.ts', folder))

/** What replay says against each history, by its name; nothing where code and history agree. */
async function disagreements(code: Code, histories: Map<string, History>): Promise<Record<string, string>> {
  const found: Record<string, string> = {}
  for (const [name, history] of histories) {
    // Under its own id, of which those of nested sagas are made.
    const { workflowId } = history.events[0]?.workflowExecutionStartedEventAttributes ?? {}
    try {
      await Worker.runReplayHistory({ workflowBundle: code }, history, workflowId)
    } catch (error) {
      found[name] = (error as Error).message
    }
  }
  return found
}

function read(files: string[]): Map<string, History> {
  return new Map(files.filter((file) => recorded.includes(file)).map((file) => [file, JSON.parse(textOf(file))]))
}

test('every scenario has a history for each of its runs, and every history belongs to a scenario', () => {
  expect(recorded.toSorted()).toEqual(scenarios.flatMap(filesOf).toSorted())
})

test.each(scenarios)('$name replays', async (scenario) => {
  const histories = read(filesOf(scenario))
  const types = [...histories.values()].map(
    ({ events }) => events[0]?.workflowExecutionStartedEventAttributes?.workflowType.name,
  )
  expect(types).toEqual(scenario.runs)
  expect(await disagreements(scenario.stage === 'engine' ? ofEngine : shipped, histories)).toEqual({})
})

test('a history names no machine, no path and no person who recorded it, and no card that is real', () => {
  for (const file of recorded) {
    const text = textOf(file)
    const decoded = text.replaceAll(/"data":"([^"]+)"/g, (_, data: string) => Buffer.from(data, 'base64').toString())
    expect({ file, found: /"(?:identity|stackTrace|binaryChecksum|workerVersion)"/.exec(text)?.[0] }).toEqual({ file })
    expect({
      file,
      found: /\d+@[\w-]+|file:\/\/|node_modules|\/(?:home|root|tmp|work|Users)\//.exec(decoded)?.[0],
    }).toEqual({ file })
    expect({
      file,
      cards: decoded.match(/\b(?:\d{4} ){3}\d{4}\b/g)?.filter((card) => card !== '4242 4242 4242 4242') ?? [],
    }).toEqual({ file, cards: [] })
  }
})

/** A history as if it had been recorded of another workflow type. */
function asOf(type: string, file: string): Map<string, History> {
  const { events }: History = JSON.parse(textOf(file))
  const started = events[0]?.workflowExecutionStartedEventAttributes
  if (started) started.workflowType.name = type
  return new Map([[file, { events }]])
}

const otherStep = (called: string, recorded: string) =>
  new RegExp(`code calls step ${called} where its history, up to event \\d+, has an attempt of step ${recorded}`)

const changes: { change: string; file: string; disagreement?: RegExp }[] = [
  { change: 'unchanged', file: 'success.json' },
  { change: 'otherInput', file: 'success.json' },
  { change: 'stepSwapped', file: 'success.json', disagreement: otherStep('C', 'B') },
  { change: 'stepSwapped', file: 'b-fails-before.json', disagreement: otherStep('C', 'B') },
  { change: 'stepSwapped', file: 'a-is-refused.json' },
  { change: 'stepRenamed', file: 'success.json', disagreement: otherStep('address', 'B') },
  { change: 'stepRemoved', file: 'success.json', disagreement: otherStep('C', 'B') },
  { change: 'stepInTheMiddle', file: 'success.json', disagreement: otherStep('D', 'B') },
  { change: 'stepAtTheEnd', file: 'success.json', disagreement: /'completeSaga' does not match .* 'invoke'/ },
  { change: 'stepAtTheEnd', file: 'c-is-refused.json' },
  { change: 'stepGuarded', file: 'success.json' },
  { change: 'stepsInParallel', file: 'success.json', disagreement: /TMPRL1100/ },
  { change: 'stepsInParallel', file: 'b-heals-on-retry.json', disagreement: /TMPRL1100/ },
  { change: 'timerAdded', file: 'success.json', disagreement: /TMPRL1100/ },
]

test.each(changes)('createUserSaga with $change, and $file', async ({ change, file, disagreement }) => {
  const found = await disagreements(changed, asOf(change, file))
  expect(found).toEqual(disagreement ? { [file]: expect.stringMatching(disagreement) } : {})
})

test('of several histories the one whose events have changed places is named', async () => {
  const histories = read(['success.json', 'b-heals-on-retry.json', 'c-is-refused.json'])
  const { events } = histories.get('b-heals-on-retry.json') ?? { events: [] }
  const timer = events.findIndex((event) => 'timerStartedEventAttributes' in event)
  events.splice(timer - 1, 2, ...events.slice(timer - 1, timer + 1).toReversed())
  expect(await disagreements(shipped, histories)).toEqual({
    'b-heals-on-retry.json': expect.stringMatching(/History is out of order.* event id: \d+/),
  })
})

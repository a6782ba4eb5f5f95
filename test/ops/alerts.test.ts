import { readFileSync } from 'node:fs'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { parse } from 'yaml'
import { startRelay, type Relay } from '../helpers/relay.js'
import { Sagas } from '../helpers/sagas.js'
import { startSystem, type System } from '../helpers/system.js'
import { until } from '../helpers/until.js'

interface Rule {
  alert: string
  expr: string
  labels: { severity: string }
  annotations: { summary: string; description: string }
}

const { groups } = parse(readFileSync('ops/alerts.yml', 'utf8')) as { groups: { name: string; rules: Rule[] }[] }
const rules = groups.flatMap(({ rules }) => rules)

/** Counted by the worker once it has filled a gap: not there before. */
const LATER = new Set(['saga_log_gaps_total'])
let relay: Relay
let system: System
/** Each metric's samples, as their labels. */
let samples: Map<string, Record<string, string>[]>

beforeAll(async () => {
  relay = await startRelay()
  // Silent: that a workflow task fails is meant here, and would fail the run of the tests.
  system = await startSystem('alerts', { TEMPORAL_ADDRESS: relay.address, LOG_LEVEL: 'silent' })
  const sagas = new Sagas(system.where)
  await sagas.run({ C: { mode: 'always', kind: 'reject' } })
  const start = ['workflow', 'start', '-w', 'unknown', '--type', 'unknown', '--task-queue', 'saga']
  await sagas.temporal(...start)
  const figures = async () => (await sagas.request('/metrics')).text()
  await until('a workflow task has failed', async () =>
    (await figures()).includes('temporal_workflow_task_execution_failed'),
  )
  await sagas.temporal('workflow', 'terminate', '-w', 'unknown')
  const open = await sagas.start({ A: { mode: 'always', kind: 'hang' } })
  relay.cut()
  const cancel = await sagas.post(`/saga/${open}/cancel`, { reason: 'Temporal is away' })
  expect([202, 503]).toContain(cancel.status)
  const text = await until('requests have failed', async () => {
    const now = await figures()
    return now.includes('temporal_request_failure_total') && now.includes('temporal_long_request_failure_total') && now
  })
  samples = samplesOf(text)
  relay.mend()
})
afterAll(async () => {
  await system?.stop()
  await relay?.stop()
})

function samplesOf(text: string): Map<string, Record<string, string>[]> {
  const found = new Map<string, Record<string, string>[]>()
  for (const [, name = '', labels = ''] of text.matchAll(/^(\w+)(?:\{(.*)\})? \S+$/gm)) {
    const pairs = [...labels.matchAll(/(\w+)="([^"]*)"/g)].map(([, label = '', value = '']) => [label, value])
    found.set(name, [...(found.get(name) ?? []), Object.fromEntries(pairs) as Record<string, string>])
  }
  return found
}

const fits: Record<string, (value: string, wanted: string) => boolean> = {
  '=': (value, wanted) => value === wanted,
  '=~': (value, wanted) => new RegExp(`^(?:${wanted})$`).test(value),
  '!~': (value, wanted) => !new RegExp(`^(?:${wanted})$`).test(value),
}

/** The samples that a selector finds; Prometheus' own `up` is shown by nobody. */
function selected(name: string, matchers: string): Record<string, string>[] {
  if (name === 'up') return [{ instance: '', job: '' }]
  const wanted = [...matchers.matchAll(/(\w+)(=~|!~|=)"([^"]*)"/g)]
  const found = (samples.get(name) ?? []).filter((labels) =>
    wanted.every(([, label = '', how = '', value = '']) => label in labels && fits[how]?.(labels[label] ?? '', value)),
  )
  return found.map((labels) => ({ ...labels, instance: '', job: '' }))
}

test.each(rules)('$alert asks for what a running system shows, and tells what its expression leaves of it', (rule) => {
  const { expr, annotations } = rule
  const selectors = [...expr.matchAll(/\b((?:saga|temporal)_\w+|up\b)(?:\{(.*?)\})?/g)]
  const grouped = [...expr.matchAll(/\bby \((.*?)\)/g)].flatMap(([, labels = '']) => labels.split(', '))
  const known = new Set<string>()
  for (const [, name = '', matchers = ''] of selectors) {
    if (LATER.has(name)) continue
    const found = selected(name, matchers)
    expect({ name, matchers, found: found.length > 0 }).toEqual({ name, matchers, found: true })
    const labels = Object.keys(found[0] ?? {})
    expect(labels).toEqual(expect.arrayContaining(grouped))
    if (!/\b(?:sum|max)\b/.test(expr)) labels.forEach((label) => known.add(label))
  }
  expect(selectors.length).toBeGreaterThan(0)
  const told = [
    ...Object.values(annotations)
      .join()
      .matchAll(/\$labels\.(\w+)/g),
  ].map(([, label = '']) => label)
  expect([...known, ...grouped]).toEqual(expect.arrayContaining(told))
})

test.each(rules)('$alert says how urgent it is, and the README what to do', ({ alert, labels, annotations }) => {
  expect(['page', 'ticket']).toContain(labels.severity)
  expect(annotations.description).toContain('README.md#watch-it')
  const readme = readFileSync('README.md', 'utf8')
  expect(readme).toContain('\n## Watch it\n')
  expect(readme).toContain(`| \`${alert}\` |`)
})

import { compensatePolicy } from '../../src/saga/policy.js'
import type { FailureInput, Failures } from './api'
import { givenUpAfter, timeoutInSeconds, tries, upperFirst } from './policy-words'

interface Choice {
  label: string
  failure: FailureInput
  /** What is not obvious of it. */
  hint?: string
}

const everySecond = (when: 'before' | 'after'): Choice => ({
  label: `fails every second time, ${when} its commit`,
  failure: { mode: 'alternate', when },
  hint: 'The 2nd, 4th, … call, retries counted.',
})

const crashHint =
  'Ends the process that runs the service. This page may lose the server for some seconds; npm start starts it again.'

/** How a service may fail on its way forward. */
export const invokeChoices = {
  never: { label: 'never fails', failure: { mode: 'none' } },
  'once-before': { label: 'fails the first time, before its commit', failure: { mode: 'first', n: 1 } },
  'once-after': {
    label: 'fails the first time, after its commit',
    failure: { mode: 'first', n: 1, when: 'after' },
    hint: 'Its row is there, but the answer is lost. Trying again must not make a second row.',
  },
  'second-before': everySecond('before'),
  'second-after': everySecond('after'),
  'hangs-once': {
    label: 'hangs once and then goes on',
    failure: { mode: 'first', n: 1, kind: 'hang' },
    hint: `Past its time-out: ${timeoutInSeconds} seconds, unless the server is set otherwise. Time to press Cancel.`,
  },
  'crashes-once': {
    label: 'its process crashes once',
    failure: { mode: 'first', n: 1, kind: 'crash' },
    hint: crashHint,
  },
  refuses: {
    label: 'refuses',
    failure: { mode: 'always', kind: 'reject' },
    hint: 'A no from the business. It is not tried again.',
  },
  'always-before': { label: 'always fails, before its commit', failure: { mode: 'always' } },
  'always-after': {
    label: 'always fails, after its commit',
    failure: { mode: 'always', when: 'after' },
    hint: 'Its row is there, yet it counts as failed; the row must go too.',
  },
  'always-hangs': {
    label: 'always hangs',
    failure: { mode: 'always', kind: 'hang' },
    hint: 'Every try runs into its time-out, and goes on when nobody waits for it any more.',
  },
} satisfies Record<string, Choice>

/** How its undo may fail. */
export const undoChoices = {
  never: { label: 'its undo never fails', failure: { mode: 'none' } },
  'once-after': {
    label: 'its undo fails the first time, after its commit',
    failure: { mode: 'first', n: 1, when: 'after', on: 'compensate' },
    hint: 'It is undone, but the answer is lost. Undoing it again must change nothing.',
  },
  twice: {
    label: 'its undo fails twice',
    failure: { mode: 'first', n: 2, on: 'compensate' },
    hint: 'The undo is tried until it succeeds.',
  },
  'crashes-once': {
    label: 'its undo crashes the process once',
    failure: { mode: 'first', n: 1, kind: 'crash', on: 'compensate' },
    hint: crashHint,
  },
  'until-decided': {
    label: 'its undo fails until you step in',
    failure: { mode: 'first', n: compensatePolicy.attempts, on: 'compensate' },
    hint: `${upperFirst(tries.undo)} tries, some ${givenUpAfter.undo}; then the saga waits for you, and a retry works.`,
  },
  always: {
    label: 'its undo fails for good',
    failure: { mode: 'always', on: 'compensate' },
    hint: `After ${tries.undo} tries, some ${givenUpAfter.undo}, the saga waits for you, and a retry fails as well: resolve it or skip it.`,
  },
} satisfies Record<string, Choice>

export type InvokeId = keyof typeof invokeChoices
export type UndoId = keyof typeof undoChoices
interface StepChoice {
  invoke: InvokeId
  undo: UndoId
}
/** By step; one that is left out never fails, nor does its undo. */
export type Choices = Partial<Record<string, StepChoice>>

/** As the select shows them. */
export const invokeGroups: { label: string; ids: InvokeId[] }[] = [
  { label: 'Heals by itself', ids: ['once-before', 'once-after', 'hangs-once', 'crashes-once'] },
  { label: 'Every second time', ids: ['second-before', 'second-after'] },
  { label: 'Fails for good', ids: ['refuses', 'always-before', 'always-after', 'always-hangs'] },
]
export const undoGroups: { label: string; ids: UndoId[] }[] = [
  { label: 'Heals by itself', ids: ['once-after', 'twice', 'crashes-once'] },
  { label: 'Gets stuck', ids: ['until-decided', 'always'] },
]

const well: StepChoice = { invoke: 'never', undo: 'never' }
export const noneFails: Choices = {}

export const choiceOf = (choices: Choices, step: string): StepChoice => choices[step] ?? well

/** Nothing fails but what is named. */
export const failing = (some: Record<string, Partial<StepChoice>>): Choices =>
  Object.fromEntries(Object.entries(some).map(([step, choice]) => [step, { ...well, ...choice }]))

/** What is in force when the system is new. */
export const demo = failing({ A: { invoke: 'second-before' }, B: { invoke: 'second-after' } })

export const hintsOf = ({ invoke, undo }: StepChoice): string[] =>
  [invokeChoices[invoke] as Choice, undoChoices[undo] as Choice].flatMap(({ hint }) => hint ?? [])

export const isSame = (one: Choices, other: Choices): boolean =>
  Object.keys({ ...one, ...other }).every((step) => {
    const [mine, theirs] = [choiceOf(one, step), choiceOf(other, step)]
    return mine.invoke === theirs.invoke && mine.undo === theirs.undo
  })

/** As the API is told. A service that never fails is not named. */
export function toFailures(choices: Choices): Failures {
  const named = Object.keys(choices).flatMap((step) => {
    const { invoke, undo } = choiceOf(choices, step)
    const failures = [invokeChoices[invoke].failure, undoChoices[undo].failure]
    const real: FailureInput[] = failures.filter(({ mode }) => mode !== 'none')
    return real[0] ? [[step, real.length > 1 ? real : real[0]] as const] : []
  })
  return Object.fromEntries(named)
}

/** What the API says, as choices; undefined where there is no choice for it. */
export function fromFailures(failures: Failures): Choices | undefined {
  const found = Object.entries(failures).map(([step, one]) => [step, choiceFor(one)] as const)
  return found.some(([, choice]) => choice === undefined) ? undefined : Object.fromEntries(found)
}

function choiceFor(failures: FailureInput | FailureInput[] = []): StepChoice | undefined {
  const choice = { ...well }
  for (const failure of [failures].flat()) {
    if (failure.mode === 'none') continue
    if (failure.on === 'compensate') {
      const id = idOf(undoChoices, failure)
      if (!id || choice.undo !== 'never') return undefined
      choice.undo = id
    } else {
      const id = idOf(invokeChoices, failure)
      if (!id || choice.invoke !== 'never') return undefined
      choice.invoke = id
    }
  }
  return choice
}

function idOf<Id extends string>(choices: Record<Id, Choice>, failure: FailureInput): Id | undefined {
  return (Object.keys(choices) as Id[]).find((id) => words(choices[id].failure) === words(failure))
}

const words = ({ mode, n, rate, when = 'before', kind = 'error', on = 'invoke' }: FailureInput) =>
  [mode, n, rate, when, kind, on].join()

/** What the API says of one service, in words. */
export function describe(failures: FailureInput | FailureInput[] = []): string {
  const said = [failures]
    .flat()
    .filter(({ mode }) => mode !== 'none')
    .map(describeOne)
  return said.length > 0 ? said.join('; ') : 'never fails'
}

function describeOne({ mode, n = 1, rate = 0, when = 'before', kind = 'error', on = 'invoke' }: FailureInput): string {
  const subject = on === 'compensate' ? 'its undo ' : ''
  const often = {
    none: 'never',
    alternate: 'every second time',
    always: 'every time',
    first: n === 1 ? 'the first time' : `the first ${n} times`,
    rate: `${Math.round(rate * 1_000) / 10} % of the time`,
  }[mode]
  const place = `${when} its commit`
  return {
    reject: `refuses ${often}`,
    hang: `${subject}hangs ${often} and then goes on${when === 'after' ? ', after its commit' : ''}`,
    crash: `${subject}crashes its process ${often}, ${place}`,
    error: `${subject}fails ${often}, ${place}`,
  }[kind]
}

import type { FailureInput, Failures } from './api'

export const STEPS = ['A', 'B', 'C'] as const
export type Step = (typeof STEPS)[number]

interface Choice {
  label: string
  /** What the API is told; undefined for `shared`, which is to tell it nothing. */
  failure: FailureInput | undefined
  /** What is not obvious of it. */
  hint?: string
}

/**
 * How a service shall fail. Calls of a saga with failures of its own are counted for that saga alone, so "every second
 * call" is not among them: a first call that succeeds has no second.
 */
export const choices = {
  shared: { label: 'as set for everybody', failure: undefined },
  never: { label: 'never fails', failure: { mode: 'none' } },
  'once-before': { label: 'fails once, before its commit', failure: { mode: 'first', n: 1 } },
  'once-after': {
    label: 'fails once, after its commit',
    failure: { mode: 'first', n: 1, when: 'after' },
    hint: 'Its row is there, but the answer is lost. Trying again must not make a second row.',
  },
  'hangs-once': {
    label: 'hangs past its time-out once',
    failure: { mode: 'first', n: 1, kind: 'hang' },
    hint: 'Time to press Cancel: a try has 5 seconds unless the server is set otherwise.',
  },
  'crashes-once': {
    label: 'its process crashes once',
    failure: { mode: 'first', n: 1, kind: 'crash' },
    hint: 'Ends the process that runs the service. This page may lose the server until it is started again; npm start does that by itself.',
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
  'undo-fails-twice': {
    label: 'its undo fails twice',
    failure: { mode: 'first', n: 2, on: 'compensate' },
    hint: 'The undo is tried until it succeeds. Let a later service fail for good to see it.',
  },
} satisfies Record<string, Choice>

export type ChoiceId = keyof typeof choices
export type Choices = Record<Step, ChoiceId>

export const hintOf = (id: ChoiceId): string | undefined => (choices[id] as Choice).hint

/** As the select shows them. The undo of the last service is left out: nothing behind it can fail. */
export const choiceGroups = (step: Step): { label: string; ids: ChoiceId[] }[] => [
  { label: 'Heals by itself', ids: ['once-before', 'once-after', 'hangs-once', 'crashes-once'] },
  { label: 'Fails for good', ids: ['refuses', 'always-before', 'always-after'] },
  ...(step === 'C' ? [] : [{ label: 'On the way back', ids: ['undo-fails-twice'] satisfies ChoiceId[] }]),
]

export const allShared: Choices = { A: 'shared', B: 'shared', C: 'shared' }
const noneFails: Choices = { A: 'never', B: 'never', C: 'never' }

export const presets: { label: string; choices: Choices }[] = [
  { label: 'As set for everybody', choices: allShared },
  { label: 'All goes well', choices: noneFails },
  { label: 'A fails once and heals', choices: { ...noneFails, A: 'once-before' } },
  { label: 'C refuses', choices: { ...noneFails, C: 'refuses' } },
  { label: 'B fails after its commit', choices: { ...noneFails, B: 'always-after' } },
  { label: 'An undo fails twice', choices: { A: 'undo-fails-twice', B: 'never', C: 'refuses' } },
]

/**
 * `now` with one choice changed. A saga's own failures replace all that are set for everybody, so the two don't mix:
 * the first choice of one's own turns the others to `never`, in plain sight, and `shared` turns all of them back.
 */
export function choose(now: Choices, step: Step, id: string): Choices {
  if (id === 'shared' || !isChoice(id)) return allShared
  return { ...(isShared(now) ? noneFails : now), [step]: id }
}

const isChoice = (id: string): id is ChoiceId => id in choices

export const isShared = (now: Choices): boolean => STEPS.every((step) => now[step] === 'shared')

export const isSame = (one: Choices, other: Choices): boolean => STEPS.every((step) => one[step] === other[step])

/** The `failures` of the request; undefined where the saga takes what is set for everybody. */
export function toFailures(now: Choices): Failures | undefined {
  const named = STEPS.flatMap((step) => {
    const { failure } = choices[now[step]] as Choice
    return failure ? [[step, failure] as const] : []
  })
  return named.length > 0 ? Object.fromEntries(named) : undefined
}

/** What GET /failures says of one service, in words. */
export function describe(failures: FailureInput | FailureInput[]): string {
  const said = [failures]
    .flat()
    .filter(({ mode }) => mode !== 'none')
    .map(describeOne)
  return said.length > 0 ? said.join('; ') : 'never fails'
}

function describeOne({ mode, n = 1, rate = 0, when = 'before', kind = 'error', on = 'invoke' }: FailureInput): string {
  const what = { error: 'fails', hang: 'hangs past its time-out', crash: 'crashes its process', reject: 'refuses' }[
    kind
  ]
  const calls = {
    none: 'no call',
    alternate: 'every second call',
    always: 'every call',
    first: n === 1 ? 'the first call' : `the first ${n} calls`,
    rate: `${Math.round(rate * 100)} % of the calls`,
  }[mode]
  const place = kind === 'reject' ? '' : `, ${when} its commit`
  return `${on === 'compensate' ? 'its undo ' : ''}${what}${place} (${calls})`
}

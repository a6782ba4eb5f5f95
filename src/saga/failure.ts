import { Type } from 'typebox'

/** One injected failure: which calls it meets (`mode`), and what happens to them. */
export interface Failure {
  /** `alternate`: every second call; `first`: the first `n` calls; `rate`: that share of the calls, spread evenly by hash. */
  mode: 'none' | 'alternate' | 'always' | 'first' | 'rate'
  n?: number
  rate?: number
  /** `before`: the participant's transaction has not begun; `after`: it has committed. */
  when: 'before' | 'after'
  /** `hang` sleeps past the time-out and then goes on; `crash` ends the process; `reject` is a refusal for good. */
  kind: 'error' | 'hang' | 'crash' | 'reject'
  on: 'invoke' | 'compensate'
}

/** By step; of a list the first failure that fires wins. A step that is not named does not fail. */
export type Failures = Record<string, Failure[]>

export type FailureInput = Pick<Failure, 'mode'> & Partial<Failure>
export type FailuresInput = Record<string, FailureInput | FailureInput[]>

const onlyWithMode = (mode: string, field: string) => ({
  if: { properties: { mode: { const: mode } }, required: ['mode'] },
  then: { required: [field] },
  else: { not: { required: [field] } },
})

/** The schema of one failure, in which what has a default may be left out. */
export const failureSchema = {
  type: 'object',
  additionalProperties: false,
  required: ['mode'],
  properties: {
    mode: { enum: ['none', 'alternate', 'always', 'first', 'rate'] },
    n: { type: 'integer', minimum: 1, description: 'With mode first: how many calls fail.' },
    rate: { type: 'number', minimum: 0, maximum: 1, description: 'With mode rate: the share of calls that fail.' },
    when: { enum: ['before', 'after'], default: 'before' },
    kind: { enum: ['error', 'hang', 'crash', 'reject'], default: 'error' },
    on: { enum: ['invoke', 'compensate'], default: 'invoke' },
  },
  allOf: [
    onlyWithMode('first', 'n'),
    onlyWithMode('rate', 'rate'),
    {
      // A refusal comes from the business itself: before the commit, and of the work only.
      if: { properties: { kind: { const: 'reject' } }, required: ['kind'] },
      then: { properties: { when: { const: 'before' }, on: { const: 'invoke' } } },
    },
  ],
}

// if/then and not anyOf, so that an error names the field at fault and not every branch that did not fit.
const oneOrMany = {
  if: { type: 'array' },
  then: { type: 'array', items: failureSchema, maxItems: 100 },
  else: failureSchema,
}

/** The schema of `failures` for the given steps: `{"A": Failure or a list of Failures, …}`. */
export function failuresSchema(steps: readonly string[]) {
  return Type.Unsafe<FailuresInput>({
    type: 'object',
    description: 'How each service is to fail; a service that is not named does not.',
    additionalProperties: false,
    properties: Object.fromEntries(steps.map((step) => [step, oneOrMany])),
  })
}

/** Fills in what was left out: `before`, `error`, `invoke`; a single failure becomes a list of one. */
export function completeFailures(input: FailuresInput): Failures {
  const complete = (failure: FailureInput): Failure => ({ when: 'before', kind: 'error', on: 'invoke', ...failure })
  return Object.fromEntries(Object.entries(input).map(([step, one]) => [step, [one].flat().map(complete)]))
}

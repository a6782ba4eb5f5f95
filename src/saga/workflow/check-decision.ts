import { decisionRefused } from '../errors.js'
import { problemsOf } from '../exact-json.js'
import type { ToldDecision } from '../types.js'

const actions = ['retry', 'resolve', 'skip']

/**
 * Checks what has come by the update `decide`, by the API's rules. Throws DecisionRefused with all that is wrong. With a
 * `number` it is no new decision but word of one that stands in the saga's row.
 */
export function checkDecision(value: unknown): asserts value is ToldDecision {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw decisionRefused('A decision is an object {"step","action","reason","actor","input"?}.')
  }
  const { step, action, reason, actor, input, number, ...others } = value as Record<string, unknown>
  const problems = [
    ...(isText(step, 255) ? [] : ['step must be the name of a step']),
    ...(actions.includes(action as string) ? [] : [`action must be one of ${actions.join(', ')}`]),
    ...(isText(reason, 500) ? [] : ['reason must be a text of 1–500 characters']),
    ...(isText(actor, 100) ? [] : ['actor must be a text of 1–100 characters']),
    ...(input === undefined || action === 'retry' ? [] : ['input goes with retry only']),
    ...(number === undefined ? problemsOf(input) : []).map(({ path, message }) => `input${path} ${message}`),
    ...(number === undefined || Number.isInteger(number) ? [] : ['number must be an integer']),
    ...Object.keys(others).map((field) => `${field} is not a field`),
  ]
  if (problems.length > 0) throw decisionRefused(`The decision is not right: ${problems.join('; ')}.`)
}

/** The decision with its texts trimmed. */
export function trimmedDecision(decision: ToldDecision): ToldDecision {
  const { step, reason, actor } = decision
  return { ...decision, step: step.trim(), reason: reason.trim(), actor: actor.trim() }
}

/** Something visible, no control characters, well-formed Unicode. */
function isText(value: unknown, maxLength: number): boolean {
  if (typeof value !== 'string') return false
  const text = value.trim()
  return /[^\p{Z}\p{Cf}]/u.test(text) && !/[\p{Cc}\p{Cs}]/u.test(text) && Array.from(text).length <= maxLength
}

import { invalidResult, textOf } from './errors.js'
import { inWords, problemsOf } from './exact-json.js'
import type { Json } from './types.js'

/**
 * Bytes of a step's input, or of a step's or a saga's result, as JSON, at most. Temporal takes 2 MiB as one payload and 4 MB as
 * one message. An attempt answers with an input and a result in one payload, and so does the view of a saga.
 */
export const MAX_JSON_BYTES = 1_000_000

/**
 * A result as it is kept, null where there is none, and its JSON. Throws InvalidResult where Temporal or PostgreSQL could not
 * take it, or would change it. `whose` says whose it is, such as "user".
 */
export function checkedResult(result: unknown, whose: string): { result: Json; json: string } {
  if (result === undefined) return { result: null, json: 'null' }
  const problems = problemsOf(result)
  if (problems.length > 0) throw invalidResult(`the result of ${whose} can't be kept: ${inWords(problems)}`)
  const json = jsonOf(result, whose)
  const bytes = bytesOf(json)
  if (bytes > MAX_JSON_BYTES) {
    throw invalidResult(`the result of ${whose} has ${bytes} bytes as JSON; ${MAX_JSON_BYTES} is the most`)
  }
  return { result: result as Json, json }
}

function jsonOf(result: unknown, whose: string): string {
  let why = `it is a ${typeof result}`
  try {
    // A function or a symbol has no JSON, and throws nothing.
    const json = JSON.stringify(result) as string | undefined
    if (json !== undefined) return json
  } catch (error) {
    why = textOf(error)
  }
  throw invalidResult(`the result of ${whose} is no JSON: ${why}`)
}

/** In UTF-8. Most results are far from the limit, whatever is in them: what is returned then is below it too. */
export function bytesOf(json: string): number {
  return json.length * 3 <= MAX_JSON_BYTES ? json.length : new TextEncoder().encode(json).length
}

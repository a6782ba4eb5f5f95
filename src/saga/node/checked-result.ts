import { outcomeUnknown } from '../errors.js'
import { inWords, problemsOf } from '../exact-json.js'

/**
 * Throws where a participant has returned what cannot be kept exactly, such as a BigInt. To be called before the commit: the
 * work is then rolled back. It is not tried again, for it would return the same.
 */
export function checkResult(participant: string, result: unknown): void {
  const problems = problemsOf(result)
  if (problems.length === 0) return
  const message = `${participant} returned a result that cannot be kept, and nothing was committed: ${inWords(problems)}`
  throw outcomeUnknown(message, { nonRetryable: true })
}

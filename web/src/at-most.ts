import { ApiError } from './api'

/** How many sagas a call would touch, if it was refused because they are another number than was expected. */
export const matchingOf = (error: unknown): number | undefined =>
  error instanceof ApiError ? error.problem.matching : undefined

/** How often it is asked again while sagas end under the call. */
const TRIES = 20

/** Whoever has agreed to a number has agreed to less: while they read it some sagas may have ended, or been decided. */
export async function atMost<T>(agreed: number, ask: (expected: number) => Promise<T>): Promise<T> {
  let expected = agreed
  for (let tries = 1; ; tries++) {
    try {
      return await ask(expected)
    } catch (error) {
      const now = matchingOf(error)
      if (now === undefined || now === 0 || now > agreed || tries === TRIES) throw error
      expected = now
    }
  }
}

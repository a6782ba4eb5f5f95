import type { Bulk } from './api'

/** Over how long a rate is taken. Sagas end by the hundreds, some seconds apart. */
export const WINDOW_MS = 30_000
/** Too soon to tell a rate. */
const LEAST_MS = 1_500

/** How many sagas were done, and when the page heard of it; oldest first. */
export type Pace = readonly { atMs: number; done: number }[]

export const begun: Pace = []

/** Those that run no more, for now: they have ended, or wait for a person. */
export const doneOf = ({ total, running }: Pick<Bulk, 'total' | 'running'>): number => total - running

/** What is known once more has been heard. Where sagas run again, as when they are undone, it begins anew. */
export function withSeen(pace: Pace, bulk: Pick<Bulk, 'total' | 'running'>, atMs: number): Pace {
  const done = doneOf(bulk)
  if (done < (pace.at(-1)?.done ?? 0)) return [{ atMs, done }]
  // One from before the window stays: it tells how many were done when it began.
  const first = pace.findLastIndex((one) => one.atMs < atMs - WINDOW_MS)
  return [...pace.slice(Math.max(0, first)), { atMs, done }]
}

/** Sagas a second over the last seconds, up to now; undefined as long as it is too soon to tell, as before the first of them. */
export function rateOf(pace: Pace, clockMs: number): number | undefined {
  const last = pace.at(-1)
  // The page's clock ticks once a second, and an event may have come since.
  const nowMs = Math.max(clockMs, last?.atMs ?? 0)
  const from = pace.findLast(({ atMs }) => atMs < nowMs - WINDOW_MS) ?? pace[0]
  if (!last || !from) return undefined
  const beganMs = Math.max(from.atMs, nowMs - WINDOW_MS)
  const ended = last.done - from.done
  const isTooSoon = nowMs - beganMs < (ended > 0 ? LEAST_MS : WINDOW_MS)
  return isTooSoon ? undefined : (ended / (nowMs - beganMs)) * 1_000
}

import { useSyncExternalStore } from 'react'

/** The time in ms, to the second, ticking: one clock for all of the page, so that no two places differ. */
export const useNow = (): number => useSyncExternalStore(subscribe, () => nowMs)

let nowMs = Date.now()
let timer: ReturnType<typeof setInterval> | undefined
const listeners = new Set<() => void>()

function tick(): void {
  nowMs = Date.now()
  for (const listener of listeners) listener()
}

function subscribe(listener: () => void): () => void {
  listeners.add(listener)
  // It may have stood still for long.
  if (listeners.size === 1) {
    nowMs = Date.now()
    timer = setInterval(tick, 1_000)
  }
  return () => {
    listeners.delete(listener)
    if (listeners.size === 0) clearInterval(timer)
  }
}

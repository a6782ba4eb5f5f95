import { inheritedEnvironment } from '../config.js'

/** npm passes the terminal's Ctrl-C on a second time, when the terminal itself has already sent it to the whole group. */
const REPEAT_MS = 5_000

/**
 * Listens to SIGINT, SIGTERM and SIGHUP from now on. The first aborts `stop`; one that comes within 5 s of it counts as
 * the same; a later one aborts `kill`.
 */
export function listenToStopSignals(): { stop: AbortSignal; kill: AbortSignal } {
  const stop = new AbortController()
  const kill = new AbortController()
  let stoppedAt: number | undefined
  const onSignal = () => {
    stoppedAt ??= Date.now()
    stop.abort()
    if (Date.now() - stoppedAt > REPEAT_MS) kill.abort()
  }
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, onSignal)
  if (inheritedEnvironment().npm_lifecycle_event !== undefined) whenParentEnds(() => stop.abort())
  return { stop: stop.signal, kill: kill.signal }
}

/** npm passes SIGTERM to the shell that it runs us in, and some shells (dash) die of it without a word to us. */
function whenParentEnds(then: () => void): void {
  const parent = process.ppid
  const timer = setInterval(() => {
    if (process.ppid === parent) return
    clearInterval(timer)
    then()
  }, 250)
  timer.unref()
}

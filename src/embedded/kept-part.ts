import { setTimeout as delay } from 'node:timers/promises'
import { type Output, seconds } from '../system/output.js'
import { describeExit, type Server } from './servers.js'
import { StartError } from '../system/start-error.js'

const FIRST_DELAY_MS = 200
const LAST_DELAY_MS = 5_000
/** One that has run for so long starts again without delay. */
const HEALTHY_MS = 60_000

/** How a server that is up, and has a check, is watched. */
export interface WatchTimes {
  /** Between the end of one check and the next. */
  everyMs: number
  /** A check that takes longer has failed. */
  timeoutMs: number
  /** So many that fail one after the other, and the server is ended, to be started again. */
  failures: number
}

/** A server that is slow under load misses a check or two; one that fails for 40 s, or is silent for 80, does not come to itself. */
const WATCH: WatchTimes = { everyMs: 10_000, timeoutMs: 10_000, failures: 4 }

export interface KeptPartOptions<S extends Server> {
  start: (signal: AbortSignal) => Promise<S>
  output: Output
  signal: AbortSignal
  /** Left out: every 10 s, 10 s each, four in a row. */
  watch?: WatchTimes
}

/**
 * A server that is started again whenever it dies, after 0.2 s at first, then twice that, up to 5 s. One that runs and fails
 * its check four times in a row, 10 s apart, is ended and started again as well; while it starts it is not checked. Only
 * its first start may fail; from then on it is tried until `stop`.
 */
export class KeptPart<S extends Server> {
  /** Settles when it is up: at once, or at the end of the restart under way. */
  up: Promise<unknown>
  private readonly stopping = new AbortController()
  private readonly kept: Promise<void>
  private delayMs = FIRST_DELAY_MS

  private constructor(
    private readonly name: string,
    private server: S,
    private readonly startAgain: (signal: AbortSignal) => Promise<S>,
    private readonly output: Output,
    private readonly watch: WatchTimes,
  ) {
    this.up = Promise.resolve()
    this.kept = this.keep()
  }

  /** Starts it for the first time, and throws what `start` throws. */
  static async start<S extends Server>(
    name: string,
    { start, output, signal, watch = WATCH }: KeptPartOptions<S>,
  ): Promise<KeptPart<S>> {
    return new KeptPart(name, await start(signal), start, output, watch)
  }

  /** The server as it runs now, or ran last. */
  get current(): S {
    return this.server
  }

  /** Ends it, also in the middle of a restart, and keeps it ended. */
  async stop(): Promise<void> {
    this.stopping.abort()
    await this.server.stop()
    await this.kept
  }

  private async keep(): Promise<void> {
    let startedAt = Date.now()
    for (;;) {
      const ended = await this.end()
      if (this.stopping.signal.aborted) return
      const diedAt = Date.now()
      if (diedAt - startedAt > HEALTHY_MS) this.delayMs = FIRST_DELAY_MS
      const restart = this.restart(ended)
      this.up = restart
      const again = await restart
      if (!again) return
      this.server = again
      startedAt = Date.now()
      // A stop that came while it was coming up has only seen the one before it.
      if (this.stopping.signal.aborted) await again.stop()
      else this.output.note(`${this.name} ${ended} and is up again after ${seconds(startedAt - diedAt)}.`)
    }
  }

  /** How the server has ended, once it has: by itself, or for it failed its checks. */
  private async end(): Promise<string> {
    const { server } = this
    const over = new AbortController()
    const watched = this.untilFailed(server, over.signal)
    const stopFailed = async () => {
      if (await watched) await server.stop()
    }
    void stopFailed()
    const exit = await server.exited
    over.abort()
    return (await watched)
      ? `was ended, for it failed ${this.watch.failures} checks in a row,`
      : `died (${describeExit(exit)})`
  }

  /** Resolves with true once the server has failed its checks, with false when it is over before. */
  private async untilFailed(server: S, over: AbortSignal): Promise<boolean> {
    const { everyMs, timeoutMs, failures } = this.watch
    for (let failed = 0; server.check && failed < failures;) {
      await delay(everyMs, undefined, { signal: over }).catch(() => {})
      if (over.aborted) return false
      failed = await server.check(AbortSignal.any([over, AbortSignal.timeout(timeoutMs)])).then(
        () => 0,
        () => failed + 1,
      )
    }
    return server.check !== undefined && !over.aborted
  }

  private async restart(ended: string): Promise<S | undefined> {
    const { signal } = this.stopping
    let said = false
    for (;;) {
      try {
        await delay(this.delayMs, undefined, { signal })
        this.delayMs = Math.min(this.delayMs * 2, LAST_DELAY_MS)
        return await this.startAgain(signal)
      } catch (error) {
        if (signal.aborted) return undefined
        const why = error instanceof StartError ? error.message : String(error)
        if (!said) this.output.note(`${this.name} ${ended} and does not come up, tried again and again: ${why}`)
        said = true
      }
    }
  }
}

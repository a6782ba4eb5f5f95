import { setTimeout as delay } from 'node:timers/promises'
import { type Output, seconds } from '../system/output.js'
import { describeExit, type Server } from './servers.js'
import { StartError } from '../system/start-error.js'

const FIRST_DELAY_MS = 200
const LAST_DELAY_MS = 5_000
/** One that has run for so long starts again without delay. */
const HEALTHY_MS = 60_000

/**
 * A server that is started again whenever it dies, after 0.2 s at first, then twice that, up to 5 s. Only its first
 * start may fail; from then on it is tried until `stop`.
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
  ) {
    this.up = Promise.resolve()
    this.kept = this.keep()
  }

  /** Starts it for the first time, and throws what `start` throws. */
  static async start<S extends Server>(
    name: string,
    { start, output, signal }: { start: (signal: AbortSignal) => Promise<S>; output: Output; signal: AbortSignal },
  ): Promise<KeptPart<S>> {
    return new KeptPart(name, await start(signal), start, output)
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
      const exit = await this.server.exited
      if (this.stopping.signal.aborted) return
      const diedAt = Date.now()
      if (diedAt - startedAt > HEALTHY_MS) this.delayMs = FIRST_DELAY_MS
      const restart = this.restart(describeExit(exit))
      this.up = restart
      const again = await restart
      if (!again) return
      this.server = again
      startedAt = Date.now()
      // A stop that came while it was coming up has only seen the one before it.
      if (this.stopping.signal.aborted) await again.stop()
      else
        this.output.note(
          `${this.name} died (${describeExit(exit)}) and is up again after ${seconds(startedAt - diedAt)}.`,
        )
    }
  }

  private async restart(died: string): Promise<S | undefined> {
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
        if (!said) this.output.note(`${this.name} died (${died}) and does not come up, tried again and again: ${why}`)
        said = true
      }
    }
  }
}

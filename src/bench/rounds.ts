import type { ContenderName, Measured, Plan } from './results.js'
import type { BenchServers } from './servers.js'

export type Record = (name: string, who: ContenderName, figures: Measured) => void

/** A part of the bench: starts who takes part, measures in rounds, and stops them. */
export type Part = (servers: BenchServers, plan: Plan, record: Record, options: { withBare: boolean }) => Promise<void>

/** Runs each race so many times; in every second round its runners in reverse, for what is left of one slows the next. */
export async function alternating<Runner>(
  { output, signal }: BenchServers,
  { rounds }: Plan,
  what: string,
  races: Runner[][],
  run: (runner: Runner) => Promise<void>,
): Promise<void> {
  for (let round = 1; round <= rounds; round++) {
    await output.during(`${what}: round ${round} of ${rounds}`, async () => {
      for (const race of races) {
        for (const runner of round % 2 === 1 ? race : race.toReversed()) {
          signal.throwIfAborted()
          await run(runner)
        }
      }
    })
  }
}

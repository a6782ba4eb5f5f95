import { setTimeout as sleep } from 'node:timers/promises'

/** Resolves with what `look` finds as soon as it finds something; throws, naming `what`, where it does not in time. */
export async function until<T>(
  what: string,
  look: () => T | undefined | false | Promise<T | undefined | false>,
  { timeoutMs = 60_000 } = {},
): Promise<T> {
  const deadline = Date.now() + timeoutMs
  for (;;) {
    const found = await look()
    if (found !== undefined && found !== false) return found
    if (Date.now() > deadline) throw new Error(`Waited ${timeoutMs / 1_000} s in vain until ${what}`)
    await sleep(50)
  }
}

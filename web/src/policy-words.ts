import { compensatePolicy, invokePolicy, STEP_TIMEOUT_MS } from '../../src/saga/policy.js'
import type { CallPolicy } from '../../src/saga/types.js'

// How often a call is tried, and for how long, in words: from the engine's own numbers, so that the page can't tell others.

/** Before the try that comes after so many. */
export const delayMs = ({ firstDelayMs, maxDelayMs }: CallPolicy, tries: number): number =>
  Math.min(firstDelayMs * 2 ** (tries - 1), maxDelayMs)

/** Until all tries are used up, if each takes `tryMs`. */
function inVain(policy: CallPolicy, tryMs = 0): string {
  let ms = policy.attempts * tryMs
  for (let tries = 1; tries < policy.attempts; tries++) ms += delayMs(policy, tries)
  return `${Math.ceil(ms / 10_000) * 10} seconds`
}

const NUMBERS = ['no', 'one', 'two', 'three', 'four', 'five', 'six', 'seven', 'eight', 'nine', 'ten']
const inWords = (n: number): string => NUMBERS[n] ?? String(n)

export const upperFirst = (text: string): string => text.charAt(0).toUpperCase() + text.slice(1)

/** A call forward, an undo: how often it is tried; until it is given up. */
export const tries = { invoke: inWords(invokePolicy.attempts), undo: inWords(compensatePolicy.attempts) }
export const givenUpAfter = { hanging: inVain(invokePolicy, STEP_TIMEOUT_MS), undo: inVain(compensatePolicy) }
export const timeoutInSeconds = STEP_TIMEOUT_MS / 1_000

import { AsyncLocalStorage } from 'node:async_hooks'
import type { Logger } from 'pino'
import { toError } from '../errors.js'
import { loggedError } from './logged-error.js'

/** What a participant's own code is run for. */
interface CodeCall {
  participant: string
  sagaId?: string
  isOver: boolean
  /** A promise of the code was rejected, and nobody awaits it. */
  stray?: { error: unknown }
}

const calls = new AsyncLocalStorage<CodeCall>()

/**
 * Runs a participant's own code. Whatever it throws comes out as an error with a text. A promise that it does not await, and
 * that is rejected while it runs, fails it too, where `watchStrayRejections` is told of it.
 */
export async function runCode<T>(about: { participant: string; sagaId?: string }, code: () => Promise<T>): Promise<T> {
  const call: CodeCall = { ...about, isOver: false }
  try {
    const result = await calls.run(call, async () => code())
    if (call.stray) throw call.stray.error
    return result
  } catch (error) {
    throw toError(error)
  } finally {
    call.isOver = true
  }
}

const loggers = new Set<Logger>()

/**
 * From now on a rejected promise that a participant's code does not await is the failure of the call that made it, or, where
 * that has ended, an error in `logger`; it does not end the process. One of the host's own code ends it as without this, unless
 * the host has a listener. Returns what ends the watch.
 */
export function watchStrayRejections(logger: Logger): () => void {
  if (loggers.size === 0) process.on('unhandledRejection', onRejection)
  loggers.add(logger)
  return () => {
    loggers.delete(logger)
    if (loggers.size === 0) process.off('unhandledRejection', onRejection)
  }
}

function onRejection(reason: unknown): void {
  // Node keeps the context in which a promise was made for who is told that it was rejected.
  const call = calls.getStore()
  if (!call) {
    // As Node does where nobody listens.
    if (process.listenerCount('unhandledRejection') === 1) throw reason
    return
  }
  if (!call.isOver) {
    call.stray ??= { error: reason }
    return
  }
  const { participant, sagaId } = call
  for (const logger of loggers) {
    const about = { participant, sagaId, err: loggedError(toError(reason)) }
    logger.error(about, 'A promise that the participant did not await was rejected after its call had ended')
  }
}

import { pino, type Logger } from 'pino'
import type { Config } from './config.js'
import { loggedError } from './saga/node/logged-error.js'

/** Structured logs on standard output, one line an event; one that is about a saga has its `sagaId`. */
export function makeLogger({ logLevel }: Pick<Config, 'logLevel'>): Logger {
  return pino({
    level: logLevel,
    base: null,
    // Temporal's runtime says `error`.
    serializers: { err: (error) => loggedError(error), error: (error) => loggedError(error) },
    timestamp: pino.stdTimeFunctions.isoTime,
  })
}

/** Ends the program with the one sentence that its user needs. */
export function failProgram(error: unknown): never {
  console.error(error instanceof Error ? error.message : String(error))
  process.exit(1)
}

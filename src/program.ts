import { pino, type Logger } from 'pino'
import type { Config } from './config.js'

/** Structured logs on standard output, one line an event. */
export function makeLogger({ logLevel }: Pick<Config, 'logLevel'>): Logger {
  return pino({
    level: logLevel,
    base: null,
    // What PostgreSQL says of an error's details holds the values of the row.
    redact: ['err.detail', 'err.where', 'err.internalQuery'],
    timestamp: pino.stdTimeFunctions.isoTime,
  })
}

/** Ends the program with the one sentence that its user needs. */
export function failProgram(error: unknown): never {
  console.error(error instanceof Error ? error.message : String(error))
  process.exit(1)
}

import { types } from 'node:util'
import { textOf } from '../errors.js'
import { refusedStatement } from './db.js'
import { redacted } from './secrets.js'

/** An error as the process log shows it. */
export interface LoggedError {
  /** A failure's type (`Rejected`), or the error's name. */
  type: string
  message: string
  code?: string | number
  /** Where it was thrown, without the message once more. */
  stack?: string
  cause?: LoggedError
}

/**
 * What the process log may say of an error: where it comes from and what it says, without `secrets`. Of what else hangs on
 * it nothing: PostgreSQL's `detail` has the values of a row, a failure its payloads, a request its headers. What is no
 * error is left as it is.
 */
export function loggedError(error: unknown, secrets: string[] = []): unknown {
  return types.isNativeError(error) ? describe(error, secrets) : error
}

function describe(error: Error, secrets: string[]): LoggedError {
  const { type = error.name, code } = error as { type?: unknown; code?: unknown }
  const frames = framesOf(error)
  return {
    type: textOf(type),
    message: redacted(messageOf(error), secrets),
    ...((typeof code === 'string' || typeof code === 'number') && { code }),
    ...(frames.length > 0 && { stack: frames.join('\n') }),
    ...(types.isNativeError(error.cause) && { cause: describe(error.cause, secrets) }),
  }
}

/** What makes the stack of an error may read its name and message, and break on those that are no texts. */
function framesOf(error: Error): string[] {
  try {
    return error.stack?.split('\n').filter((line) => /^\s+at /.test(line)) ?? []
  } catch {
    return []
  }
}

/** Without what PostgreSQL and JSON.parse quote of the values that they were given. */
function messageOf(error: Error): string {
  const refused = refusedStatement(error)
  if (refused) return refused
  const message = textOf(error)
  return error.name === 'SyntaxError' ? message.replace(/"[^]*"/, '"…"') : message
}

import { Type, type Static } from 'typebox'
import { completeFailures, failuresSchema, type Failures } from '../saga/failure.js'
import type { InputProblem } from '../saga/errors.js'
import { makeCheck } from '../validation.js'
import { createUserSaga } from './create-user.js'

const text = (maxLength: number, description: string) =>
  Type.String({
    minLength: 1,
    maxLength,
    format: 'visible-text',
    description: `${description} 1–${maxLength} characters after trimming.`,
  })

const fields = {
  username: text(100, 'The user’s name.'),
  address: text(500, 'Their postal address.'),
  payment: text(100, 'Their payment method. Masked wherever it is shown.'),
}

/** What the saga's code works with. */
export type CreateUser = Static<Type.TObject<typeof fields>>

/** What starts a createUserSaga, by any door: POST /saga, the temporal CLI, an SDK. Unknown fields are refused. */
export const CreateUserRequest = Type.Object(
  {
    ...fields,
    failures: Type.Optional(failuresSchema(Object.keys(createUserSaga.steps))),
  },
  { additionalProperties: false },
)
export type CreateUserRequest = Static<typeof CreateUserRequest>

const check = makeCheck(CreateUserRequest)

/** Trims the texts of a request, but for one field; whatever else it is stays as it is, for the check to name. */
export function trimmed<T>(request: T, { but }: { but?: string } = {}): T {
  if (typeof request !== 'object' || request === null || Array.isArray(request)) return request
  const trim = (key: string, value: unknown) => (typeof value === 'string' && key !== but ? value.trim() : value)
  return Object.fromEntries(Object.entries(request).map(([key, value]) => [key, trim(key, value)])) as T
}

/** The Node half of createUserSaga: reads its input, and says what of it people may see. */
export const createUser = {
  type: 'createUserSaga',

  /** Reads a request of unknown shape: the input with its texts trimmed, or every problem it has. */
  parse(request: unknown): { input: CreateUser; failures?: Failures } | { problems: InputProblem[] } {
    const candidate = trimmed(request)
    const problems = check(candidate)
    if (problems.length > 0) return { problems }
    const { failures, ...input } = candidate as CreateUserRequest
    return failures ? { input, failures: completeFailures(failures) } : { input }
  },

  /** The input as every answer, log row and page shows it. */
  view: ({ username, address, payment }: CreateUser) => ({ username, address, payment: mask(payment) }),

  /** What a search by name finds. */
  label: ({ username }: CreateUser) => username,

  /** What must not stand in any message. */
  secrets: ({ payment }: CreateUser) => [payment],
}

/** At most the last four characters, and never more than a quarter of them. */
export function mask(secret: string): string {
  const characters = Array.from(secret)
  const shown = Math.min(4, Math.floor(characters.length / 4))
  return '****' + characters.slice(characters.length - shown).join('')
}

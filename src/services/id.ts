import { Type } from 'typebox'

/**
 * The id of another service's row, as a string: PostgreSQL's bigint has more digits than a JavaScript number holds. Sagas
 * that began before ids were strings may bring a number.
 */
export const id = Type.Unsafe<string>({
  anyOf: [
    { type: 'string', pattern: '^[1-9][0-9]{0,18}$' },
    { type: 'integer', minimum: 1, maximum: Number.MAX_SAFE_INTEGER },
  ],
})

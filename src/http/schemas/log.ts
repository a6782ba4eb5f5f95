import { Type, type Static } from 'typebox'
import { dateTime, ref } from './common.js'

export const LogRow = Type.Object(
  {
    // JavaScript holds integers beyond 2^53 as a bigint alone.
    id: Type.Unsafe<bigint>({
      type: 'integer',
      format: 'int64',
      description: 'Rises with time within a saga. May exceed 2^53: read it with a parser that keeps every digit.',
    }),
    sagaId: Type.String(),
    service: Type.String({ description: 'SAGA, ROLLBACK, a step, or COMPENSATE_ and a step.' }),
    status: Type.String(),
    message: Type.String(),
    attempt: Type.Union([Type.Integer(), Type.Null()], { description: 'Null where the row is not an attempt.' }),
    createdAt: dateTime,
  },
  { $id: 'LogRow', description: 'One row of the saga log.' },
)
export type LogRow = Static<typeof LogRow>

const word = Type.String({ minLength: 1, maxLength: 255, format: 'unbroken-text' })

export const LogsQuery = Type.Object(
  {
    saga: Type.Optional(word),
    service: Type.Optional(word),
    status: Type.Optional(word),
    limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 500, default: 50 })),
    before: Type.Optional(Type.String({ pattern: '^0*[1-9]\\d{0,18}$', description: 'Only rows with a smaller id.' })),
  },
  { additionalProperties: false },
)

export const Logs = Type.Object({ logs: Type.Array(ref(LogRow)) })
export type Logs = Static<typeof Logs>

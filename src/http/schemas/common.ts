import { Type, type Static, type TObject } from 'typebox'

/** A reference to one of the schemas that the document names. */
export function ref<S extends TObject>(schema: S, more: { description?: string; headers?: object } = {}) {
  return Type.Unsafe<Static<S>>({ $ref: `${(schema as { $id?: string }).$id}#`, ...more })
}

/** RFC 9457. `errors` names what is wrong with an input, by JSON pointer. */
export const Problem = Type.Object(
  {
    type: Type.String(),
    title: Type.String(),
    status: Type.Integer(),
    detail: Type.String({ description: 'What happened, and what to do.' }),
    errors: Type.Optional(
      Type.Array(
        Type.Object({
          path: Type.String({ description: 'A JSON pointer.' }),
          message: Type.String(),
          line: Type.Optional(
            Type.Integer({ description: 'Of NDJSON: the line, from 1; the path is that within it.' }),
          ),
        }),
      ),
    ),
    matching: Type.Optional(
      Type.Integer({ description: 'How many sagas it would be, where another number was expected.' }),
    ),
  },
  { $id: 'Problem', description: 'What went wrong (RFC 9457).' },
)
export type Problem = Static<typeof Problem>

/** A moment, as ISO 8601 in UTC. */
export const dateTime = Type.String({ format: 'date-time' })

export const SagaParams = Type.Object({
  id: Type.String({ minLength: 1, maxLength: 255, format: 'unbroken-text' }),
})

export const EventHeaders = Type.Object({
  'last-event-id': Type.Optional(
    Type.String({ description: 'The id of the last log row seen: it goes on behind it.' }),
  ),
})

import { Type, type Static } from 'typebox'
import { ref } from './common.js'
import { Saga, SagaStatus } from './saga.js'

/** How many statuses there are to ask for. */
export const STATUSES = SagaStatus.enum.length

export const SagasQuery = Type.Object(
  {
    status: Type.Optional(
      Type.Array(SagaStatus, { maxItems: STATUSES, description: 'Any of these; commas between them will do as well.' }),
    ),
    step: Type.Optional(
      Type.String({
        minLength: 1,
        maxLength: 255,
        format: 'unbroken-text',
        description: 'The step that failed for good, or that waits for a person, or whose compensation does.',
      }),
    ),
    q: Type.Optional(
      Type.String({
        minLength: 1,
        maxLength: 255,
        format: 'unbroken-text',
        description: 'What the saga id or, in upper or lower case, the username begins with.',
      }),
    ),
    bulk: Type.Optional(Type.String({ format: 'uuid', description: 'The bulk that they are of.' })),
    limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 500, default: 50 })),
    cursor: Type.Optional(
      Type.String({
        minLength: 1,
        maxLength: 4_096,
        description: 'The nextCursor of the page before, which was asked for with the same status, step, q and bulk.',
      }),
    ),
  },
  { additionalProperties: false },
)
export type SagasQuery = Static<typeof SagasQuery>

export const Sagas = Type.Object({
  sagas: Type.Array(ref(Saga)),
  nextCursor: Type.Union([Type.String(), Type.Null()], { description: 'Where the list goes on; null at its end.' }),
})
export type Sagas = Static<typeof Sagas>

export const Stuck = Type.Object(
  {
    stuck: Type.Array(
      Type.Object({
        step: Type.String(),
        errorType: Type.Optional(Type.String({ description: '`error.type`; left out where none is known.' })),
        sagas: Type.Integer({ description: 'What `POST /saga/decisions` with this step and error would match now.' }),
      }),
    ),
  },
  { description: 'What waits for a person, most first. A saga that is stuck on two steps is counted with both.' },
)
export type Stuck = Static<typeof Stuck>

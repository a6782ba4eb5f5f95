import { Type, type Static } from 'typebox'
import { dateTime, SagaParams } from './common.js'

const text = (maxLength: number, description: string) =>
  Type.String({ minLength: 1, maxLength, format: 'visible-text', description })

const Filter = Type.Object(
  {
    step: text(255, 'The step that is stuck, or whose compensation is.'),
    errorType: Type.Optional(text(255, 'Only where that is its `error.type`.')),
  },
  { additionalProperties: false },
)

/** `retry` as it is: a corrected input is a word on one saga. */
const action = Type.Enum(['retry', 'resolve', 'skip'])
const perSecond = Type.Integer({ minimum: 1, maximum: 100, default: 10, description: 'Decisions a second at most.' })
const stopAfterFailures = Type.Integer({
  minimum: 1,
  maximum: 1_000,
  default: 10,
  description: 'It stops once it has failed for so many sagas.',
})

/** One decision for all sagas that need attention on a step. */
export const DecisionsRequest = Type.Object(
  {
    filter: Filter,
    action,
    reason: text(500, 'Stands in the log of each saga.'),
    actor: text(100, 'Who decides.'),
    perSecond: Type.Optional(perSecond),
    stopAfterFailures: Type.Optional(stopAfterFailures),
    expected: Type.Optional(
      Type.Integer({
        minimum: 0,
        description: 'How many sagas it is to match. If it would match another number, nothing is written (409).',
      }),
    ),
  },
  { additionalProperties: false },
)
export type DecisionsRequest = Static<typeof DecisionsRequest>

export const DecisionsParams = SagaParams

const decisionsId = Type.String()
const matching = Type.Integer({
  description: 'Sagas that waited on the step when the call was made: those, and no others.',
})
const links = Type.Object({ self: Type.String(), temporal: Type.String() })

export const DecisionsAccepted = Type.Object(
  { decisionsId, matching, links },
  { description: 'Accepted: it is written down with the sagas that it matches, and will be carried out.' },
)
export type DecisionsAccepted = Static<typeof DecisionsAccepted>

export const DecisionsProgress = Type.Object(
  {
    decisionsId,
    status: Type.Enum(['running', 'done', 'stopped'], { description: '`stopped`: some sagas were not tried.' }),
    stoppedBecause: Type.Optional(Type.String()),
    filter: Type.Object({ step: Type.String(), errorType: Type.Optional(Type.String()) }),
    action,
    reason: Type.String(),
    actor: Type.String(),
    perSecond,
    stopAfterFailures,
    matching,
    decided: Type.Integer(),
    failed: Type.Integer(),
    failures: Type.Array(
      Type.Object({
        sagaId: Type.String(),
        step: Type.String(),
        message: Type.String({ description: 'Why it could not be decided.' }),
      }),
      { description: 'Every one, in the order in which they were tried.' },
    ),
    startedAt: dateTime,
    endedAt: Type.Optional(dateTime),
    links,
  },
  { description: 'How far the call has come.' },
)
export type DecisionsProgress = Static<typeof DecisionsProgress>

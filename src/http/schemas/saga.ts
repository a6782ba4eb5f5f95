import { Type, type Static } from 'typebox'
import { dateTime } from './common.js'
import { STATUSES } from '../../saga/types.js'
import { CreateUserRequest } from '../../workflows/create-user-input.js'

export { CreateUserRequest }

const literals = <T extends string>(...values: T[]) => Type.Enum(values)

export const SagaStatus = literals(...STATUSES)
export type SagaStatus = Static<typeof SagaStatus>

const SagaError = Type.Object({ type: Type.String(), message: Type.String() })

export const SagaLinks = Type.Object({
  self: Type.String(),
  logs: Type.String(),
  events: Type.String(),
  temporal: Type.String(),
  cancel: Type.Optional(
    Type.String({
      description: 'Of the whole saga, if a cancel would stop it now. One that was asked to cancel has none.',
    }),
  ),
})

/** One declared step. `unknown`: whether it took effect is not known. */
export const SagaStep = Type.Object({
  step: Type.String(),
  service: Type.String(),
  /** Of a step that is a saga: its id. */
  sagaId: Type.Optional(Type.String()),
  status: literals('pending', 'running', 'succeeded', 'failed', 'stuck'),
  outcome: Type.Optional(literals('applied', 'rejected', 'unknown')),
  attempts: Type.Integer(),
  startedAt: Type.Optional(dateTime),
  endedAt: Type.Optional(dateTime),
  error: Type.Optional(SagaError),
})
export type SagaStep = Static<typeof SagaStep>

export const SagaCompensation = Type.Object({
  step: Type.String(),
  status: literals('pending', 'running', 'done', 'empty', 'stuck', 'resolved', 'skipped'),
  attempts: Type.Integer(),
  error: Type.Optional(SagaError),
  /** Who decided last, and why. */
  actor: Type.Optional(Type.String()),
  reason: Type.Optional(Type.String()),
})
export type SagaCompensation = Static<typeof SagaCompensation>

export const Saga = Type.Object(
  {
    sagaId: Type.String(),
    status: SagaStatus,
    /** The saga that it is a step of: it completes, or is undone, with that one. */
    parent: Type.Optional(Type.Object({ sagaId: Type.String(), step: Type.String() })),
    /** Empty where a saga was started elsewhere with input that is not right. */
    input: Type.Partial(Type.Object({ username: Type.String(), address: Type.String(), payment: Type.String() })),
    userId: Type.Optional(Type.String({ description: 'The id of the row in table_a.' })),
    failedStep: Type.Optional(Type.String()),
    error: Type.Optional(SagaError),
    startedAt: dateTime,
    endedAt: Type.Optional(dateTime),
    /** The bulk that it is of. */
    bulkId: Type.Optional(Type.String()),
    steps: Type.Array(SagaStep),
    compensations: Type.Array(SagaCompensation),
    links: SagaLinks,
  },
  { $id: 'Saga', description: 'The whole saga; what is secret in its input is masked.' },
)
export type Saga = Static<typeof Saga>

/** The answer to a start that did not wait for the outcome, or did not get it in time. */
export const SagaAccepted = Type.Object(
  { sagaId: Type.String(), status: SagaStatus, links: SagaLinks },
  { $id: 'SagaAccepted', description: 'Accepted: it is written down, and will run. The links lead on.' },
)
export type SagaAccepted = Static<typeof SagaAccepted>

export const StartQuery = Type.Object(
  {
    wait: Type.Optional(Type.Integer({ minimum: 0, maximum: 60, description: 'Seconds to wait for the outcome.' })),
    until: Type.Optional(
      Type.Enum(['ended', 'decided'], { description: 'decided: its fate is known, though its undo may go on.' }),
    ),
  },
  { additionalProperties: false },
)

export const StartHeaders = Type.Object({
  'idempotency-key': Type.Optional(
    Type.String({
      pattern: '^[\\x21-\\x7e]{1,128}$',
      description: 'The same key with the same body gives the same saga, whenever it comes.',
    }),
  ),
  prefer: Type.Optional(Type.String({ description: '`wait=SECONDS` (RFC 7240), as the query `wait`; at most 60.' })),
})

const actor = Type.String({ minLength: 1, maxLength: 100, format: 'visible-text' })

export const CancelRequest = Type.Object(
  {
    reason: Type.String({ minLength: 1, maxLength: 500, format: 'visible-text' }),
    actor: Type.Optional(actor),
  },
  { additionalProperties: false },
)

/** A person's word on what is stuck. */
export const DecisionRequest = Type.Object(
  {
    step: Type.String({ minLength: 1, maxLength: 255, format: 'visible-text' }),
    action: literals('retry', 'resolve', 'skip'),
    reason: Type.String({ minLength: 1, maxLength: 500, format: 'visible-text' }),
    actor,
    input: Type.Optional(Type.Unknown({ description: 'With retry: in the place of what the step was given.' })),
  },
  {
    additionalProperties: false,
    if: { properties: { action: { const: 'retry' } }, required: ['action'] },
    else: { properties: { input: false } },
  },
)

export const SagaPlan = Type.Object(
  {
    steps: Type.Array(
      Type.Object({
        step: Type.String(),
        service: Type.String(),
        action: Type.Literal('compensate'),
        input: Type.Unknown({
          description: 'What the step was given, secrets masked; null until its first attempt has ended.',
        }),
      }),
    ),
  },
  { $id: 'SagaPlan', description: 'What a rollback would do now, in the order in which it would.' },
)
export type SagaPlan = Static<typeof SagaPlan>

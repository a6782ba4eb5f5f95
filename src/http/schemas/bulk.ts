import { Type, type Static } from 'typebox'
import { dateTime } from './common.js'
import { CancelRequest, CreateUserRequest, StartHeaders } from './saga.js'

/** Sagas, or lines that should be some, of a call. */
export const MOST_SAGAS = 10_000

/** Bytes of its body. */
export const BULK_BYTES = 32 * 2 ** 20

/** Bad lines that are told. */
export const MOST_REJECTIONS = 100

/** The body as JSON; as NDJSON it is the sagas alone, one a line. */
export const BulkRequest = Type.Object(
  { sagas: Type.Array(CreateUserRequest, { minItems: 1, maxItems: MOST_SAGAS }) },
  { additionalProperties: false },
)

/** The same, but that the sagas are looked at one by one. */
export const BulkEnvelope = Type.Object(
  { sagas: Type.Array(Type.Unknown(), { minItems: 1, maxItems: MOST_SAGAS }) },
  { additionalProperties: false },
)

export const bulkBody = {
  content: {
    'application/json': { schema: BulkRequest },
    'application/x-ndjson': {
      schema: Type.String({ description: 'One saga a line, as POST /saga takes it; blank lines do not count.' }),
    },
  },
}

export const BulkQuery = Type.Object(
  {
    onInvalid: Type.Optional(
      Type.Enum(['refuse', 'skip'], {
        default: 'refuse',
        description: '`skip`: sagas that are not right are left out, and told; else one of them refuses the call.',
      }),
    ),
  },
  { additionalProperties: false },
)

export const BulkHeaders = Type.Pick(StartHeaders, ['idempotency-key'])

export const BulksQuery = Type.Object(
  { limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 100, default: 20 })) },
  { additionalProperties: false },
)

/** Ends what its sagas have begun: those that go on, or those that have completed. */
export const BulkEndRequest = Type.Object(
  {
    ...CancelRequest.properties,
    expected: Type.Integer({
      minimum: 0,
      description: 'How many sagas it is to be; where it would be others nothing is done.',
    }),
  },
  { additionalProperties: false },
)

const Rejections = Type.Array(
  Type.Object({
    line: Type.Integer({ description: 'From 1; in JSON the place in the list.' }),
    errors: Type.Array(
      Type.Object({ path: Type.String({ description: 'A JSON pointer within it.' }), message: Type.String() }),
    ),
  }),
  { description: `The first ${MOST_REJECTIONS} that were not right.` },
)

const links = { self: Type.String(), events: Type.String(), sagas: Type.String() }

export const BulkAccepted = Type.Object(
  {
    bulkId: Type.String(),
    accepted: Type.Integer({ description: 'Sagas that it starts.' }),
    rejected: Type.Integer({ description: 'Sagas that were not right, and left out.' }),
    rejections: Type.Optional(Rejections),
    links: Type.Object(links),
  },
  { $id: 'BulkAccepted', description: 'Accepted: it is written down with each of its sagas, and they will run.' },
)
export type BulkAccepted = Static<typeof BulkAccepted>

const count = (description: string) => Type.Integer({ minimum: 0, description })

const summary = {
  bulkId: Type.String(),
  type: Type.String(),
  status: Type.Enum(['RUNNING', 'PAUSED', 'ENDED'], {
    description: 'ENDED: none of its sagas goes on, though some may wait for people.',
  }),
  pausedBecause: Type.Optional(Type.String({ description: 'What happened, and what to do.' })),
  total: count('Sagas that it has started.'),
  completed: count('Sagas that are COMPLETED.'),
  compensated: count('Sagas that are COMPENSATED.'),
  partiallyCompensated: count('Sagas that are PARTIALLY_COMPENSATED.'),
  needsAttention: count('Sagas that wait for people.'),
  running: count('Sagas that go on, or wait for their turn.'),
  compensating: count('Those of them that roll back.'),
  rejected: count('Sagas that were not right, and left out.'),
  startedAt: dateTime,
  endedAt: Type.Optional(dateTime),
  links: Type.Object({ ...links, stuck: Type.Optional(Type.String()) }),
}

export const Bulk = Type.Object(
  {
    ...summary,
    cancellable: count('Sagas that a cancel of the bulk would stop now.'),
    rejections: Rejections,
    failures: Type.Array(
      Type.Object({
        step: Type.Optional(Type.String()),
        type: Type.String(),
        message: Type.String(),
        count: Type.Integer(),
      }),
      { description: 'What its sagas have failed with, most first; 20 at most.' },
    ),
  },
  { $id: 'Bulk', description: 'A call that has started many sagas, and how far they have come.' },
)
export type Bulk = Static<typeof Bulk>

export const Bulks = Type.Object(
  { bulks: Type.Array(Type.Object(summary)) },
  { description: 'Newest first, without what has failed.' },
)
export type BulkSummary = Static<typeof Bulks>['bulks'][number]

import { Type, type Static } from 'typebox'
import { dateTime } from './common.js'

export const OverviewQuery = Type.Object(
  {
    minutes: Type.Optional(
      Type.Integer({ minimum: 5, maximum: 1_440, default: 60, description: 'How far back it goes.' }),
    ),
  },
  { additionalProperties: false },
)

const count = Type.Integer({ minimum: 0 })
const ms = Type.Union([Type.Integer({ minimum: 0 }), Type.Null()])

const OverviewPoint = Type.Object({
  at: Type.String({ format: 'date-time', description: 'Where it begins.' }),
  started: count,
  completed: count,
  rolledBack: Type.Integer({ minimum: 0, description: 'COMPENSATED and PARTIALLY_COMPENSATED.' }),
  p50Ms: Type.Unsafe<Static<typeof ms>>({
    ...ms,
    description: 'From start to end, of half of those that ended in it at most; null where none did.',
  }),
  p95Ms: Type.Unsafe<Static<typeof ms>>({ ...ms, description: 'The same of 95 %.' }),
  waiting: Type.Integer({
    minimum: 0,
    description: 'Undo debt: how many sagas waited for a person at its end (of the last point: now).',
  }),
})

export const Overview = Type.Object({
  at: dateTime,
  minutes: Type.Integer(),
  widthS: Type.Integer({ description: 'How wide each point is, in s.' }),
  unfinished: Type.Object(
    { RUNNING: count, COMPENSATING: count, NEEDS_ATTENTION: count },
    { description: 'Now; sagas nested in others too, for it may be one of them that waits for a person.' },
  ),
  ended: Type.Object(
    { COMPLETED: count, COMPENSATED: count, PARTIALLY_COMPENSATED: count },
    { description: 'Within the points. Sagas nested in others are a part of these, and do not count.' },
  ),
  oldestWaitingS: Type.Number({ minimum: 0, description: 'How long the oldest that waits for a person does.' }),
  withoutProgress: Type.Integer({
    minimum: 0,
    description: 'Sagas that go on without a person and have not moved for 10 minutes.',
  }),
  points: Type.Array(OverviewPoint, {
    description:
      'Oldest first, without gaps. Each begins at a whole multiple of its width, and the last one is under way. What started and ended in it is told without nested sagas, what waited with them.',
  }),
})
export type Overview = Static<typeof Overview>
export type OverviewPoint = Static<typeof OverviewPoint>

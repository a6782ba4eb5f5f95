import { Type, type Static } from 'typebox'

export const SagaTypes = Type.Object(
  {
    types: Type.Array(
      Type.Object({
        type: Type.String(),
        steps: Type.Array(
          Type.Object({
            step: Type.String(),
            kind: Type.Enum(['compensatable', 'pivot', 'retriable']),
            service: Type.String({ description: 'The participant; of a nested saga its type.' }),
          }),
          { description: 'As they are declared.' },
        ),
      }),
    ),
  },
  { description: 'The types of sagas that can be started here.' },
)
export type SagaTypes = Static<typeof SagaTypes>

import { Type, type Static } from 'typebox'

/** A payload as protobuf writes it in JSON: bytes in base64. */
const base64 = Type.String({ contentEncoding: 'base64', pattern: '^[A-Za-z0-9+/_-]*={0,2}$' })

const Payload = Type.Object(
  {
    metadata: Type.Optional(Type.Record(Type.String(), base64)),
    data: Type.Optional(base64),
  },
  { additionalProperties: false },
)

/** What Temporal's Web UI and CLI send to a codec server, and read from it. */
export const Payloads = Type.Object(
  { payloads: Type.Optional(Type.Array(Payload)) },
  { additionalProperties: false, description: 'Payloads of Temporal, their bytes in base64.' },
)
export type Payloads = Static<typeof Payloads>

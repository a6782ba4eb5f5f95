import { Type, type Static } from 'typebox'
import { ROLES } from '../../roles.js'

export const LoginRequest = Type.Object(
  { token: Type.String({ minLength: 1, maxLength: 1_000, description: 'One of API_TOKENS.' }) },
  { additionalProperties: false },
)

export const Login = Type.Object(
  {
    login: Type.Boolean({ description: 'Whether there is a login; without one everybody may do everything.' }),
    name: Type.Optional(Type.String({ description: 'Who is logged in.' })),
    role: Type.Optional(Type.Enum([...ROLES])),
  },
  { description: 'Who is logged in, if anybody.' },
)
export type Login = Static<typeof Login>

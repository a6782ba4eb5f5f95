import { Type } from 'typebox'

export const Live = Type.Object({ status: Type.Literal('ok') })

export const Ready = Type.Object({
  status: Type.Enum(['ok', 'not ready']),
  postgres: Type.Enum(['ok', 'away']),
  temporal: Type.Enum(['ok', 'away']),
  worker: Type.Enum(['ok', 'no pollers seen']),
})

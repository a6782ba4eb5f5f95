import { Type } from 'typebox'
import type { Failure, FailureInput } from '../../saga/failure.js'
import { failuresSchema } from '../../saga/failure.js'

export type { FailureInput }

/** `{"A": Failure or a list of them, "B": …, "C": …}`. */
export const Failures = failuresSchema(['A', 'B', 'C'])
/** Every service by name; more than one failure of a service stands in a list. */
export const FailuresInForce = Type.Unsafe<Record<'A' | 'B' | 'C', Failure | Failure[]>>({
  ...Failures,
  required: ['A', 'B', 'C'],
})
export type Failures = Partial<Record<'A' | 'B' | 'C', FailureInput | FailureInput[]>>

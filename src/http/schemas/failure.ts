import { Type } from 'typebox'
import { failuresSchema, type Failure, type FailureInput, type FailuresInput } from '../../saga/failure.js'
import { createUserSaga } from '../../workflows/create-user.js'

export type { FailureInput }

const steps = Object.keys(createUserSaga.steps)

/** `{"A": Failure or a list of them, "B": …, "C": …}`. */
export const Failures = failuresSchema(steps)
export type Failures = FailuresInput
/** Every step by name; more than one failure of a step stands in a list. */
export const FailuresInForce = Type.Unsafe<Record<string, Failure | Failure[]>>({ ...Failures, required: steps })

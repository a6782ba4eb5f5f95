import type { FailureInput } from '../../saga/failure.js'
import { failuresSchema } from '../../saga/failure.js'

export type { FailureInput }

/** `{"A": Failure or a list of them, "B": …, "C": …}`. */
export const Failures = failuresSchema(['A', 'B', 'C'])
export type Failures = Partial<Record<'A' | 'B' | 'C', FailureInput | FailureInput[]>>

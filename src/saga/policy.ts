import type { CallPolicy } from './types.js'

/** One try of a call, where no setting says otherwise (SAGA_STEP_TIMEOUT_MS). */
export const STEP_TIMEOUT_MS = 5_000

/**
 * How often a call is tried, and how long before the next try; each delay is twice the one before. The workflow code follows
 * it, and the console's build takes its words and its clock from here.
 */
export const invokePolicy: CallPolicy = { attempts: 3, firstDelayMs: 500, maxDelayMs: 1_000 }
export const compensatePolicy: CallPolicy = { attempts: 8, firstDelayMs: 500, maxDelayMs: 10_000 }
/** After the pivot the time is the limit. */
export const retriablePolicy: CallPolicy = { attempts: Infinity, firstDelayMs: 500, maxDelayMs: 30_000 }

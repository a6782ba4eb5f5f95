import { DefaultFailureConverter } from '@temporalio/common'

/** The default converter, but that messages and stack traces become payloads, which are encrypted like any other. */
export const failureConverter = new DefaultFailureConverter({ encodeCommonAttributes: true })

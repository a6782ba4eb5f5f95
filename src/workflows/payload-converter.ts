import { defaultPayloadConverter, type PayloadConverter } from '@temporalio/common'

/**
 * The default converter, but that what can't be decoded becomes a value which no saga's input check accepts: so a start
 * with such input ends as InvalidInput. An error here would fail the workflow task, which Temporal repeats for ever.
 */
export const payloadConverter: PayloadConverter = {
  toPayload: (value) => defaultPayloadConverter.toPayload(value),
  fromPayload: (payload) => {
    try {
      return defaultPayloadConverter.fromPayload(payload)
    } catch (error) {
      return `input that cannot be decoded: ${(error as Error).message}` as never
    }
  },
}

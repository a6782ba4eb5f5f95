import { defaultPayloadConverter, type Payload, type PayloadConverter } from '@temporalio/common'

/**
 * The default converter, but that what can't be decoded becomes a value which no saga's input check accepts: so a start
 * with such input ends as InvalidInput. An error here would fail the workflow task, which Temporal repeats for ever.
 */
class LenientPayloadConverter implements PayloadConverter {
  toPayload<T>(value: T): Payload {
    return defaultPayloadConverter.toPayload(value)
  }

  fromPayload<T>(payload: Payload): T {
    try {
      return defaultPayloadConverter.fromPayload<T>(payload)
    } catch (error) {
      return `${UNDECODABLE}: ${(error as Error).message}` as T
    }
  }
}

const UNDECODABLE = 'input that cannot be decoded'

export const payloadConverter = new LenientPayloadConverter()

/** What both ends of docs/participant-protocol.md hold to: participant-server.ts answers, remote.ts asks. */

/** Types of the problems (RFC 9457) that a participant answers with. */
export const ProblemType = {
  /** 422: the service says no, and keeps to it. */
  Rejected: 'urn:saga-participant:rejected',
  /** 422: the work was rolled back, for its result can't be told. */
  InvalidResult: 'urn:saga-participant:invalid-result',
  /** 409: the step has been compensated before; nothing was done. */
  LateInvoke: 'urn:saga-participant:late-invoke',
  /** 4xx: the call itself is not right; nothing was done. */
  InvalidCall: 'urn:saga-participant:invalid-call',
  /** 403: the call brings failures to inject, and this participant injects none; nothing was done. */
  InjectionRefused: 'urn:saga-participant:injection-refused',
  /** 501: this participant has no such operation. */
  NotOffered: 'urn:saga-participant:not-offered',
  /** 503: its database is away. */
  Unavailable: 'urn:saga-participant:unavailable',
  /** 500: something broke; whether there is an effect is not known. */
  OutcomeUnknown: 'urn:saga-participant:outcome-unknown',
} as const
export type ProblemType = (typeof ProblemType)[keyof typeof ProblemType]

/** Bytes of a call, and of an answer, at most: what Temporal takes as one payload. */
export const MAX_BODY_BYTES = 2 * 1024 * 1024

/** Characters of a saga's id and of a step's name, at most. */
const MAX_NAME = 255

/** As a header carries it: percent-encoded, for a workflow id may be any text. */
export const toHeader = encodeURIComponent

/** What a header carries; undefined where it is none of ours. */
export function fromHeader(value: string | string[] | undefined): string | undefined {
  if (typeof value !== 'string' || !/^[\w\-.~!*'()%]+$/.test(value)) return undefined
  try {
    const name = decodeURIComponent(value)
    return Array.from(name).length <= MAX_NAME && !/\p{Cc}|\p{Cs}/u.test(name) ? name : undefined
  } catch {
    return undefined
  }
}

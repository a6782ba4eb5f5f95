/** Formats of strings, by the name that a schema gives them: JSON Schema's own patterns know, in most languages, no \p{…}. */
export const textFormats = {
  uuid: /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i,
  /** No control characters, well-formed Unicode. */
  'unbroken-text': /^[^\p{Cc}\p{Cs}]*$/u,
  /** The same, and something to be seen: text as people write it. */
  'visible-text': /^(?=[^]*[^\p{Z}\p{Cf}])[^\p{Cc}\p{Cs}]*$/u,
}

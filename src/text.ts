/** Text as people write it, for a schema's `pattern`: something visible, no control characters, well-formed Unicode. */
export const VISIBLE_TEXT = '^(?=[^]*[^\\p{Z}\\p{Cf}])[^\\p{Cc}\\p{Cs}]*$'

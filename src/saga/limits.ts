/**
 * An input or a result in JSON, in bytes at most. Temporal takes 2 MiB a payload (`limit.blobSize.error`), and the answer of
 * an attempt holds an input and a result.
 */
export const MAX_JSON_BYTES = 1_000_000

/** What is wrong with the size of a value, in words for people; undefined if it fits, and for what has no JSON. */
export function sizeProblem(value: unknown): string | undefined {
  const text = JSON.stringify(value) as string | undefined
  // No character of UTF-16 takes more than three bytes.
  if (text === undefined || text.length * 3 <= MAX_JSON_BYTES) return undefined
  const bytes = new TextEncoder().encode(text).length
  if (bytes <= MAX_JSON_BYTES) return undefined
  return `has ${bytes} bytes of JSON, and ${MAX_JSON_BYTES} is the limit. Keep large data in a table, and hand its id over`
}

import type { Json } from '../types.js'

/** Takes secrets out of a text. Those of three characters and less are no secret, and stand in half the words there are. */
export function redacted(text: string, secrets: string[]): string {
  return secrets
    .filter((secret) => secret.length > 3)
    .toSorted((a, b) => b.length - a.length) // the longest first: one may stand in another
    .reduce((rest, secret) => rest.replaceAll(secret, '****'), text)
}

/** The same with the secrets taken out of every text in it, keys too; one that is a secret as a whole is taken out however short. */
export function masked(value: Json, secrets: string[]): Json {
  if (typeof value === 'string') {
    return secrets.includes(value) ? '****' : redacted(value, secrets)
  }
  if (Array.isArray(value)) return value.map((one) => masked(one, secrets))
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(Object.entries(value).map(([key, one]) => [redacted(key, secrets), masked(one, secrets)]))
}

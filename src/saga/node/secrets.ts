import type { Json } from '../types.js'

const MASK = '****'

/** Shorter texts are no secret: they stand in half the words there are. A value that is one as a whole is masked all the same. */
const SHORTEST = 4

/** So many digits of a secret in a row are masked wherever they stand. */
const DIGITS = 8

/** A part of a text, as slice takes it. */
type Span = [start: number, end: number]

/** A text as it is searched: in lower case, each of its units with its place in the text that was given. */
interface Reading {
  text: string
  start: (i: number) => number
  end: (i: number) => number
  /** A secret as it would stand in this reading. */
  needle: (secret: string) => string
}

/**
 * Takes secrets out of a text: as they are, in another letter case, escaped for JSON or a URL, and of the digits in them
 * every 8 or more in a row, with up to ten signs that are no letters between two of them. Under that is a net, for what nobody has named: card numbers (13 to 19
 * digits that pass Luhn) and IBANs. `ids` stay as they are. The time it takes grows with the text as with the secrets.
 */
export function redacted(text: string, secrets: readonly string[], ids: readonly string[] = []): string {
  const named = secrets.filter((secret) => secret.length >= SHORTEST)
  const hasDigits = /\d/.test(text)
  // Most texts are the engine's own words, and shorter than most secrets.
  if (!hasDigits && named.every((secret) => secret.length > text.length)) return text
  const readings = /[\\%+]/.test(text) ? [asItIs(text), unescaped(text)] : [asItIs(text)]
  const found = readings.flatMap((reading) => {
    const spans = [
      ...named.flatMap((secret) => occurrences(reading.text, reading.needle(secret))),
      ...(hasDigits ? [...digitsOf(named, reading.text), ...cardNumbers(reading.text), ...ibans(reading.text)] : []),
    ]
    return spans.map(([start, end]): Span => [reading.start(start), reading.end(end - 1)])
  })
  return found.length === 0 ? text : without(text, found, ids)
}

/** The same with the secrets taken out of every text and number in it, keys too; one that is a secret as a whole is taken out however short. */
export function masked(value: Json, secrets: readonly string[]): Json {
  if (typeof value === 'string') return secrets.includes(value) ? MASK : redacted(value, secrets)
  if (typeof value === 'number') return redacted(String(value), secrets) === String(value) ? value : MASK
  if (Array.isArray(value)) return value.map((one) => masked(one, secrets))
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(Object.entries(value).map(([key, one]) => [redacted(key, secrets), masked(one, secrets)]))
}

/** Every text in a value, and every number long enough to be one. */
export function textsOf(value: unknown): string[] {
  const texts: string[] = []
  // No recursion: what was refused may be nested too deeply for one.
  const left = [value]
  while (left.length > 0) {
    const one = left.pop()
    if (typeof one === 'string') texts.push(one)
    else if (typeof one === 'number' && String(one).length >= DIGITS) texts.push(String(one))
    else if (typeof one === 'object' && one !== null)
      for (const inner of Object.values(one).toReversed()) left.push(inner)
  }
  return texts
}

/**
 * A text about something that was refused, and of which nobody knows what is secret: without any of its texts, but for words
 * that are too short to be told from those about it.
 */
export function withoutValues(text: string, refused: unknown): string {
  return redacted(
    text,
    textsOf(refused).filter(({ length }) => length >= DIGITS),
  )
}

/**
 * What of a person's input is secret: the texts that stand where `known`, what the step was given before, has a mask or
 * nothing at all. Where that is not known, all of them.
 */
export function secretsIn(input: Json, known: Json | undefined): string[] {
  if (isObject(input) && isObject(known)) {
    return Object.entries(input).flatMap(([key, one]) =>
      secretsIn(one, Object.hasOwn(known, key) ? known[key] : undefined),
    )
  }
  return known === undefined || hasMask(known) ? textsOf(input) : []
}

function hasMask(value: Json): boolean {
  return textsOf(value).some((text) => text.includes(MASK))
}

function isObject(value: Json | undefined): value is { [key: string]: Json } {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** In lower case, unit for unit. */
function folded(text: string): string {
  const lower = text.toLowerCase()
  // İ becomes two.
  return lower.length === text.length ? lower : text.replaceAll('İ', 'i').toLowerCase()
}

function asItIs(text: string): Reading {
  return { text: folded(text), start: (i) => i, end: (i) => i + 1, needle: folded }
}

/** Without the escapes of JSON (in JSON, too), URLs and forms. */
function unescaped(text: string): Reading {
  const starts: number[] = []
  const ends: number[] = []
  let read = ''
  for (let i = 0; i < text.length;) {
    const [units, length] = unescapedAt(text, i)
    for (let unit = 0; unit < units.length; unit += 1) {
      starts.push(i)
      ends.push(i + length)
    }
    read += units
    i += length
  }
  return {
    text: folded(read),
    start: (i) => starts[i] ?? text.length,
    end: (i) => ends[i] ?? text.length,
    needle: (secret) => folded(secret.replace(/[\n\t\r]/g, ' ').replace(/[\\+]/g, withoutEscape)),
  }
}

const withoutEscape = (sign: string) => (sign === '+' ? ' ' : '')

/** What stands at that place, and how long it is there. */
function unescapedAt(text: string, i: number): [units: string, length: number] {
  const sign = text.charAt(i)
  if (sign === '+') return [' ', 1]
  if (sign === '\\') {
    const next = text.charAt(i + 1)
    // Line ends and tabs, as JSON writes them.
    if (next === 'n' || next === 't' || next === 'r') return [' ', 2]
    const hex = next.toLowerCase() === 'u' ? text.slice(i + 2, i + 6) : ''
    return /^[\da-f]{4}$/i.test(hex) ? [String.fromCharCode(Number.parseInt(hex, 16)), 6] : ['', 1]
  }
  if (sign !== '%') return [sign, 1]
  const bytes: number[] = []
  for (let byte = byteAt(text, i); byte !== undefined; byte = byteAt(text, i + 3 * bytes.length)) {
    bytes.push(byte)
    if (bytes.length === lengthOfUtf8(bytes[0] ?? 0)) break
  }
  return bytes.length === 0 ? [sign, 1] : [Buffer.from(bytes).toString(), 3 * bytes.length]
}

/** Of a character, by its first byte. */
const lengthOfUtf8 = (first: number) => (first < 0xc0 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4)

function byteAt(text: string, i: number): number | undefined {
  const escape = text.slice(i, i + 3)
  return /^%[\da-f]{2}$/i.test(escape) ? Number.parseInt(escape.slice(1), 16) : undefined
}

function occurrences(text: string, needle: string): Span[] {
  const found: Span[] = []
  if (needle.length < SHORTEST) return found
  for (let at = text.indexOf(needle); at >= 0; at = text.indexOf(needle, at + needle.length)) {
    found.push([at, at + needle.length])
  }
  return found
}

/** Digits that nothing but a few signs separate, and where each stands. */
interface Run {
  digits: string
  at: number[]
}

function* runsOf(text: string): Generator<Run> {
  let run: Run = { digits: '', at: [] }
  // Between two digits of a run are neither letters nor more than ten signs.
  for (const { 0: digits, index } of text.matchAll(/\d+/g)) {
    const before = (run.at.at(-1) ?? -1) + 1
    if (run.at.length > 0 && (index - before > 10 || /\p{L}/u.test(text.slice(before, index)))) {
      yield run
      run = { digits: '', at: [] }
    }
    run.digits += digits
    for (let i = 0; i < digits.length; i += 1) run.at.push(index + i)
  }
  if (run.at.length > 0) yield run
}

/** The secrets' digits, `DIGITS` in a row and more. */
function digitsOf(secrets: string[], text: string): Span[] {
  const runs = [...runsOf(text)].filter(({ digits }) => digits.length >= DIGITS)
  if (runs.length === 0) return []
  const parts = new Set<string>()
  for (const secret of secrets) {
    for (const { digits } of runsOf(secret)) {
      for (let i = 0; i + DIGITS <= digits.length; i += 1) parts.add(digits.slice(i, i + DIGITS))
    }
  }
  const found: Span[] = []
  if (parts.size === 0) return found
  for (const { digits, at } of runs) {
    for (let i = 0; i + DIGITS <= digits.length; i += 1) {
      if (parts.has(digits.slice(i, i + DIGITS))) found.push([at[i] ?? 0, (at[i + DIGITS - 1] ?? 0) + 1])
    }
  }
  return found
}

/** Visa, Mastercard, American Express, Diners, JCB, Discover, UnionPay, Maestro, Mir. */
const CARD = /^(?:4|5[0-8]|3[04-9]|6|2[2-7])/

/** Whole groups of digits, with spaces or dashes between them at most. */
function cardNumbers(text: string): Span[] {
  const groups = [...text.matchAll(/\d+/g)].map(({ 0: digits, index }) => ({
    digits,
    start: index,
    end: index + digits.length,
  }))
  const isJoined = groups.map(({ start }, i) => /^[-\s]{1,2}$/.test(text.slice(groups[i - 1]?.end ?? start, start)))
  const found: Span[] = []
  for (const [i, { start }] of groups.entries()) {
    let digits = ''
    for (let last = i; last < groups.length && (last === i || isJoined[last]); last += 1) {
      const group = groups[last]
      digits += group?.digits ?? ''
      if (digits.length > 19 || (digits.length >= 2 && !CARD.test(digits))) break
      if (digits.length >= 13 && passesLuhn(digits)) found.push([start, group?.end ?? start])
    }
  }
  if (found.length === 0) return found
  const ids = [...text.matchAll(UUID)].map(({ index, 0: id }): Span => [index, index + id.length])
  return found.filter((span) => !ids.some((id) => overlap(span, id)))
}

/** It may look like a card number. */
const UUID = /[\da-f]{8}(?:-[\da-f]{4}){3}-[\da-f]{12}/g

function passesLuhn(digits: string): boolean {
  let sum = 0
  for (let i = 0; i < digits.length; i += 1) {
    const digit = digits.charCodeAt(digits.length - 1 - i) - 48
    const doubled = digit * 2
    sum += i % 2 === 0 ? digit : doubled > 9 ? doubled - 9 : doubled
  }
  return sum % 10 === 0
}

/** In one piece, or in groups of four as it is printed; words that follow may look like more of them. */
function ibans(text: string): Span[] {
  const found: Span[] = []
  for (const { index } of text.matchAll(/(?<![a-z\d])[a-z]{2}\d\d/g)) {
    let whole = ''
    let start = index
    let end = index
    for (const word of text.slice(index, index + MOST_PRINTED).split(/[-\s]/)) {
      const [group = ''] = /^[a-z\d]*/.exec(word) ?? []
      whole += group
      if (isIban(whole)) end = start + group.length
      if (group.length !== 4 || group !== word) break
      start += word.length + 1
    }
    if (end > index) found.push([index, end])
  }
  return found
}

/** 34 letters and digits in groups, and one sign more. */
const MOST_PRINTED = 43

function isIban(text: string): boolean {
  if (text.length < 15 || text.length > 34) return false
  let rest = 0
  for (const sign of text.slice(4) + text.slice(0, 4)) {
    const value = Number.parseInt(sign, 36)
    rest = (rest * (value > 9 ? 100 : 10) + value) % 97
  }
  return rest === 1
}

function overlap([start, end]: Span, [from, to]: Span): boolean {
  return start < to && from < end
}

/** Not a part of something longer. */
function isWord(text: string, [start, end]: Span): boolean {
  return !/[-\p{L}\p{N}]/u.test(text.charAt(start - 1) + text.charAt(end))
}

/** The text with a mask in the place of each span; not of what is no more than a part of an id. */
function without(text: string, spans: Span[], ids: readonly string[]): string {
  const kept = ids.flatMap((id) => occurrences(text, id)).filter((span) => isWord(text, span))
  const isFree = (span: Span) =>
    kept.every(
      (id) => !overlap(span, id) || (span[0] <= id[0] && id[1] <= span[1] && span[1] - span[0] > id[1] - id[0]),
    )
  let rest = ''
  let done = 0
  for (const [start, end] of spans.filter(isFree).toSorted((a, b) => a[0] - b[0])) {
    if (end <= done) continue
    // One that goes on where the last ended, or before, is in the same mask.
    if (start > done || done === 0) rest += text.slice(done, start) + MASK
    done = end
  }
  return rest + text.slice(done)
}

import type { InputProblem } from './errors.js'

// Which JSON is kept exactly as it comes. Every entry point for JSON asks here, before anything is written. Imports nothing
// of Node.

/** Levels of arrays and objects at most. What reads JSON level by level has room for many more. */
export const MAX_DEPTH = 100

/** As many problems as are told of one value, where its reader does not ask for more. */
const MOST_PROBLEMS = 20

const problem = {
  bigInt: 'is a BigInt, which JSON does not have; give it as a string',
  digits: 'is a number that loses digits here; give it as a string',
  infinite: 'is not a finite number',
  nul: 'holds a NUL character, which cannot be stored',
  surrogate: 'holds half a character (a lone surrogate), which cannot be stored',
  depth: `is nested more than ${MAX_DEPTH} levels deep`,
}

type Path = (string | number)[]

/**
 * What of a value cannot be kept as it is, as JSON and by PostgreSQL; nothing where all can. Integers beyond 2^53 - 1 are
 * refused: JavaScript gives one of them for another. What JSON leaves out is no problem: undefined, functions.
 */
export function problemsOf(value: unknown, most = MOST_PROBLEMS): InputProblem[] {
  const problems: InputProblem[] = []
  const path: Path = []
  const say = (message: string, where = path) => void problems.push({ path: pointerOf(where), message })
  const visit = (given: unknown, key: string | number, depth: number) => {
    if (problems.length >= most) return
    path.push(key)
    visitHere(given, depth)
    path.pop()
  }
  const visitHere = (given: unknown, depth: number) => {
    const one = asJson(given)
    const found = problemOf(one)
    if (found) return say(found)
    if (typeof one !== 'object' || one === null) return
    // By where it begins: nobody reads a hundred levels.
    if (depth === MAX_DEPTH) return say(problem.depth, path.slice(0, 3))
    if (Array.isArray(one)) return one.forEach((item, i) => visit(item, i, depth + 1))
    for (const [key, item] of Object.entries(one)) {
      const wrong = textProblem(key)
      if (wrong) say(`has a name that ${wrong}`)
      else visit(item, key, depth + 1)
    }
  }
  visitHere(value, 0)
  return problems
}

/** The problem of a value that is nested too deeply: to write it as JSON can overflow the stack. */
export function depthProblemOf(value: unknown): InputProblem | undefined {
  return problemsOf(value, Infinity).find(({ message }) => message === problem.depth)
}

/** As JSON.stringify takes it: a Date is its text. */
function asJson(value: unknown): unknown {
  const { toJSON } = (typeof value === 'object' && value !== null ? value : {}) as { toJSON?: unknown }
  return typeof toJSON === 'function' ? toJSON.call(value) : value
}

function problemOf(value: unknown): string | undefined {
  if (typeof value === 'string') return textProblem(value)
  if (typeof value === 'bigint') return problem.bigInt
  if (typeof value !== 'number') return undefined
  if (!Number.isFinite(value)) return problem.infinite
  return Number.isInteger(value) && !Number.isSafeInteger(value) ? problem.digits : undefined
}

function textProblem(text: string): string | undefined {
  if (text.includes('\0')) return problem.nul
  return /\p{Cs}/u.test(text) ? problem.surrogate : undefined
}

/**
 * What of a JSON text cannot be kept as it is; `value` is what JSON.parse made of it. Finds also the numbers that JavaScript
 * has rounded, which nobody can tell from `value`.
 */
export function problemsOfText(text: string, value: unknown, most = MOST_PROBLEMS): InputProblem[] {
  const problems = problemsOf(value, most)
  // What is nested too deeply is not looked through once more. A number of 15 digits and no exponent is never rounded: most
  // texts have no other.
  if (problems.length >= most || problems.some(({ message }) => message === problem.depth)) return problems
  if (!/[\d.]{16}|\d[eE]/.test(text)) return problems
  const found = new Set(problems.map(({ path }) => path))
  return [...problems, ...roundedIn(text, most).filter(({ path }) => !found.has(path))].slice(0, most)
}

/** Numbers of a valid JSON text, not too deeply nested, that are not the ones that JavaScript reads. */
function roundedIn(text: string, most: number): InputProblem[] {
  const problems: InputProblem[] = []
  const path: Path = []
  let isName = false
  for (let i = 0; i < text.length && problems.length < most;) {
    const character = text[i] as string
    if (character === '"') {
      const end = endOfText(text, i)
      if (isName) path[path.length - 1] = JSON.parse(text.slice(i, end)) as string
      isName = false
      i = end
    } else if (character === '-' || (character >= '0' && character <= '9')) {
      const number = numberAt(text, i)
      if (digitsOf(number) !== digitsOf(String(Number(number)))) {
        problems.push({ path: pointerOf(path), message: problem.digits })
      }
      i += number.length
    } else {
      const inside = path.at(-1)
      if (character === '{') path.push('')
      if (character === '[') path.push(0)
      if (character === '}' || character === ']') path.pop()
      if (character === ',' && typeof inside === 'number') path[path.length - 1] = inside + 1
      if (character === '{' || (character === ',' && typeof inside === 'string')) isName = true
      if (character === '}') isName = false
      i += 1
    }
  }
  return problems
}

/** The place after the closing quote of the text that begins at `from`. */
function endOfText(text: string, from: number): number {
  for (let end = text.indexOf('"', from + 1); ; end = text.indexOf('"', end + 1)) {
    let backslashes = 0
    while (text[end - 1 - backslashes] === '\\') backslashes += 1
    if (backslashes % 2 === 0) return end + 1
  }
}

function numberAt(text: string, from: number): string {
  const number = /[-+.\deE]+/y
  number.lastIndex = from
  return number.exec(text)?.[0] ?? ''
}

/** The same for two ways to write the same number: its digits from the first to the last that is not 0, and its exponent. */
function digitsOf(number: string): string {
  const [, sign, whole = '', fraction = '', exponent = '0'] =
    /^(-?)(\d+)(?:\.(\d+))?(?:[eE]([-+]?\d+))?$/.exec(number) ?? []
  const digits = (whole + fraction).replace(/^0+/, '')
  const significant = digits.replace(/0+$/, '')
  if (significant === '') return '0'
  return `${sign}${significant}e${Number(exponent) - fraction.length + digits.length - significant.length}`
}

/** As a JSON pointer (RFC 6901) that can be stored and shown. */
function pointerOf(path: Path): string {
  return path
    .map((part) => `/${String(part).replaceAll('~', '~0').replaceAll('/', '~1').slice(0, 100)}`)
    .join('')
    .replaceAll(/\p{Cc}|\p{Cs}/gu, '\ufffd')
    .slice(0, 500)
}

/** Problems in one sentence for people. */
export function inWords(problems: InputProblem[]): string {
  return problems.map(({ path, message }) => `${path || 'it'} ${message}`).join('; ')
}

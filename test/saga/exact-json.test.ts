import { expect, test } from '@jest/globals'
import { MAX_DEPTH, problemsOf, problemsOfText } from '../../src/saga/exact-json.js'

const nested = (levels: number): string => '['.repeat(levels) + ']'.repeat(levels)
const pathsOf = (text: string) => problemsOfText(text, JSON.parse(text)).map(({ path }) => path)

const exact = [
  ...[
    '0',
    '-0',
    '1',
    '-1',
    '9007199254740991',
    '-9007199254740991',
    '0.1',
    '1.10',
    '100e-2',
    '1e2',
    '1.5E+3',
    '5e-324',
  ],
  ...['123456789012345', '0.30000000000000004', '1234567890.12345', '0.000000000000000000', '1.0000000000000000000'],
  ...['"12345678901234567890"', '{"1e400":"1e400"}', '["a\\\\",1]', '{"a\\"b":{"c":[]},"d":{}}', nested(MAX_DEPTH)],
]

test.each(exact)('%s is kept as it is', (text) => {
  expect(pathsOf(text)).toEqual([])
})

const numbers = [
  ...['9007199254740992', '9007199254740993', '-9007199254740993', '12345678901234567890', '1e20', '1e400', '-1e400'],
  ...['1e-400', '0.12345678901234567', '1234567890123.4567', '3.14159265358979323846', '123456789012345678.5'],
]

test.each(numbers)('the number %s is refused, with its path, wherever it stands', (number) => {
  expect(pathsOf(number)).toEqual([''])
  expect(pathsOf(`{"a":[{"b c":1,"d/e~":[true,"x,[{",${number}]}]}`)).toEqual(['/a/0/d~1e~0/2'])
  expect(pathsOf(`[{"a":"}"},{"b":{}},[1,2],{"c":null,"d":${number}}]`)).toEqual(['/3/d'])
})

test.each([
  ['a NUL', '{"a":["\\u0000"]}', ['/a/0']],
  ['half a character', '{"a":"\\ud83d"}', ['/a']],
  ['a NUL in a name', '{"a":{"\\u0000":1}}', ['/a']],
  ['half a character in a name', '{"a":{"\\udc00":1}}', ['/a']],
  ['more levels than there may be', nested(MAX_DEPTH + 1), ['/0/0/0']],
  ['a million levels', `{"a":${nested(1_000_000)}}`, ['/a/0/0']],
  ['several things at once', '{"a":"\\u0000","b":12345678901234567890,"c":0.12345678901234567}', ['/a', '/b', '/c']],
])('%s is refused, with its path', (_what, text, paths) => {
  expect(pathsOf(text)).toEqual(paths)
})

test('as many problems are told as are asked for', () => {
  const text = `[${Array.from({ length: 100 }, () => '1e400').join()}]`
  expect(problemsOfText(text, JSON.parse(text), 3)).toHaveLength(3)
})

test('of a value that is no text yet, what JSON does not have is refused, and what it leaves out is not', () => {
  const around: Record<string, unknown> = {}
  around['self'] = around
  const wrong: unknown[] = [1n, { id: 2n ** 60n }, 2 ** 53, NaN, [-Infinity], around]
  expect(wrong.map((one) => problemsOf(one).length)).toEqual(wrong.map(() => 1))
  const right = [undefined, { a: undefined, b: () => 1 }, new Date(0), Object.create(null), { toJSON: () => 'x' }]
  expect(right.flatMap((one) => problemsOf(one))).toEqual([])
})

import { expect, test } from '@jest/globals'
import * as fc from 'fast-check'
import { masked, redacted, secretsIn } from '../../src/saga/node/secrets.js'

// Starts like no payment card, so that only who knows it takes it out.
const card = '9929 1234 5678 9016'

test.each([
  ['as it is', 'card 9929 1234 5678 9016 is stolen', 'card **** is stolen'],
  ['its digits alone', 'card 9929123456789016.', 'card ****.'],
  ['other separators', '9929-1234-5678-9016, 9929.1234/5678_9016', '****, ****'],
  ['its first characters', 'it began with 9929 1234 56', 'it began with ****'],
  ['eight digits of it', 'the middle 1234-5678 of it', 'the middle **** of it'],
  ['escaped for a URL', '?card=9929%201234%205678%209016&x=1', '?card=****&x=1'],
  ['as a form has it', 'card=9929+1234+5678+9016', 'card=****'],
  ['escaped for JSON', '{"card":"9929\\u00201234\\u00205678\\u00209016"}', '{"card":"****"}'],
  ['seven digits, which are too few', '1234 567', '1234 567'],
])('a card number is taken out of a text: %s', (_, text, left) => {
  expect(redacted(text, [card])).toBe(left)
})

test.each([
  ['in another case', 'no GRACE HOPPER', 'no ****'],
  ['with letters beyond ASCII, escaped for a URL', 'no Zo%C3%AB%20Brontë', 'no ****'],
  ['the same, escaped for JSON', 'no zo\\u00eb\\u0020bront\\u00EB', 'no ****'],
  ['with quotes, escaped for JSON', String.raw`{"said":"say \"friend\" and enter"}`, '{"said":"****"}'],
  [
    'the same in JSON in JSON',
    String.raw`"{\"said\":\"say \\\"friend\\\" and enter\"}"`,
    String.raw`"{\"said\":\"****"}"`,
  ],
  ['of two lines, escaped for JSON', String.raw`key BEGIN\nabcdef END`, 'key ****'],
])('any other secret is taken out of a text: %s', (_, text, left) => {
  const secrets = ['Grace Hopper', 'Zoë Brontë', 'say "friend" and enter', 'BEGIN\nabcdef END']
  expect(redacted(text, secrets).replace(/\\+("})/, '$1')).toBe(left.replace(/\\+("})/, '$1'))
})

test.each([
  ['Visa', 'card 4111 1111 1111 1111 declined', 'card **** declined'],
  ['Mastercard, in one piece', 'card 5500000000000004', 'card ****'],
  ['American Express', 'card 3782-822463-10005', 'card ****'],
  ['behind another number', 'attempt 3 4111 1111 1111 1111', 'attempt 3 ****'],
  ['escaped', '4111%201111%201111%201111', '****'],
  ['an IBAN in one piece', 'from DE89370400440532013000.', 'from ****.'],
  [
    'an IBAN as it is printed, with words behind it',
    'IBAN GB82 WEST 1234 5698 7654 32 was not paid',
    'IBAN **** was not paid',
  ],
])('what nobody has named is taken out where it is a card number or an IBAN: %s', (_, text, left) => {
  expect(redacted(text, [])).toBe(left)
})

test.each([
  ['what does not pass Luhn', 'order 4111 1111 1111 1112'],
  ['what starts like no card', 'order 1234567890123452'],
  ['a time', 'at 2026-11-30T22:44:21.123456789Z, 1796078661123'],
  ['an id that looks like one', 'saga 00000000-4111-1111-8111-111111111119'],
  ['an IBAN with a wrong check digit', 'DE88370400440532013000'],
  ["the engine's own words", 'Compensating C of saga 7 failed 8 times (OutcomeUnknown: no answer within 5000 ms)'],
])('it leaves alone %s', (_, text) => {
  expect(redacted(text, [])).toBe(text)
})

test('ids stay as they are, also where they have digits of a secret, and a secret that an id is a part of does not', () => {
  expect(redacted('saga 1234-5678 has 1234-5678-9016', [card], ['1234-5678'])).toBe('saga 1234-5678 has ****')
  expect(redacted('saga 4111111111111111', [], ['4111111111111111'])).toBe('saga 4111111111111111')
})

test('numbers in a value are masked like texts', () => {
  expect(masked({ card: 9929123456789016, n: 7, list: [4111111111111111] }, [card])).toEqual({
    ...{ card: '****', n: 7, list: ['****'] },
  })
})

test('however the digits of a secret are separated, no eight of them in a row are left', () => {
  const digits = fc.array(fc.integer({ min: 0, max: 9 }), { minLength: 8, maxLength: 30 })
  const separator = fc.array(fc.constantFrom(' ', '-', '.', '/', '%20', '\u00a0', '\\u0020'), { maxLength: 2 })
  fc.assert(
    fc.property(digits, fc.array(separator, { minLength: 30, maxLength: 30 }), (digits, separators) => {
      const text = digits.map((digit, i) => `${digit}${(separators[i] ?? []).join('')}`).join('')
      const left = redacted(`no ${text} here`, [digits.join('')]).replaceAll(/%20|\\u0020/g, ' ')
      expect(left.replaceAll(/\D/g, '').length).toBeLessThan(8)
    }),
    { numRuns: 2_000 },
  )
})

test('whatever a text holds, its time grows with its length and nothing of it is lost but what is secret', () => {
  const part = fc.constantFrom('\\', '%', '%4', '4', '4 ', '%41', 'de89', ' ', '+', 'a', '\\u00', 'ß', 'İ', '\ud800')
  fc.assert(
    fc.property(
      fc.array(part, { maxLength: 40 }).map((parts) => parts.join('')),
      (text) => {
        expect(redacted(text, ['secret of somebody']).replaceAll('****', '').length).toBeLessThanOrEqual(text.length)
        expect(redacted(`${text} secret of somebody ${text}`, ['secret of somebody'])).toContain('****')
      },
    ),
    { numRuns: 2_000 },
  )
  for (const hostile of ['\\', '4', '4 ', '%41', 'de89', 'de89 ', '4929 1234 ', '4111111111111111 ']) {
    const began = performance.now()
    redacted(hostile.repeat(10_000 / hostile.length), [card, 'a'.repeat(100)])
    expect(performance.now() - began).toBeLessThan(2_000)
  }
})

test.each([
  ['where the known input has a mask', { to: 'Rome', card: '1' }, { to: 'Bonn', card: '****' }, ['1']],
  ['where it has a mask within a text', { note: 'pay by 7' }, { note: 'pay by ****' }, ['pay by 7']],
  ['where it has nothing', { to: 'Rome', cvv: '123' }, { to: 'Bonn' }, ['123']],
  ['in depth', { a: { b: ['x', 'y'], c: 'z' } }, { a: { b: ['1', '****'], c: '2' } }, ['x', 'y']],
  ['where it has another form', { card: { number: '1' } }, { card: '****' }, ['1']],
  ['nowhere, where nothing of it is masked', { to: 'Rome', n: 1 }, { to: 'Bonn', n: 2 }, []],
  ['everywhere, where it is not known', { to: 'Rome', n: 12345678 }, undefined, ['Rome', '12345678']],
])('of a corrected input the texts are secret %s', (_, input, known, secrets) => {
  expect(secretsIn(input, known)).toEqual(secrets)
})

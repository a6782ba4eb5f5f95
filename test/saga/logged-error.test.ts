import { expect, test } from '@jest/globals'
import { loggedError } from '../../src/saga/node/logged-error.js'
import { query, readShared } from '../helpers/shared.js'

const secret = '4111-2222-3333-9876'

test('an error is logged with its type, code, causes and stack, and without the secrets that it quotes', () => {
  const cause = Object.assign(new Error(`the other side has ${secret}`), { code: 'ECONNRESET', request: { secret } })
  const error = Object.assign(new Error(`no money on ${secret}`, { cause }), { details: [secret] })
  const logged = loggedError(error, [secret]) as { stack: string }
  expect(logged).toMatchObject({
    type: 'Error',
    message: 'no money on ****',
    cause: { code: 'ECONNRESET', message: 'the other side has ****' },
  })
  expect(logged.stack).toContain('logged-error.test')
  expect(JSON.stringify(logged)).not.toContain(secret)
})

test.each([{}, undefined, 7, Symbol('x')])('an error whose message is %p is logged with a text', (message) => {
  const error = Object.assign(new Error('x'), { message, name: Symbol('odd') })
  expect(loggedError(error, [secret])).toMatchObject({
    type: expect.any(String),
    message: expect.stringContaining('was thrown, with no text that says why'),
  })
})

test('what PostgreSQL and JSON.parse quote of the values that they were given is not logged', async () => {
  const thrown = async (work: () => unknown) => {
    try {
      await work()
    } catch (error) {
      return loggedError(error)
    }
    throw new Error('nothing was thrown')
  }
  const refused = await thrown(() => query(readShared().postgres, 'SELECT $1::text::int', [secret]))
  expect(refused).toMatchObject({ code: '22P02', message: 'the database refused the statement (SQLSTATE 22P02)' })
  const broken = await thrown(() => JSON.parse(`x${secret}`))
  expect(JSON.stringify([refused, broken])).not.toContain(secret)
})

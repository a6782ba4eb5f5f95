import { expect, test } from '@jest/globals'
import { loadConfig, loadServiceConfig } from '../../src/config.js'

const env = { DATABASE_URL: 'postgres://127.0.0.1/saga' }

test('a service whose URL is set is called there, one whose URL is empty runs in the worker', () => {
  const { serviceUrls } = loadConfig({ ...env, SERVICE_C_URL: 'http://127.0.0.1:5003/', SERVICE_B_URL: '' })
  expect(serviceUrls).toEqual({ C: 'http://127.0.0.1:5003' })
})

test("A runs by itself only where B and C do, whose rows refer to A's in the worker's database", () => {
  const url = 'http://127.0.0.1:5001'
  expect(() => loadConfig({ ...env, SERVICE_A_URL: url, SERVICE_B_URL: url })).toThrow(/^SERVICE_A_URL needs/)
  const all = { SERVICE_A_URL: url, SERVICE_B_URL: url, SERVICE_C_URL: url }
  expect(loadConfig({ ...env, ...all }).serviceUrls).toEqual({ A: url, B: url, C: url })
})

test.each([
  '127.0.0.1:5001',
  'ftp://127.0.0.1',
  'http://ada:secret@127.0.0.1',
  'http://127.0.0.1/?a=b',
  'http://127.0.0.1/#a',
])('%s is no URL of a service', (url) => {
  expect(() => loadConfig({ ...env, SERVICE_C_URL: url })).toThrow(/^SERVICE_C_URL must be a plain/)
})

test.each([
  { given: {}, port: 5002, failureInjection: true },
  { given: { PORT: '0', NODE_ENV: 'production' }, port: 0, failureInjection: false },
  { given: { NODE_ENV: 'production', FAILURE_INJECTION: 'on' }, port: 5002, failureInjection: true },
])('a service with $given listens on $port', ({ given, ...expected }) => {
  expect(loadServiceConfig(5002, { ...env, ...given })).toMatchObject(expected)
})

import { inspect } from 'node:util'
import { expect, test } from '@jest/globals'
import { ConfigError, foreignEnvironment, loadConfig, loadServiceConfig } from '../../src/config.js'
import { refuseOpenBind } from '../../src/http/guards.js'

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

test('what is traced is sent to a collector over HTTP, or there are no traces', () => {
  const traced = (more: object) => loadConfig({ ...env, ...more }).isTraced
  const OTEL_EXPORTER_OTLP_ENDPOINT = 'http://127.0.0.1:4318'
  expect(traced({})).toBe(false)
  expect(traced({ OTEL_EXPORTER_OTLP_ENDPOINT })).toBe(true)
  expect(traced({ OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_SDK_DISABLED: 'true' })).toBe(false)
  expect(() => traced({ OTEL_EXPORTER_OTLP_ENDPOINT: '127.0.0.1:4317' })).toThrow(/^OTEL_EXPORTER_OTLP_ENDPOINT must/)
})

const secret = 'a-secret-of-24-letters-x'

test('tokens are read with their names and roles; without any there is no login', () => {
  const { apiTokens } = loadConfig({ ...env, API_TOKENS: `ada:viewer:${secret}, ci@example.org:starter:${secret}:=` })
  expect(apiTokens).toEqual([
    { name: 'ada', role: 'viewer', token: secret },
    { name: 'ci@example.org', role: 'starter', token: `${secret}:=` },
  ])
  expect(loadConfig({ ...env, API_TOKENS: '' }).apiTokens).toEqual([])
})

test.each([
  { what: 'a token alone', tokens: secret, says: 'entry 1 is not name:role:token' },
  { what: 'no role', tokens: `ada:${secret}`, says: 'entry 1 is not name:role:token' },
  { what: 'no name', tokens: `:viewer:${secret}`, says: 'entry 1 is not name:role:token' },
  { what: 'a blank in a name', tokens: `a da:viewer:${secret}`, says: 'entry 1 is not name:role:token' },
  { what: 'an entry with nothing in it', tokens: `ada:viewer:${secret},`, says: 'entry 2 is not name:role:token' },
  { what: 'a comma alone', tokens: ',', says: 'entry 1 is not name:role:token' },
  {
    what: 'an unknown role',
    tokens: `ada:admin:${secret}`,
    says: 'entry 1 (ada) has a role that is none of viewer, starter, operator',
  },
  { what: 'a short token', tokens: `ada:viewer:a-secret-of-15x`, says: 'entry 1 (ada) needs a token of at least 16' },
  { what: 'a blank in a token', tokens: `ada:viewer:a-secret of-24-letters-x`, says: 'entry 1 (ada) needs a token' },
  {
    what: 'a name twice',
    tokens: `ada:viewer:${secret},ada:operator:${secret}2`,
    says: 'entry 2 has the name of another one, ada',
  },
  {
    what: 'a token twice',
    tokens: `ada:viewer:${secret},bob:operator:${secret}`,
    says: 'entry 2 (bob) has the same token as ada',
  },
])('tokens with $what are refused, and no token is shown', ({ tokens, says }) => {
  const load = () => loadConfig({ ...env, API_TOKENS: tokens })
  expect(load).toThrow(ConfigError)
  expect(load).toThrow(says)
  expect(load).not.toThrow(/a-secret/)
})

const key = Buffer.alloc(32, 'a key of thirty-two bytes!').toString('base64')
const other = Buffer.alloc(32, 'another one').toString('base64')

test('payload keys are read in their order, the first encrypts; without any nothing is encrypted', async () => {
  const place = { sagaId: 'one', purpose: 'input' }
  const { payloadKeys } = loadConfig({ ...env, PAYLOAD_KEYS: `2026-11:${key}, 2025:${other.replace('=', '')}` })
  expect(payloadKeys.seal('x', place)).toMatchObject({ keyId: '2026-11' })
  const sealed = loadConfig({ ...env, PAYLOAD_KEYS: `2025:${other}` }).payloadKeys.seal('x', place)
  expect(payloadKeys.open(sealed, place)).toBe('x')
  expect(loadConfig({ ...env, PAYLOAD_KEYS: '' }).payloadKeys.seal('x', place)).toEqual({ keyId: '', sealed: '"x"' })
})

test.each([
  { what: 'a key alone', keys: key, says: 'entry 1 is not id:key' },
  { what: 'a blank in an id', keys: `k 1:${key}`, says: 'entry 1 is not id:key' },
  { what: 'an entry with nothing in it', keys: `k1:${key},`, says: 'entry 2 is not id:key' },
  { what: 'a comma alone', keys: ',', says: 'entry 1 is not id:key' },
  { what: 'a short key', keys: `k1:${key.slice(0, 40)}`, says: 'entry 1 (k1) needs a key of 32 bytes in base64' },
  { what: 'a long key', keys: `k1:${key.slice(0, 40)}${key}`, says: 'entry 1 (k1) needs a key of 32 bytes' },
  { what: 'a key that is not base64', keys: `k1:${key.replace(/^./, '*')}`, says: 'entry 1 (k1) needs a key' },
  { what: 'an id twice', keys: `k1:${key},k1:${other}`, says: 'entry 2 has the id of another one, k1' },
  { what: 'a key twice', keys: `k1:${key},k2:${key}`, says: 'entry 2 (k2) is the same key as k1' },
])('payload keys with $what are refused, and no key is shown', ({ keys, says }) => {
  const load = () => loadConfig({ ...env, PAYLOAD_KEYS: keys })
  expect(load).toThrow(ConfigError)
  expect(load).toThrow(says)
  expect(load).not.toThrow(key.slice(0, 10))
})

test('programs that are not ours are told neither keys nor tokens', () => {
  const [keys, tokens] = [process.env['PAYLOAD_KEYS'], process.env['API_TOKENS']]
  try {
    Object.assign(process.env, { PAYLOAD_KEYS: `k1:${key}`, API_TOKENS: `ada:viewer:${secret}` })
    const told = foreignEnvironment()
    expect(told).toMatchObject({ PATH: process.env['PATH'] })
    expect(Object.keys(told).filter((name) => name === 'PAYLOAD_KEYS' || name === 'API_TOKENS')).toEqual([])
  } finally {
    delete process.env['PAYLOAD_KEYS']
    delete process.env['API_TOKENS']
    Object.assign(
      process.env,
      keys !== undefined && { PAYLOAD_KEYS: keys },
      tokens !== undefined && { API_TOKENS: tokens },
    )
  }
})

test('a config that is logged shows no key', () => {
  const config = loadConfig({ ...env, PAYLOAD_KEYS: `k1:${key}` })
  const shown = [JSON.stringify(config), inspect(config, { depth: 9, showHidden: true })].join()
  expect(shown).not.toContain(key.slice(0, 10))
  expect(shown).not.toContain('thirty-two')
  expect(shown).not.toMatch(/61 20 6b 65 79|97,\s?32,\s?107/)
})

test('without a login the API stays on loopback, unless that is meant', () => {
  const bind = (more: Record<string, string>) => () => refuseOpenBind(loadConfig({ ...env, ...more }))
  const HOST = '0.0.0.0'
  expect(bind({ HOST })).toThrow(/^HOST=0\.0\.0\.0 would let everybody .* Set API_TOKENS to have a login/)
  expect(bind({ HOST, ALLOW_ANONYMOUS: '1' })).not.toThrow()
  expect(bind({ HOST, API_TOKENS: `ada:viewer:${secret}` })).not.toThrow()
  expect(bind({ HOST: 'localhost' })).not.toThrow()
})

import { createSecretKey } from 'node:crypto'
import { envSchema } from 'env-schema'
import { Type, type Static } from 'typebox'
import { ROLES, type Role } from './roles.js'
import { PayloadKeys, type PayloadKey } from './saga/node/payload-keys.js'
import { STEP_TIMEOUT_MS } from './saga/policy.js'

/** The only reader of process.env, apart from Temporal's own settings (TEMPORAL_*), which @temporalio/envconfig reads. */

const programSettings = Type.Object({
  /** PostgreSQL of the saga log and, in one process, of the participants. */
  DATABASE_URL: Type.String({ minLength: 1 }),
  HOST: Type.String({ default: '127.0.0.1' }),
  /** 0: any free port. */
  PORT: Type.Integer({ default: 3000, minimum: 0, maximum: 65_535 }),
  /** Host names, besides loopback and the bound address, under which the API may be called (comma separated). */
  ALLOWED_HOSTS: Type.String({ default: '' }),
  ALLOW_ANONYMOUS: Type.Optional(Type.String()),
  /** name:role:token,… turns the login on. */
  API_TOKENS: Type.Optional(Type.String()),
  /** id:base64,… encrypts what Temporal stores, and the inputs that are kept. */
  PAYLOAD_KEYS: Type.Optional(Type.String()),
  /** Where Temporal's Web UI is, for links. */
  TEMPORAL_UI_URL: Type.String({ default: 'http://127.0.0.1:8233' }),
  FAILURE_INJECTION: Type.Optional(Type.Union([Type.Literal('on'), Type.Literal('off')])),
  NODE_ENV: Type.Optional(Type.String()),
  /** One try of one call, in ms. */
  SAGA_STEP_TIMEOUT_MS: Type.Integer({ default: STEP_TIMEOUT_MS, minimum: 100, maximum: 600_000 }),
  /** What a saga has to go forward, in ms; then it is rolled back. */
  SAGA_DEADLINE_MS: Type.Integer({ default: 3_600_000, minimum: 100 }),
  /** Unfinished single sagas at once; beyond it POST /saga answers 503. */
  MAX_OPEN_SAGAS: Type.Integer({ default: 500, minimum: 1 }),
  /** auto: sagas that come while others are being started share a run. */
  SAGA_GROUPING: Type.Union([Type.Literal('off'), Type.Literal('auto')], { default: 'off' }),
  LOG_LEVEL: Type.String({ default: 'info' }),
  /** Where `npm run worker` shows its figures for Prometheus, at HOST; left out, nowhere. The API has /metrics. */
  METRICS_PORT: Type.Optional(Type.Integer({ minimum: 0, maximum: 65_535 })),
  /** The collector of traces; left out, there are none. OpenTelemetry reads it, and its other OTEL_* variables, itself. */
  OTEL_EXPORTER_OTLP_ENDPOINT: Type.Optional(Type.String()),
  OTEL_SDK_DISABLED: Type.Optional(Type.String()),
  /** Where a service runs that is a process of its own; one that is left out runs in the worker. */
  SERVICE_A_URL: Type.Optional(Type.String()),
  SERVICE_B_URL: Type.Optional(Type.String()),
  SERVICE_C_URL: Type.Optional(Type.String()),
})

const { DATABASE_URL, HOST, ALLOW_ANONYMOUS, FAILURE_INJECTION, NODE_ENV, LOG_LEVEL } = programSettings.properties
const { OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_SDK_DISABLED } = programSettings.properties
const serviceSettings = Type.Object({
  ...{ DATABASE_URL, HOST, ALLOW_ANONYMOUS, FAILURE_INJECTION, NODE_ENV, LOG_LEVEL },
  ...{ OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_SDK_DISABLED },
  PORT: Type.Optional(Type.Integer({ minimum: 0, maximum: 65_535 })),
})

const startSettings = Type.Object({
  PORT: port(3000, 'of the web page and the API'),
  POSTGRES_PORT: port(5433, 'of PostgreSQL'),
  TEMPORAL_PORT: port(7233, 'of Temporal'),
  TEMPORAL_UI_PORT: port(8233, "of Temporal's Web UI"),
  HOST: Type.String({ default: '127.0.0.1', description: 'Address on which the API listens.' }),
  DATA_DIR: Type.String({ default: '.data', description: 'Folder for data and logs, kept between runs.' }),
  TEMPORAL_CLI: Type.Optional(Type.String({ description: 'A `temporal` binary to use instead of looking for one.' })),
})

export interface ApiToken {
  /** Whose it is: the actor of what is done with it. */
  name: string
  role: Role
  token: string
}

export interface Config {
  databaseUrl: string
  host: string
  port: number
  allowedHosts: string[]
  allowAnonymous: boolean
  /** Empty: there is no login. */
  apiTokens: ApiToken[]
  /** What Temporal stores, and the inputs that are kept, are encrypted with. */
  payloadKeys: PayloadKeys
  temporalUiUrl: string
  /** Whether failures may be injected: the demo's switch, off where NODE_ENV is production. */
  failureInjection: boolean
  stepTimeoutMs: number
  deadlineMs: number
  maxOpenSagas: number
  /** Whether sagas that come at the same time share a run. */
  isGrouping: boolean
  logLevel: string
  /** Whether spans are sent to a collector. */
  isTraced: boolean
  /** Of the worker alone. */
  metricsPort?: number
  /** Services that the worker calls over HTTP. */
  serviceUrls: Partial<Record<ServiceLetter, string>>
}

export type ServiceLetter = 'A' | 'B' | 'C'

/** Settings of one service that runs as a process of its own. Its database is nobody else's. */
export type ServiceConfig = Pick<
  Config,
  'databaseUrl' | 'host' | 'port' | 'allowAnonymous' | 'failureInjection' | 'logLevel' | 'isTraced'
>

export type StartConfig = Static<typeof startSettings>

/** Settings of the worker, the API and `npm run migrate`. Throws a ConfigError that names the variable at fault. */
export function loadConfig(env: NodeJS.ProcessEnv = process.env): Config {
  const settings = read(programSettings, env)
  return {
    databaseUrl: settings.DATABASE_URL,
    host: settings.HOST,
    port: settings.PORT,
    allowedHosts: settings.ALLOWED_HOSTS.split(',')
      .map((host) => host.trim().toLowerCase())
      .filter(Boolean),
    allowAnonymous: settings.ALLOW_ANONYMOUS === '1',
    apiTokens: apiTokens(settings.API_TOKENS),
    payloadKeys: payloadKeys(settings.PAYLOAD_KEYS),
    temporalUiUrl: settings.TEMPORAL_UI_URL.replace(/\/$/, ''),
    failureInjection: isInjecting(settings),
    stepTimeoutMs: settings.SAGA_STEP_TIMEOUT_MS,
    deadlineMs: settings.SAGA_DEADLINE_MS,
    maxOpenSagas: settings.MAX_OPEN_SAGAS,
    isGrouping: settings.SAGA_GROUPING === 'auto',
    logLevel: settings.LOG_LEVEL,
    isTraced: isTraced(settings),
    ...(settings.METRICS_PORT !== undefined && { metricsPort: settings.METRICS_PORT }),
    serviceUrls: serviceUrls(settings),
  }
}

/** Settings of `npm run service`; without a PORT it is `port`. Throws a ConfigError that names the variable at fault. */
export function loadServiceConfig(port: number, env: NodeJS.ProcessEnv = process.env): ServiceConfig {
  const { PORT, ...settings } = read(serviceSettings, env)
  return {
    databaseUrl: settings.DATABASE_URL,
    host: settings.HOST,
    port: PORT ?? port,
    allowAnonymous: settings.ALLOW_ANONYMOUS === '1',
    failureInjection: isInjecting(settings),
    logLevel: settings.LOG_LEVEL,
    isTraced: isTraced(settings),
  }
}

/** For programs that need nothing but the keys. Throws a ConfigError that names the entry at fault. */
export function loadPayloadKeys(env: NodeJS.ProcessEnv = process.env): PayloadKeys {
  return payloadKeys(env['PAYLOAD_KEYS'] || undefined)
}

/** For `npm run bulk`: who sends, where there is a login. */
export function loadBulkConfig(env: NodeJS.ProcessEnv = process.env): { token?: string } {
  const token = env['API_TOKEN']
  return token ? { token } : {}
}

/** Settings of `npm start`. Throws a ConfigError that names the variable at fault. */
export function loadStartConfig(env: NodeJS.ProcessEnv = process.env): StartConfig {
  return read(startSettings, env)
}

/** The settings of `npm start`, with what they do and their defaults, for `--help`. */
export function startHelp(): string {
  const lines = Object.entries<Type.TSchema & { default?: string | number; description?: string }>(
    startSettings.properties,
  ).map(
    ([name, { default: value, description }]) =>
      `  ${name.padEnd(18)}${description}${value === undefined ? '' : ` Default: ${value}.`}`,
  )
  return [
    'npm start: the whole system on this machine (PostgreSQL, Temporal, worker, API and web page).',
    'Ctrl-C stops all of it. Settings, in the environment:',
    '',
    ...lines,
    '',
    'A port of 0 is any free one. The settings of the API and the worker (README) hold here too.',
  ].join('\n')
}

/** The environment that programs started from here inherit. */
export function inheritedEnvironment(): NodeJS.ProcessEnv {
  return process.env
}

/** The same for programs that are not ours: who may use the API, and what decrypts its payloads, is not for them to know. */
export function foreignEnvironment(): NodeJS.ProcessEnv {
  const { API_TOKENS: _, PAYLOAD_KEYS: __, ...others } = process.env
  return others
}

export class ConfigError extends Error {}

const MIN_TOKEN_LENGTH = 16

/** Says which entry is wrong by its place, and by its name where it has one: a token is shown to nobody. */
function apiTokens(value: string | undefined): ApiToken[] {
  if (value === undefined) return []
  const entries = value.split(',').map((entry) => entry.trim())
  const known: ApiToken[] = []
  for (const [i, entry] of entries.entries()) {
    const wrong = (why: string) => new ConfigError(`API_TOKENS is not right: entry ${i + 1} ${why}.`)
    const [, name = '', role = '', token = ''] = /^([^:]*):([^:]*):(.*)$/.exec(entry) ?? []
    if (!/^[\w.@-]{1,100}$/.test(name)) {
      throw wrong('is not name:role:token, with a name of at most 100 letters, digits and any of . _ - @')
    }
    if (!isRole(role)) throw wrong(`(${name}) has a role that is none of ${ROLES.join(', ')}`)
    if (!/^[\x21-\x7e]+$/.test(token) || token.length < MIN_TOKEN_LENGTH) {
      throw wrong(`(${name}) needs a token of at least ${MIN_TOKEN_LENGTH} visible ASCII characters without a comma`)
    }
    if (known.some((one) => one.name === name)) throw wrong(`has the name of another one, ${name}`)
    const same = known.find((one) => one.token === token)
    if (same) throw wrong(`(${name}) has the same token as ${same.name}`)
    known.push({ name, role, token })
  }
  return known
}

const KEY_BYTES = 32

/** Says which entry is wrong by its place, and by its id where it has one: a key is shown to nobody. */
function payloadKeys(value: string | undefined): PayloadKeys {
  if (value === undefined) return new PayloadKeys([])
  const known: PayloadKey[] = []
  for (const [i, entry] of value.split(',').entries()) {
    const wrong = (why: string) => new ConfigError(`PAYLOAD_KEYS is not right: entry ${i + 1} ${why}.`)
    const [, id = '', text = ''] = /^([^:]*):(.*)$/.exec(entry.trim()) ?? []
    if (!/^[\w.-]{1,100}$/.test(id)) {
      throw wrong('is not id:key, with an id of at most 100 letters, digits and any of . _ -')
    }
    const bytes = Buffer.from(text, 'base64')
    if (bytes.length !== KEY_BYTES || bytes.toString('base64').replace(/=$/, '') !== text.replace(/=$/, '')) {
      throw wrong(
        `(${id}) needs a key of ${KEY_BYTES} bytes in base64, as \`openssl rand -base64 ${KEY_BYTES}\` makes one`,
      )
    }
    if (known.some((one) => one.id === id)) throw wrong(`has the id of another one, ${id}`)
    const key = createSecretKey(bytes)
    const same = known.find((one) => one.key.equals(key))
    if (same) throw wrong(`(${id}) is the same key as ${same.id}`)
    known.push({ id, key })
  }
  return new PayloadKeys(known)
}

function isRole(role: string): role is Role {
  return (ROLES as readonly string[]).includes(role)
}

function isInjecting(settings: { FAILURE_INJECTION?: string; NODE_ENV?: string }): boolean {
  return (settings.FAILURE_INJECTION ?? (settings.NODE_ENV === 'production' ? 'off' : 'on')) === 'on'
}

function isTraced(settings: { OTEL_EXPORTER_OTLP_ENDPOINT?: string; OTEL_SDK_DISABLED?: string }): boolean {
  const { OTEL_EXPORTER_OTLP_ENDPOINT: endpoint, OTEL_SDK_DISABLED: disabled } = settings
  if (endpoint === undefined || disabled?.toLowerCase() === 'true') return false
  // OpenTelemetry would send its spans elsewhere, and say nothing.
  if (URL.canParse(endpoint) && /^https?:$/.test(new URL(endpoint).protocol)) return true
  throw new ConfigError('OTEL_EXPORTER_OTLP_ENDPOINT must be an http or https address, such as http://127.0.0.1:4318.')
}

function serviceUrls(settings: Static<typeof programSettings>): Config['serviceUrls'] {
  const urls = {
    ...serviceUrl('A', settings.SERVICE_A_URL),
    ...serviceUrl('B', settings.SERVICE_B_URL),
    ...serviceUrl('C', settings.SERVICE_C_URL),
  }
  // Or every saga would fail at B, by its foreign key.
  if (urls.A && !(urls.B && urls.C)) {
    throw new ConfigError(
      "SERVICE_A_URL needs SERVICE_B_URL and SERVICE_C_URL beside it: in the worker's database the rows of B and C refer to one of A.",
    )
  }
  return urls
}

function serviceUrl(letter: ServiceLetter, value: string | undefined): Partial<Record<ServiceLetter, string>> {
  if (value === undefined) return {}
  const url = URL.canParse(value) ? new URL(value) : undefined
  const isRight = url && /^https?:$/.test(url.protocol) && !url.username && !url.password && !url.search && !url.hash
  if (!isRight)
    throw new ConfigError(`SERVICE_${letter}_URL must be a plain http or https address, such as http://127.0.0.1:5001.`)
  return { [letter]: url.href.replace(/\/$/, '') }
}

function port(value: number, whose: string) {
  return Type.Integer({ default: value, minimum: 0, maximum: 65_535, description: `Port ${whose}.` })
}

function read<S extends Type.TObject>(schema: S, env: NodeJS.ProcessEnv): Static<S> {
  // An empty variable counts as left out, as in a compose file's `${PORT:-}`.
  const data = Object.fromEntries(Object.entries(env).filter(([, value]) => value !== ''))
  try {
    return envSchema<Static<S>>({ schema: { ...schema }, data, env: false })
  } catch (error) {
    throw new ConfigError(`A setting in the environment is not right: ${(error as Error).message}`)
  }
}

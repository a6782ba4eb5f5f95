import type { Static } from 'typebox'
import type { Problem } from '../../src/http/schemas/common.js'
import type { Failures } from '../../src/http/schemas/failure.js'
import type { Login } from '../../src/http/schemas/login.js'
import type { LogRow, Logs } from '../../src/http/schemas/log.js'
import type { DecisionsAccepted, DecisionsProgress, DecisionsRequest } from '../../src/http/schemas/decisions.js'
import type { Bulk, BulkAccepted, BulkSummary } from '../../src/http/schemas/bulk.js'
import type { Overview } from '../../src/http/schemas/overview.js'
import type { Sagas, Stuck } from '../../src/http/schemas/saga-list.js'
import type { SagaTypes } from '../../src/http/schemas/saga-types.js'
import type { CreateUserRequest, DecisionRequest, Saga, SagaAccepted, SagaPlan } from '../../src/http/schemas/saga.js'

export type { FailureInput, Failures } from '../../src/http/schemas/failure.js'
export type { CreateUserRequest, Login, LogRow, Saga, SagaAccepted, SagaPlan }
export type { SagaTypes }
export type { DecisionsProgress, DecisionsRequest, Sagas, Stuck }
export type { Bulk, BulkAccepted, BulkSummary, Problem }
export type Rejection = Bulk['rejections'][number]
export type { Overview, OverviewPoint } from '../../src/http/schemas/overview.js'
export type { SagaCompensation, SagaStatus, SagaStep } from '../../src/http/schemas/saga.js'

/** The server answered, and said what is wrong. */
export class ApiError extends Error {
  /** `matching`: how many sagas a call would touch, where it was refused for another number. */
  constructor(readonly problem: Problem & { matching?: number }) {
    super(problem.detail)
  }
}

/** No answer came: whether the call took effect is not known. */
export class ServerAway extends Error {
  constructor() {
    super('The server does not answer.')
  }
}

/** Who is logged in, and whether there is a login at all. */
export const getLogin = (): Promise<Login> => call('/login')

export const logIn = (token: string): Promise<Login> => post('/login', { token })

export const logOut = (): Promise<Login> => post('/logout', {})

/** Told when an answer says that a login is needed, as where a session has ended. */
export const loginNeeded = new EventTarget()

/** How the last call went, for the whole page: `trouble` says why there was no good answer. Fires `change`. */
export const server = new (class extends EventTarget {
  trouble: string | undefined
  tell(trouble?: string): void {
    if (trouble === this.trouble) return
    this.trouble = trouble
    this.dispatchEvent(new Event('change'))
  }
})()

/** A lost answer is safe to ask for again with the same key: the API then starts no second saga. */
export const startSaga = (body: CreateUserRequest, idempotencyKey: string): Promise<SagaAccepted> =>
  post('/saga', body, { 'idempotency-key': idempotencyKey })

/** `actor` only where there is no login. */
export const cancelSaga = (sagaId: string, body: { reason: string; actor?: string }): Promise<SagaAccepted> =>
  post(`${sagaPath(sagaId)}/cancel`, body)

/** A person's word on what is stuck; `actor` only where there is no login. */
export type DecisionWord = Omit<Static<typeof DecisionRequest>, 'actor'> & { actor?: string }
export const decideSaga = (sagaId: string, word: DecisionWord): Promise<Saga> =>
  post(`${sagaPath(sagaId)}/decision`, word)

/** What a rollback would do now. */
export const getPlan = (sagaId: string): Promise<SagaPlan> => call(`${sagaPath(sagaId)}/plan`)

/** The newest rows of one saga, oldest first. */
export const getSagaLog = async (sagaId: string): Promise<LogRow[]> =>
  (await getLogs({ limit: 500, saga: sagaId })).toReversed()

export const getSaga = (sagaId: string): Promise<Saga> => call(sagaPath(sagaId))

/** All sagas, newest first, a page at a time. */
export const getSagas = (query: Record<string, string>): Promise<Sagas> => call(`/saga?${new URLSearchParams(query)}`)

/** The types of sagas, and their steps. */
export const getSagaTypes = (): Promise<SagaTypes> => call('/saga-types')

/** How many sagas wait for a person, by step and error. */
export const getStuck = async (): Promise<Stuck['stuck']> => (await call<Stuck>('/stuck')).stuck

/** One decision for all sagas that are stuck on a step. */
export const decideMany = (request: Omit<DecisionsRequest, 'actor'> & { actor?: string }): Promise<DecisionsAccepted> =>
  post('/saga/decisions', request)

export const getDecisions = (decisionsId: string): Promise<DecisionsProgress> =>
  call(`/saga/decisions/${encodeURIComponent(decisionsId)}`)

/** How far a call that started many sagas has come. */
export const getBulk = (bulkId: string): Promise<Bulk> => call(bulkPath(bulkId))

/** Such calls, newest first. */
export const getBulks = async (limit: number): Promise<BulkSummary[]> =>
  (await call<{ bulks: BulkSummary[] }>(`/saga/bulk?limit=${limit}`)).bulks

/** Starts a saga a line. As with one saga, the same key starts none twice. */
export const startBulk = (lines: Blob | string, skipsInvalid: boolean, key: string): Promise<BulkAccepted> =>
  call(`/saga/bulk${skipsInvalid ? '?onInvalid=skip' : ''}`, {
    method: 'POST',
    headers: { 'content-type': 'application/x-ndjson', 'idempotency-key': key },
    body: lines,
    // A slow line takes its time for 32 MiB.
    signal: AbortSignal.timeout(120_000),
  })

/** A paused one goes on. */
export const resumeBulk = (bulkId: string): Promise<Bulk> => post(`${bulkPath(bulkId)}/resume`, {})

/** `expected`: how many sagas it is meant to touch; `actor` only where there is no login. */
export interface BulkEnd {
  reason: string
  actor?: string
  expected: number
}

/** Cancels what can still be cancelled, or undoes what has completed. */
export const endBulk = (bulkId: string, how: 'cancel' | 'compensate', body: BulkEnd): Promise<Bulk> =>
  post(`${bulkPath(bulkId)}/${how}`, body)

/** Its progress as it changes; it reconnects by itself until it is closed. */
export const bulkEvents = (bulkId: string): EventSource => new EventSource(`${bulkPath(bulkId)}/events`)

const bulkPath = (bulkId: string) => `/saga/bulk/${encodeURIComponent(bulkId)}`

/** What is injected into sagas that bring no failures of their own, and whether anything may be injected here at all. */
export async function getFailures(): Promise<{ inForce: Failures; isOn: boolean }> {
  const { answer, headers } = await ask<Failures>('/failures')
  return { inForce: answer, isOn: /\bPUT\b/.test(headers.get('allow') ?? '') }
}

/** Replaces all of it, and starts its counts anew. */
export const putFailures = (failures: unknown): Promise<Failures> => send('PUT', '/failures', failures)

/** How all sagas do, and have done in the last minutes. */
export const getOverview = (minutes: number): Promise<Overview> => call(`/overview?minutes=${minutes}`)

/** What went wrong, for people. */
export const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error))

export interface LogFilter {
  saga?: string | undefined
  service?: string | undefined
  status?: string | undefined
  limit?: number
  /** Only rows with a smaller id. */
  before?: bigint | undefined
}

/** Where the API has that part of the log. */
export function logPath(filter: LogFilter): string {
  const given = Object.entries(filter).filter(([, value]) => value !== undefined)
  return `/logs?${new URLSearchParams(given.map(([name, value]) => [name, String(value)])).toString()}`
}

/** Rows of all sagas, newest first. */
export const getLogs = async (filter: LogFilter): Promise<LogRow[]> =>
  (await ask<Logs>(logPath(filter), {}, readLog)).answer.logs

/** Reads JSON with log rows. Their ids may have more digits than a number holds. */
export function readLog(json: string): unknown {
  const withTexts = json.replaceAll(/"id":(\d+)/g, '"id":"$1"')
  return JSON.parse(withTexts, (key, value) => (key === 'id' ? BigInt(value) : value))
}

/** Log rows and changes of a saga as they happen; it reconnects by itself until it is closed. */
export const sagaEvents = (sagaId: string): EventSource => new EventSource(`${sagaPath(sagaId)}/events`)

export const sagaPath = (sagaId: string) => `/saga/${encodeURIComponent(sagaId)}`

const post = <T>(path: string, body: object, headers: Record<string, string> = {}): Promise<T> =>
  send('POST', path, body, headers)

const send = <T>(method: string, path: string, body: unknown, headers: Record<string, string> = {}): Promise<T> =>
  call(path, { method, headers: { 'content-type': 'application/json', ...headers }, body: JSON.stringify(body) })

const call = async <T>(path: string, init?: RequestInit): Promise<T> => (await ask<T>(path, init)).answer

interface Answered<T> {
  answer: T
  headers: Headers
}

async function ask<T>(
  path: string,
  init: RequestInit = {},
  read: (json: string) => unknown = JSON.parse,
): Promise<Answered<T>> {
  const response = await fetch(path, { signal: AbortSignal.timeout(10_000), ...init }).catch(() => undefined)
  const answer = await response
    ?.text()
    .then(read)
    .catch(() => undefined)
  if (response?.ok && answer !== undefined) {
    server.tell()
    return { answer: answer as T, headers: response.headers }
  }
  // Without a problem in JSON it was something between here and the API that answered, such as a proxy.
  const error = isProblem(answer) ? new ApiError(answer) : new ServerAway()
  server.tell(error instanceof ServerAway || error.problem.status >= 500 ? error.message : undefined)
  if (error instanceof ApiError && error.problem.status === 401) loginNeeded.dispatchEvent(new Event('needed'))
  throw error
}

function isProblem(answer: unknown): answer is Problem {
  return typeof answer === 'object' && answer !== null && 'detail' in answer
}

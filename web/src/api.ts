import type { Problem } from '../../src/http/schemas/common.js'
import type { Failures } from '../../src/http/schemas/failure.js'
import type { Login } from '../../src/http/schemas/login.js'
import type { LogRow, Logs } from '../../src/http/schemas/log.js'
import type { DecisionsAccepted, DecisionsProgress, DecisionsRequest } from '../../src/http/schemas/decisions.js'
import type { Overview } from '../../src/http/schemas/overview.js'
import type { Sagas, Stuck } from '../../src/http/schemas/saga-list.js'
import type { CreateUserRequest, Saga, SagaAccepted } from '../../src/http/schemas/saga.js'

export type { FailureInput, Failures } from '../../src/http/schemas/failure.js'
export type { DecisionsProgress, DecisionsRequest, Overview, Sagas, Stuck }
export type { CreateUserRequest, Login, LogRow, Problem, Saga, SagaAccepted }
export type { SagaCompensation, SagaStatus, SagaStep } from '../../src/http/schemas/saga.js'

/** The server answered, and said what is wrong. */
export class ApiError extends Error {
  constructor(readonly problem: Problem) {
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

export const cancelSaga = (sagaId: string, reason: string): Promise<SagaAccepted> =>
  post(`${sagaPath(sagaId)}/cancel`, { reason })

export const getSaga = (sagaId: string): Promise<Saga> => call(sagaPath(sagaId))

/** All sagas, newest first, a page at a time. */
export const getSagas = (query: Record<string, string>): Promise<Sagas> => call(`/saga?${new URLSearchParams(query)}`)

/** How sagas do, and have done in the last minutes. */
export const getOverview = (minutes: number): Promise<Overview> => call(`/overview?minutes=${minutes}`)

/** How many sagas wait for a person, by step and error. */
export const getStuck = async (): Promise<Stuck['stuck']> => (await call<Stuck>('/stuck')).stuck

/** One decision for all sagas that are stuck on a step. */
export const decideMany = (request: Omit<DecisionsRequest, 'actor'> & { actor?: string }): Promise<DecisionsAccepted> =>
  post('/saga/decisions', request)

export const getDecisions = (decisionsId: string): Promise<DecisionsProgress> =>
  call(`/saga/decisions/${encodeURIComponent(decisionsId)}`)

/** What is injected into sagas that bring no failures of their own. */
export const getFailures = (): Promise<Required<Failures>> => call('/failures')

/** What went wrong, for people. */
export const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error))

/** The newest rows of all sagas, newest first. */
export const getLogs = async (): Promise<LogRow[]> => (await call<Logs>('/logs')).logs

/** Log rows and changes of a saga as they happen; it reconnects by itself until it is closed. */
export const sagaEvents = (sagaId: string): EventSource => new EventSource(`${sagaPath(sagaId)}/events`)

const sagaPath = (sagaId: string) => `/saga/${encodeURIComponent(sagaId)}`

const post = <T>(path: string, body: object, headers: Record<string, string> = {}): Promise<T> =>
  call(path, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: JSON.stringify(body),
  })

async function call<T>(path: string, init: RequestInit = {}): Promise<T> {
  const response = await fetch(path, { ...init, signal: AbortSignal.timeout(10_000) }).catch(() => undefined)
  const answer = await response?.json().catch(() => undefined)
  if (response?.ok && answer !== undefined) {
    server.tell()
    return answer
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

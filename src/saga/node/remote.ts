import { Agent as HttpAgent, request as httpRequest, type IncomingMessage } from 'node:http'
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https'
import { setTimeout as sleep } from 'node:timers/promises'
import { invalidResult, lateInvoke, outcomeUnknown, rejected, unavailable, type InputProblem } from '../errors.js'
import { inWords, problemsOfText } from '../exact-json.js'
import { checkedResult } from '../result.js'
import type { Json, Operation, SettleVerdict } from '../types.js'
import type { BarredParticipant, Call } from './barrier.js'
import type { Injection } from './failure-injection.js'
import { MAX_BODY_BYTES, ProblemType, toHeader } from './participant-protocol.js'

/** How long a call waits for a service that can't be connected to, as it restarts: no call was made then. */
const AWAY_WAIT_MS = 4_000
const AWAY_RETRY_MS = 100
const AWAY_CODES = new Set(['ECONNREFUSED', 'ENOTFOUND', 'EAI_AGAIN', 'EHOSTUNREACH', 'ENETUNREACH'])

/** For calls of which nobody keeps the time. */
const CALL_MS = 10_000

/** Connections to one service, at most. */
const MAX_CONNECTIONS = 64
/** A connection that was not used for so long is closed, before the other side does so in the middle of a call. */
const IDLE_MS = 4_000

/**
 * A participant that runs elsewhere, by docs/participant-protocol.md; its barrier is there too. Connections are kept and
 * bounded. An answer that can't be taken for what it is (none, 5xx, malformed, too large) leaves the outcome unknown: throws
 * OutcomeUnknown, or Unavailable where no call was made. `as` adds the failures that its calls are to bring along;
 * `moreHeaders` are asked for before each.
 */
export function remoteParticipant(
  name: string,
  url: string,
  moreHeaders: () => Record<string, string> = () => ({}),
): { as(injection: Injection | undefined): BarredParticipant } {
  const ask = makeAsking(name, url, moreHeaders)
  // Its participant server refuses one that is too large before it commits; another service need not.
  const told = (result: Json) => ({ result: checkedResult(result, name).result })
  return {
    as(injection) {
      const bring = (op: Operation) => {
        const failures = injection?.failures.filter(({ on, mode }) => on === op && mode !== 'none') ?? []
        return injection && failures.length > 0 ? { injection: { ...injection, failures } } : {}
      }
      const settle = async (call: Call): Promise<SettleVerdict> => {
        const { verdict, result } = await ask('settle', call, {})
        if (verdict === 'empty') return { verdict }
        if (verdict === 'applied' && result !== undefined) return { verdict, ...told(result) }
        throw malformed(name)
      }
      return {
        async invoke(call) {
          const { input, decisions } = call
          const answer = await ask('invoke', call, { input, ...(decisions && { decisions }), ...bring('invoke') })
          const { verdict, result } = answer
          if ((verdict !== 'applied' && verdict !== 'duplicate') || result === undefined) throw malformed(name)
          return { verdict, ...told(result) }
        },
        async compensate(call) {
          const corrected = call.input === undefined ? {} : { input: call.input }
          const { verdict } = await ask('compensate', call, { ...corrected, ...bring('compensate') })
          if (verdict !== 'done' && verdict !== 'empty' && verdict !== 'forbidden') throw malformed(name)
          return verdict
        },
        settle,
        async forbid(call) {
          const answer = await ask('forbid', call, {}, true)
          // A service that was made before there was `forbid`: it can at least refuse a late invoke.
          if (answer === notOffered) await settle(call)
        },
        async probe(call) {
          const answer = await ask('probe', call, { input: call.input }, true)
          if (answer === notOffered) return undefined
          const { applied, result } = answer
          if (applied === false) return { applied }
          if (applied === true && result !== undefined) return { applied, ...told(result) }
          throw malformed(name)
        },
        async verify(call) {
          const answer = await ask('verify', call, {}, true)
          if (answer === notOffered) return undefined
          const { left } = answer
          if (!Array.isArray(left) || !left.every((one) => typeof one === 'string')) throw malformed(name)
          return left
        },
      }
    },
  }
}

type Answer = Record<string, Json | undefined>
/** An operation that a participant need not have. */
const notOffered: Answer = {}

const malformed = (name: string, why = '') => outcomeUnknown(`${name} gave an answer that is not by the protocol${why}`)

function makeAsking(name: string, url: string, moreHeaders: () => Record<string, string>) {
  const exchange = makeExchange(url, moreHeaders)
  return async (operation: string, call: Call, body: object, isOptional = false): Promise<Answer> => {
    const { status, problem, json, wrong } = await reach(name, isOptional, () => exchange(operation, call, body))
    if (status === 200 && wrong.length > 0) throw malformed(name, `: ${inWords(wrong)}`)
    if (status === 200 && isObject(json)) return json
    if (status === 200) throw malformed(name)
    if (isOptional && (status === 404 || status === 501)) return notOffered
    const { type, detail } = problem
    if (operation === 'invoke' && status === 422 && type === ProblemType.Rejected) throw rejected(detail)
    if (operation === 'invoke' && status === 422 && type === ProblemType.InvalidResult) throw invalidResult(detail)
    if (operation === 'invoke' && status === 409 && type === ProblemType.LateInvoke) throw lateInvoke(call)
    const message = `${name} answered ${status}${detail && `: ${detail}`}`
    if (status === 503 && type === ProblemType.Unavailable) throw unavailable(message)
    // Sent again it would be refused again.
    const isFinal = type === ProblemType.InvalidCall || type === ProblemType.InjectionRefused
    throw outcomeUnknown(message, { nonRetryable: isFinal && status >= 400 && status < 500 })
  }
}

/**
 * Waits for a service that is away. A connection that broke leaves the outcome unknown; a call that only looks (`mayRepeat`)
 * is made again.
 */
async function reach<T>(name: string, mayRepeat: boolean, exchange: () => Promise<T>): Promise<T> {
  const until = Date.now() + AWAY_WAIT_MS
  for (;;) {
    try {
      return await exchange()
    } catch (error) {
      const { code = '', name: kind } = error as { code?: string; name: string }
      if (error instanceof TooLarge) throw outcomeUnknown(`${name} answered with more than ${MAX_BODY_BYTES} bytes`)
      if (kind === 'AbortError' || kind === 'TimeoutError') throw outcomeUnknown(`${name} gave no answer in time`)
      const isAway = AWAY_CODES.has(code)
      const isOver = Date.now() + AWAY_RETRY_MS > until
      if (isOver && isAway) throw unavailable(`${name} is away (${code})`)
      if (isOver || (!isAway && !mayRepeat))
        throw outcomeUnknown(`the connection to ${name} broke (${code || 'no code'})`)
      await sleep(AWAY_RETRY_MS)
    }
  }
}

class TooLarge extends Error {}

interface Exchanged {
  status: number
  json: Json | undefined
  /** What of it cannot be kept as it is. */
  wrong: InputProblem[]
  problem: { type: string | undefined; detail: string }
}

function makeExchange(
  url: string,
  moreHeaders: () => Record<string, string>,
): (operation: string, call: Call, body: object) => Promise<Exchanged> {
  const isSecure = url.startsWith('https:')
  const pooled = { keepAlive: true, maxSockets: MAX_CONNECTIONS, timeout: IDLE_MS }
  const agent = isSecure ? new HttpsAgent(pooled) : new HttpAgent(pooled)
  const request = isSecure ? httpsRequest : httpRequest
  return async (operation, { sagaId, step, attempt, signal = AbortSignal.timeout(CALL_MS) }, body) => {
    signal.throwIfAborted()
    const payload = Buffer.from(JSON.stringify(body))
    const headers = {
      ...moreHeaders(),
      'content-type': 'application/json',
      'content-length': payload.length,
      accept: 'application/json, application/problem+json',
      'saga-id': toHeader(sagaId),
      'saga-step': toHeader(step),
      ...(attempt !== undefined && { 'saga-attempt': attempt }),
    }
    return new Promise((resolve, reject) => {
      const sent = request(`${url}/${operation}`, { method: 'POST', agent, signal, headers }, (response) =>
        resolve(read(response)),
      )
      sent.on('error', reject)
      sent.end(payload)
    })
  }
}

async function read(response: IncomingMessage): Promise<Exchanged> {
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of response as AsyncIterable<Buffer>) {
    size += chunk.length
    if (size > MAX_BODY_BYTES) throw new TooLarge()
    chunks.push(chunk)
  }
  const { json, wrong } = parsed(Buffer.concat(chunks))
  const isProblem = /^application\/problem\+json\b/.test(response.headers['content-type'] ?? '')
  return { status: response.statusCode ?? 0, json, wrong, problem: problemOf(isProblem ? json : undefined) }
}

function parsed(body: Buffer): Pick<Exchanged, 'json' | 'wrong'> {
  try {
    const text = new TextDecoder('utf-8', { fatal: true }).decode(body)
    const json = JSON.parse(text) as Json
    return { json, wrong: problemsOfText(text, json) }
  } catch {
    return { json: undefined, wrong: [] }
  }
}

/** Its text goes into log rows and before people, once secrets are taken out of it: until then there is room for them. */
function problemOf(json: Json | undefined): Exchanged['problem'] {
  const { type, detail } = isObject(json) ? json : {}
  return {
    type: typeof type === 'string' ? type : undefined,
    detail: typeof detail === 'string' ? detail.replaceAll(/\p{Cc}|\p{Cs}/gu, ' ').slice(0, 10_000) : '',
  }
}

function isObject(json: Json | undefined): json is Answer & Json {
  return typeof json === 'object' && json !== null && !Array.isArray(json)
}

import { randomUUID } from 'node:crypto'
import type { Json } from '../types.js'
import type { BarredParticipant, Call } from '../node/barrier.js'
import { canonical } from '../node/canonical.js'
import { MAX_BODY_BYTES, ProblemType, toHeader } from '../node/participant-protocol.js'
import { remoteParticipant } from '../node/remote.js'

export interface ConformanceOptions {
  /** Input that the participant takes. */
  input: Json
  /** Input that it refuses for business reasons. */
  refusedInput?: Json
  /** How often an invoke and a compensation are sent at once. */
  rounds?: number
}

/** A rule of docs/participant-protocol.md, and what became of it: `broken` says what was seen. */
export interface CheckedRule {
  rule: string
  broken?: string
  /** Why it was not checked. */
  skipped?: string
}

/** Throws in a rule: this was seen instead. */
class Broken extends Error {}
class Skipped extends Error {}

/**
 * Checks a running participant against docs/participant-protocol.md, rule by rule, by calls alone: under new saga ids, and
 * with what it did compensated at the end. `report` is told each rule as it is done. Where the participant has `verify`, it
 * is seen that effects are one or none; else only its answers are judged.
 */
export async function checkParticipant(
  url: string,
  options: ConformanceOptions,
  report: (rule: CheckedRule) => void = () => {},
): Promise<CheckedRule[]> {
  const checked: CheckedRule[] = []
  const done = (rule: CheckedRule) => {
    checked.push(rule)
    report(rule)
  }
  for (const [rule, check] of Object.entries(makeRules(url.replace(/\/$/, ''), options))) {
    try {
      await check()
      done({ rule })
    } catch (error) {
      if (error instanceof Skipped) done({ rule, skipped: error.message })
      else done({ rule, broken: (error as Error).message })
      // Nobody is there, or it is not a participant: the rest would only say so again.
      if (checked.length === 1 && !(error instanceof Skipped)) return checked
    }
  }
  return checked
}

/** What a call comes to: its verdict, or the type of its failure; of a refusal with its words. */
type Seen = string

async function seen(call: Promise<{ verdict: string } | string>): Promise<Seen> {
  try {
    const answer = await call
    return typeof answer === 'string' ? answer : answer.verdict
  } catch (error) {
    const { type, message } = error as { type?: string; message: string }
    return type === 'LateInvoke' || type === 'Rejected' ? type : `${type ?? 'an error'} (${message})`
  }
}

const expectSeen = (what: string, found: Seen, ...right: Seen[]) => {
  if (!right.includes(found)) throw new Broken(`${what}: ${found}; right is ${right.join(' or ')}`)
}

function makeRules(url: string, options: ConformanceOptions): Record<string, () => Promise<void>> {
  const { input, refusedInput, rounds = 100 } = options
  const participant: BarredParticipant = remoteParticipant('the participant', url).as(undefined)
  const newCall = () => ({ sagaId: `conformance-${randomUUID()}`, step: 'A', input })
  const invoke = (call: Call & { input: Json; decisions?: number }) => participant.invoke(call)
  const compensate = ({ sagaId, step }: Call) => participant.compensate({ sagaId, step })

  /** Where it can look: that exactly so many effects of the saga stand. */
  async function expectEffects(when: string, call: Call, count: number): Promise<void> {
    const left = await participant.verify({ sagaId: call.sagaId, step: call.step })
    if (left !== undefined && left.length !== count) {
      const what = left.length === 0 ? 'nothing' : left.join(', ')
      throw new Broken(`${when} verify finds ${what}; right is ${count === 0 ? 'nothing' : 'one effect'}`)
    }
  }

  async function expectLate(when: string, call: Call & { input: Json }): Promise<void> {
    expectSeen(`an invoke ${when}`, await seen(invoke(call)), 'LateInvoke')
    await expectEffects(`after an invoke ${when}`, call, 0)
  }

  return {
    'it is there: GET /health answers 200': async () => {
      const answer = await fetch(`${url}/health`).catch((error: Error) => {
        throw new Broken(`no answer at ${url}: ${(error.cause as Error | undefined)?.message ?? error.message}`)
      })
      if (answer.status !== 200) throw new Broken(`it answers ${answer.status}`)
    },

    'an invoke is applied, and a compensation undoes it': async () => {
      const call = newCall()
      expectSeen('the first invoke', await seen(invoke(call)), 'applied')
      await expectEffects('after it', call, 1)
      expectSeen('its compensation', await seen(compensate(call)), 'done')
      await expectEffects('after its compensation', call, 0)
    },

    'an invoke that is sent again is answered with what was kept': async () => {
      const call = newCall()
      const first = await invoke(call)
      for (const again of ['second', 'third']) {
        const { verdict, result } = await invoke(call)
        expectSeen(`the ${again} invoke`, verdict, 'duplicate')
        expectSame(`the ${again} invoke's result`, result, first.result)
      }
      await expectEffects('after three invokes', call, 1)
      await compensate(call)
    },

    'of ten invokes at once one is applied': async () => {
      for (let round = 0; round < 5; round += 1) {
        const call = newCall()
        const answers = await Promise.all(Array.from({ length: 10 }, () => invoke(call)))
        const applied = answers.filter(({ verdict }) => verdict === 'applied').length
        if (applied !== 1) throw new Broken(`${applied} of 10 say applied; right is 1`)
        for (const { result } of answers) expectSame('one of the results', result, answers[0]?.result ?? null)
        await expectEffects('after them', call, 1)
        await compensate(call)
      }
    },

    'a compensation that is sent again answers as the first': async () => {
      const call = newCall()
      await invoke(call)
      const answers = await Promise.all(Array.from({ length: 5 }, () => seen(compensate(call))))
      for (const one of answers) expectSeen('one of five compensations at once', one, 'done')
      expectSeen('a sixth', await seen(compensate(call)), 'done')
      await expectEffects('after them', call, 0)
    },

    'an invoke after its compensation is late, and changes nothing': async () => {
      const call = newCall()
      await invoke(call)
      await compensate(call)
      await expectLate('after its compensation', call)
      await expectLate('once more', call)
    },

    'a compensation of what never was is empty, and an invoke behind it is late': async () => {
      const call = newCall()
      expectSeen('the compensation', await seen(compensate(call)), 'empty')
      expectSeen('the same again', await seen(compensate(call)), 'empty')
      await expectLate('behind it', call)
      expectSeen('the compensation behind that', await seen(compensate(call)), 'empty')
    },

    [`an invoke and a compensation at once, ${rounds} times, end as one after the other`]: async () => {
      const round = async (number: number) => {
        const call = newCall()
        const both = number % 2 === 0 ? [invoke, compensate] : [compensate, invoke]
        const answers = await Promise.all(both.map((one) => seen(one(call))))
        const [invoked, compensated] = number % 2 === 0 ? answers : answers.toReversed()
        expectSeen('together', `${invoked} and ${compensated}`, 'applied and done', 'LateInvoke and empty')
        await expectEffects('after both', call, 0)
        expectSeen('an invoke behind both', await seen(invoke(call)), 'LateInvoke')
      }
      for (let number = 0; number < rounds; number += 5) {
        await Promise.all([0, 1, 2, 3, 4].map((more) => round(number + more)))
      }
    },

    'steps of a saga, and sagas, know nothing of each other': async () => {
      const call = newCall()
      const other = newCall()
      await invoke(call)
      expectSeen('the compensation of another step', await seen(compensate({ ...call, step: 'B' })), 'empty')
      expectSeen('the invoke of another saga', await seen(invoke(other)), 'applied')
      expectSeen('the compensation of that', await seen(compensate(other)), 'done')
      await expectEffects('of the first saga, behind all that,', call, 1)
      expectSeen('its own compensation', await seen(compensate(call)), 'done')
    },

    'a saga id is any text of up to 255 characters': async () => {
      const odd = `${randomUUID()} Zoë/%2F?&"'<é>, 漢字 😀 `
      const long = odd + '漢'.repeat(255 - Array.from(odd).length)
      for (const sagaId of [odd, long]) {
        const call = { ...newCall(), sagaId }
        expectSeen(`the invoke of ${sagaId}`, await seen(invoke(call)), 'applied')
        expectSeen('the same again', await seen(invoke(call)), 'duplicate')
        expectSeen('its compensation', await seen(compensate(call)), 'done')
      }
    },

    'a refusal is kept: sent again, and with better input, it is the same': async () => {
      const refused = { ...newCall(), input: refusedOr(refusedInput) }
      const first = await refusalOf(invoke(refused))
      for (const again of [refused, { ...refused, input }]) {
        const next = await refusalOf(invoke(again))
        if (next !== first) throw new Broken(`first it said "${first}", then "${next}"`)
      }
      await expectEffects('after a refusal', refused, 0)
      expectSeen('its compensation', await seen(compensate(refused)), 'empty')
      await expectLate('behind that', refused)
    },

    'behind a new decision a refusal is asked for again': async () => {
      const refused = { ...newCall(), input: refusedOr(refusedInput) }
      await refusalOf(invoke(refused))
      const decided = { ...refused, input, decisions: 1 }
      expectSeen('the invoke with decisions 1', await seen(invoke(decided)), 'applied')
      await expectEffects('after it', refused, 1)
      expectSeen('its compensation', await seen(compensate(refused)), 'done')
    },

    'after forbid (where it has it) a compensation runs nothing, and an invoke is late': async () => {
      const call = newCall()
      await invoke(call)
      // A service without it is asked to settle, which does not hold a compensation back.
      if (!(await hasForbid(url, call))) throw new Skipped('it has no forbid')
      await participant.forbid(call)
      expectSeen('the compensation', await seen(compensate(call)), 'forbidden')
      await expectEffects('after it', call, 1)
      const never = newCall()
      await participant.forbid(never)
      await expectLate('after forbid', never)
      const undone = newCall()
      await invoke(undone)
      await compensate(undone)
      await participant.forbid(undone)
      expectSeen('a compensation that was done before, sent again', await seen(compensate(undone)), 'done')
    },

    'calls that are not right are problems, and do nothing': () => checkBadCalls(url, newCall, compensate),

    'settle (where it has it) says applied, or makes sure that it never will be': async () => {
      const applied = newCall()
      const { result } = await invoke(applied)
      const settled = await participant.settle(applied).catch((error: Error) => {
        throw /answered (404|501)/.test(error.message) ? new Skipped('it has no settle') : error
      })
      expectSeen('of what was applied', settled.verdict, 'applied')
      if (settled.verdict === 'applied') expectSame('its result', settled.result, result)
      expectSeen('the invoke behind that', await seen(invoke(applied)), 'duplicate')
      await compensate(applied)
      const never = newCall()
      expectSeen('of what never was', await seen(participant.settle(never)), 'empty')
      await expectLate('behind that', never)
    },

    'probe (where it has it) says whether there is an effect': async () => {
      const call = newCall()
      const before = await participant.probe(call)
      if (before === undefined) throw new Skipped('it has no probe')
      if (before.applied) throw new Broken('it says applied of what never was')
      const { result } = await invoke(call)
      const after = await participant.probe(call)
      if (!after?.applied) throw new Broken('it says not applied of what was applied')
      expectSame('its result', after.result, result)
      await compensate(call)
    },
  }
}

/** Forbids it, where the participant can. */
async function hasForbid(url: string, { sagaId, step }: Call): Promise<boolean> {
  const headers = { 'content-type': json, 'saga-id': toHeader(sagaId), 'saga-step': toHeader(step) }
  const { status } = await fetch(`${url}/forbid`, { method: 'POST', headers, body: '{}' })
  return status !== 404 && status !== 501
}

function refusedOr(input: Json | undefined): Json {
  if (input === undefined) throw new Skipped('--refused-input was not given')
  return input
}

function expectSame(what: string, found: Json, right: Json): void {
  if (canonical(found) === canonical(right)) return
  throw new Broken(`${what} is ${JSON.stringify(found)}; right is the kept ${JSON.stringify(right)}`)
}

async function refusalOf(call: Promise<{ verdict: string }>): Promise<string> {
  try {
    const { verdict } = await call
    throw new Broken(`the refused input is answered with ${verdict}; right is a refusal`)
  } catch (error) {
    const { type, message } = error as { type?: string; message: string }
    if (type === 'Rejected') return message
    throw error
  }
}

const json = 'application/json'

/** Each must be answered with a problem of that status (or another 4xx), and none may do anything. */
async function checkBadCalls(
  url: string,
  newCall: () => Call & { input: Json },
  compensate: (call: Call) => Promise<string>,
): Promise<void> {
  const { input } = newCall()
  const right = JSON.stringify({ input })
  const cases: {
    what: string
    path?: string
    method?: string
    type?: string
    body?: string | Uint8Array<ArrayBuffer>
    headers?: Headers
  }[] = [
    { what: 'a body that is not JSON', body: '{"input":' },
    { what: 'no body', body: '' },
    { what: 'a body that is no object', body: '[]' },
    { what: 'a body without input', body: '{}' },
    { what: 'a field that nobody knows', body: JSON.stringify({ input, undo: true }) },
    { what: 'decisions that are no number', body: JSON.stringify({ input, decisions: 'many' }) },
    {
      what: 'a body that is not UTF-8',
      body: Buffer.concat([Buffer.from(right.slice(0, -1)), Buffer.from([0xff, 0x7d])]),
    },
    { what: 'a NUL in the input', body: '{"input":"\\u0000"}' },
    { what: 'half a character in the input', body: '{"input":"\\ud800"}' },
    { what: 'an integer beyond 2^53 - 1', body: '{"input":9007199254740993}' },
    { what: 'an integer beyond 2^53 - 1 within the input', body: '{"input":{"id":[12345678901234567890]}}' },
    { what: 'a number that no double holds', body: '{"input":1e400}' },
    { what: 'an input of 10,000 levels', body: `{"input":${'['.repeat(10_000)}${']'.repeat(10_000)}}` },
    {
      what: `a body of more than ${MAX_BODY_BYTES} bytes`,
      body: JSON.stringify({ input: 'x'.repeat(MAX_BODY_BYTES) }),
    },
    { what: 'a body that is called text/plain', type: 'text/plain' },
    { what: 'no Saga-Id', headers: { 'saga-id': undefined } },
    { what: 'no Saga-Step', headers: { 'saga-step': undefined } },
    { what: 'a Saga-Id that is encoded wrongly', headers: { 'saga-id': '%zz' } },
    { what: 'a Saga-Id that is not UTF-8', headers: { 'saga-id': '%ff' } },
    { what: 'a Saga-Id of 256 characters', headers: { 'saga-id': 'x'.repeat(256) } },
    { what: 'a call from a web page', headers: { origin: 'http://example.com' } },
    { what: 'PUT /invoke', method: 'PUT' },
    { what: 'an operation that nobody knows', path: '/nothing' },
  ]
  for (const { what, path = '/invoke', method = 'POST', type = json, body = right, headers = {} } of cases) {
    const call = newCall()
    const all: Headers = {
      'content-type': type,
      'saga-id': toHeader(call.sagaId),
      'saga-step': toHeader(call.step),
      ...headers,
    }
    const sent = Object.entries(all).filter((one): one is [string, string] => one[1] !== undefined)
    const answer = await fetch(url + path, { method, headers: sent, body })
    const text = await answer.text()
    const about = `${what} is answered with ${answer.status} ${text.slice(0, 200)}`
    if (answer.status < 400 || answer.status > 499) throw new Broken(`${about}; right is a 4xx`)
    if (!(answer.headers.get('content-type') ?? '').startsWith('application/problem+json')) {
      throw new Broken(`${about}; right is application/problem+json`)
    }
    const problem = JSON.parse(text) as Record<string, unknown>
    if (problem['status'] !== answer.status) throw new Broken(`${about}; right is the same status in the body`)
    const kinds: unknown[] = [ProblemType.Rejected, ProblemType.LateInvoke]
    if (kinds.includes(problem['type'])) throw new Broken(`${about}; right is a type that is no answer of the business`)
    if (/Traceback|SQLSTATE|\n\s+at /.test(text)) throw new Broken(`${about}; no insides are to be shown`)
    if (method === 'PUT' || path !== '/invoke') continue
    expectSeen(`after ${what} the compensation`, await seen(compensate(call)), 'empty')
  }
}

type Headers = Record<string, string | undefined>

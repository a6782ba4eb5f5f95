import type { FastifyRequest } from 'fastify'
import type { Config } from '../config.js'
import type { InputProblem } from '../saga/errors.js'
import type { Failures } from '../saga/failure.js'
import type { Rejection } from '../saga/node/saga-bulk.js'
import { problemsWithoutValues } from '../saga/node/saga-store.js'
import { makeCheck } from '../validation.js'
import { createUser, type CreateUser } from '../workflows/create-user-input.js'
import { requireRole } from './access.js'
import type { Line } from './ndjson.js'
import { HttpProblem, invalidBody } from './problem.js'
import { BulkEnvelope, MOST_REJECTIONS, MOST_SAGAS } from './schemas/bulk.js'

/** What a call is to start, and what of it was not right. */
export interface Intake {
  inputs: { input: CreateUser & Record<string, string>; failures?: Failures }[]
  rejected: number
  /** The first of them. */
  rejections: Rejection[]
}

const checkEnvelope = makeCheck(BulkEnvelope)

/** Reads the body of a bulk, saga by saga as it comes, whichever of the two ways it is written. */
export class BulkIntake {
  readonly #intake: Intake = { inputs: [], rejected: 0, rejections: [] }
  readonly #isJson: boolean

  constructor(
    private readonly request: FastifyRequest,
    private readonly config: Pick<Config, 'failureInjection'>,
    private readonly options: { isSkipping: boolean },
  ) {
    this.#isJson = !isAsyncIterable(request.body)
  }

  /** Throws the problem that refuses the call. */
  async read(): Promise<Intake> {
    let count = 0
    for await (const line of this.#lines()) {
      if (++count > MOST_SAGAS) throw tooMany()
      if ('problems' in line) this.#reject(line.line, line.problems)
      else this.#take(line.line, line.value)
    }
    const { inputs, rejected, rejections } = this.#intake
    if (rejected > 0 && !this.options.isSkipping) throw this.#refusal(`${rejected} of its ${count} sagas are not`)
    if (inputs.length === 0) {
      throw rejections.length > 0
        ? this.#refusal('none of its sagas is')
        : new HttpProblem(400, 'The body holds no saga; send one at least.')
    }
    return this.#intake
  }

  #lines(): AsyncIterable<Line> | Iterable<Line> {
    const { body, bodyProblems = [] } = this.request
    if (isAsyncIterable(body)) return body as AsyncIterable<Line>
    const errors = checkEnvelope(body)
    if (errors.length > 0) throw new HttpProblem(400, 'The body is not right.', { errors })
    // With as many as are told at most there may be others.
    if (bodyProblems.length >= MOST_SAGAS) throw invalidBody(bodyProblems.slice(0, MOST_REJECTIONS))
    const wrong = new Map<number, InputProblem[]>()
    for (const { path, message } of bodyProblems) {
      const [, i, within = ''] = /^\/sagas\/(\d+)(.*)$/s.exec(path) ?? []
      wrong.set(Number(i), [...(wrong.get(Number(i)) ?? []), { path: within, message }])
    }
    return (body as { sagas: unknown[] }).sagas.map((value, i) => {
      const problems = wrong.get(i)
      return problems ? { line: i + 1, problems } : { line: i + 1, value }
    })
  }

  #take(line: number, value: unknown): void {
    const parsed = createUser.parse(value)
    if ('problems' in parsed) return this.#reject(line, problemsWithoutValues(parsed.problems, value))
    if (parsed.failures) this.#allowFailures()
    this.#intake.inputs.push(parsed)
  }

  #allowFailures(): void {
    requireRole(this.request, 'operator')
    if (!this.config.failureInjection) {
      throw new HttpProblem(403, 'Failure injection is off here; leave `failures` out.')
    }
  }

  #reject(line: number, errors: InputProblem[]): void {
    this.#intake.rejected += 1
    if (this.#intake.rejections.length < MOST_REJECTIONS) this.#intake.rejections.push({ line, errors })
  }

  #refusal(what: string): HttpProblem {
    const errors = this.#intake.rejections
      .flatMap(({ line, errors }) =>
        errors.map(({ path, message }) =>
          this.#isJson ? { path: `/sagas/${line - 1}${path}`, message } : { line, path, message },
        ),
      )
      .slice(0, MOST_REJECTIONS)
    return new HttpProblem(400, `The body is not right: ${what}. Nothing was started; see errors.`, { errors })
  }
}

function tooMany(): HttpProblem {
  return new HttpProblem(400, `The body has more than ${MOST_SAGAS} sagas; send them in several calls.`)
}

function isAsyncIterable(body: unknown): boolean {
  return typeof body === 'object' && body !== null && Symbol.asyncIterator in body
}

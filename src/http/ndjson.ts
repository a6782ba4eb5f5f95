import { isUtf8 } from 'node:buffer'
import type { Readable } from 'node:stream'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import type { InputProblem } from '../saga/errors.js'
import { problemsOfText } from '../saga/exact-json.js'
import { headProblem, tooLarge } from './body.js'

/** A line that is not blank, by its number from 1: what it holds, or why it holds nothing. */
export type Line = { line: number; value: unknown } | { line: number; problems: InputProblem[] }

/** A line at most. Sagas that are started one by one have as much. */
const LINE_BYTES = 64 * 1024

const NEWLINE = 0x0a

/**
 * Bodies of `application/x-ndjson` reach the routes of `app` as what is to be read of them, line by line as it comes. The
 * body may have `bodyLimit` bytes.
 */
export function acceptNdjson(app: FastifyInstance, bodyLimit: number): void {
  const parse = app.getDefaultJsonParser('error', 'error')
  const read = (request: FastifyRequest, text: Buffer): Omit<Line, 'line'> & object => {
    if (!isUtf8(text)) return whole('is not valid UTF-8')
    let found: { problems: InputProblem[] } | { value: unknown } = whole('is not valid JSON')
    // It answers at once; what it says of the error may have the text in it.
    const json = text.toString()
    void parse(request, json, (error, value) => {
      if (error) return
      const problems = problemsOfText(json, value)
      found = problems.length > 0 ? { problems } : { value }
    })
    return found
  }

  async function* lines(request: FastifyRequest, body: Readable): AsyncGenerator<Line> {
    let line = 0
    for await (const text of split(body, bodyLimit)) {
      line += 1
      if (text === undefined) yield { line, ...whole(`has more than ${LINE_BYTES} bytes`) }
      else if (!isBlank(text)) yield { line, ...read(request, text) } as Line
    }
  }

  app.addContentTypeParser('application/x-ndjson', (request, body, done) => {
    done(headProblem(request) ?? null, lines(request, body))
  })
}

/** A problem of the line as a whole. */
const whole = (message: string): { problems: InputProblem[] } => ({ problems: [{ path: '', message }] })

/** The lines of a body without their ends; undefined in the place of one that is too long, of which nothing is kept. */
async function* split(body: Readable, bodyLimit: number): AsyncGenerator<Buffer | undefined> {
  let begun: Buffer[] = []
  let length = 0
  let bytes = 0
  const add = (part: Buffer) => {
    length += part.length
    if (length <= LINE_BYTES) begun.push(part)
    else begun = []
  }
  const end = () => {
    const text = length <= LINE_BYTES ? Buffer.concat(begun) : undefined
    begun = []
    length = 0
    return text
  }
  try {
    // Whoever stops reading has an answer to give: a body that is destroyed takes its connection along.
    for await (const chunk of body.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
      bytes += chunk.length
      if (bytes > bodyLimit) throw tooLarge(bodyLimit)
      let from = 0
      for (let to = chunk.indexOf(NEWLINE); to >= 0; to = chunk.indexOf(NEWLINE, from)) {
        add(chunk.subarray(from, to))
        yield end()
        from = to + 1
      }
      add(chunk.subarray(from))
    }
    if (length > 0) yield end()
  } finally {
    // And a caller who is still sending reads it only when that is done.
    body.resume()
  }
}

const isBlank = (text: Buffer) => text.every((byte) => byte === 0x20 || byte === 0x09 || byte === 0x0d)

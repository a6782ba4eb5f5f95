import { Agent, request } from 'node:http'

/** Keeps connections, for a saga is not to be charged for one. To be destroyed where they have been idle: their server may be about to close them. */
export const kept = new Agent({ keepAlive: true })

interface AskOptions {
  body?: string | Buffer
  type?: string
  /** That the answer has to have. */
  status: number
  /** A connection of its own where it is left out. */
  agent?: Agent | false
}

/** Asks for JSON by the plainest client there is, for it takes its CPU from what is measured. */
export function ask<T>(
  method: 'GET' | 'POST' | 'PUT',
  url: string,
  { body, type = 'application/json', status, agent = false }: AskOptions,
): Promise<T> {
  return new Promise((resolve, reject) => {
    const headers = { 'content-type': type, 'content-length': Buffer.byteLength(body ?? '') }
    const asked = request(url, { method, agent, headers: body === undefined ? {} : headers }, (answer) => {
      const chunks: Buffer[] = []
      answer.on('data', (chunk: Buffer) => chunks.push(chunk))
      answer.on('error', reject)
      answer.on('end', () => {
        const text = Buffer.concat(chunks).toString()
        if (answer.statusCode === status) resolve(JSON.parse(text) as T)
        else reject(new Error(`${method} ${url} answered ${answer.statusCode}, not ${status}: ${text.slice(0, 500)}`))
      })
    })
    asked.on('error', ({ message }) => reject(new Error(`${method} ${url} got no answer: ${message}`)))
    asked.end(body)
  })
}

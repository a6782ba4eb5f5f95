import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { FastifyError, FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { securityHeaders } from './guards.js'
import { handleError, toProblem } from './problem.js'

/** A URL that can't be read, or is too long. */
export function frameworkErrors(error: FastifyError, request: FastifyRequest, reply: FastifyReply): void {
  handleError(error, request, reply.headers(securityHeaders))
}

/** The latest request of each connection. */
const latest = new WeakMap<Socket, { request: IncomingMessage; response: ServerResponse }>()

/** Requests that are broken before they are requests, or before their bodies are whole. */
export function clientErrorHandler(error: Error & { code?: string }, socket: Socket): void {
  if (error.code === 'ECONNRESET' || !socket.writable) return void socket.destroy()
  const { request, response } = latest.get(socket) ?? {}
  // Refused before its body was read, or still being answered: a second answer would be taken for that of the next request,
  // or for a part of the first.
  if (response?.headersSent && !(request?.complete && response.writableEnded)) return socket.destroySoon()
  const [status, detail]: [number, string] =
    error.code === 'HPE_HEADER_OVERFLOW'
      ? [431, 'The headers are too large.']
      : error.code === 'ERR_HTTP_REQUEST_TIMEOUT'
        ? [408, 'The request did not come in whole in time.']
        : [400, 'The request is not valid HTTP.']
  refuse(socket, status, detail)
}

/** Also what Node refuses by itself, with an empty answer or none: a tunnel, and an Expect that is not 100-continue. */
export function refuseWithProblems({ server }: FastifyInstance): void {
  server.on('request', (request, response) => latest.set(request.socket, { request, response }))
  const allow = 'GET, HEAD, POST, PUT'
  server.on('connect', (_request, socket) => {
    refuse(socket as Socket, 405, `CONNECT is not possible here; ${allow} is.`, { allow })
  })
  server.on('checkExpectation', ({ socket }) => refuse(socket, 417, 'Leave the header Expect out.'))
}

function refuse(socket: Socket, status: number, detail: string, more: Record<string, string> = {}): void {
  const problem = toProblem(status, detail)
  const body = JSON.stringify(problem)
  const head = {
    ...securityHeaders,
    ...more,
    'content-type': 'application/problem+json',
    'content-length': Buffer.byteLength(body),
    connection: 'close',
  }
  const lines = Object.entries(head).map(([name, value]) => `${name}: ${value}\r\n`)
  socket.end(`HTTP/1.1 ${status} ${problem.title}\r\n${lines.join('')}\r\n${body}`)
}

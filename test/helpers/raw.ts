import { request, type IncomingMessage } from 'node:http'
import { connect } from 'node:net'
import { text } from 'node:stream/consumers'

export interface RawAnswer {
  status: number
  headers: Record<string, string>
  body: string
}

/** A request as fetch can't send it: with a Host of its own, repeated headers, or a path that is left as it is. */
export function rawRequest(
  api: string,
  {
    method = 'GET',
    path,
    headers = {},
    body,
  }: { method?: string; path: string; headers?: Record<string, string | string[]>; body?: string | Buffer | undefined },
): Promise<RawAnswer> {
  const { hostname, port } = new URL(api)
  return new Promise((resolve, reject) => {
    const call = request({ hostname, port, method, path, headers, agent: false }, (response) =>
      resolve(readAnswer(response)),
    )
    call.on('error', reject)
    call.end(body)
  })
}

/** Bytes that need not be HTTP; what comes back until the server closes the connection. */
export function rawBytes(api: string, bytes: string): Promise<RawAnswer> {
  const { hostname, port } = new URL(api)
  return new Promise((resolve, reject) => {
    const socket = connect(Number(port), hostname, () => socket.write(bytes, 'latin1'))
    socket.on('error', reject)
    resolve(text(socket).then(parseAnswer))
  })
}

/** Bytes, and others once something has come back; all that comes back until the server closes the connection. */
export function rawInTwo(api: string, first: string, then: string): Promise<string> {
  const { hostname, port } = new URL(api)
  return new Promise((resolve) => {
    const socket = connect(Number(port), hostname, () => socket.write(first, 'latin1'))
    let answer = ''
    socket.on('data', (data) => {
      if (answer === '') socket.write(then, 'latin1')
      answer += String(data)
    })
    socket.on('error', () => {})
    socket.on('close', () => resolve(answer))
  })
}

interface Endless {
  first: string
  then: string
  everyMs: number
}

/** A request that never comes to its end: what comes back until the server closes the connection, and how much it took. */
export function rawEndless(api: string, { first, then, everyMs }: Endless): Promise<RawAnswer & { bytes: number }> {
  const { hostname, port } = new URL(api)
  return new Promise((resolve) => {
    let more: NodeJS.Timeout | undefined
    const socket = connect(Number(port), hostname, () => {
      socket.write(first, 'latin1')
      more = setInterval(() => socket.write(then, 'latin1'), everyMs)
    })
    let answer = ''
    socket.on('data', (data) => {
      clearInterval(more)
      answer += String(data)
    })
    // A server that has heard enough may reset the connection, behind its answer.
    socket.on('error', () => {})
    socket.on('close', () => {
      clearInterval(more)
      resolve({ ...parseAnswer(answer), bytes: socket.bytesWritten })
    })
  })
}

async function readAnswer(response: IncomingMessage): Promise<RawAnswer> {
  const headers = response.headers as Record<string, string>
  return { status: response.statusCode ?? 0, headers, body: await text(response) }
}

function parseAnswer(answer: string): RawAnswer {
  const [head = '', body = ''] = answer.split('\r\n\r\n')
  const [statusLine = '', ...lines] = head.split('\r\n')
  const headers = Object.fromEntries(lines.map((line) => line.toLowerCase().split(': ') as [string, string]))
  return { status: Number(statusLine.split(' ')[1]), headers, body }
}

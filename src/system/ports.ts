import { createServer, connect, type AddressInfo, type Server } from 'node:net'
import { once } from 'node:events'
import { StartError } from './start-error.js'

export interface WantedPort {
  /** The variable that moves it, for the message. */
  variable: string
  host: string
  /** 0: any free one. */
  port: number
}

/**
 * Makes sure that ports are free, and returns them in the order given, each 0 replaced by a port that was free just
 * now. Throws a StartError that names the first one in use and the variable that moves it.
 *
 * A probe, not a reservation: whoever is to listen may still lose a race. Asked for together, so that no two are equal.
 */
export async function findPorts<K extends string>(wanted: Record<K, WantedPort>): Promise<Record<K, number>> {
  const held: Server[] = []
  const found: Partial<Record<K, number>> = {}
  try {
    // Fixed ports first: one that any other could be must not be given away.
    const entries = Object.entries<WantedPort>(wanted).toSorted(
      ([, a], [, b]) => Number(b.port > 0) - Number(a.port > 0),
    )
    for (const [key, { variable, host, port }] of entries) {
      const twin = entries.find(([other, { port: taken }]) => port > 0 && other !== key && taken === port)
      if (twin)
        throw new StartError(`${variable} and ${twin[1].variable} are both ${port}; each needs a port of its own.`)
      const server = await listen({ variable, host, port })
      held.push(server)
      found[key as K] = (server.address() as AddressInfo).port
    }
    return found as Record<K, number>
  } finally {
    await Promise.all(held.map((server) => new Promise((closed) => server.close(closed))))
  }
}

const LOCAL = /^(127\.0\.0\.1|localhost|0\.0\.0\.0|::)$/

async function listen({ variable, host, port }: WantedPort): Promise<Server> {
  // On macOS one may listen on 127.0.0.1 beside a program that listens on all addresses: ask at the door as well.
  if (port > 0 && LOCAL.test(host) && (await isAnswered(port))) throw inUse(variable, port)
  const server = createServer()
  try {
    server.listen({ host, port, exclusive: true })
    await once(server, 'listening')
    return server
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'EADDRINUSE') throw inUse(variable, port)
    if (code === 'EACCES') {
      throw new StartError(
        `Port ${port} may not be opened by this user; ${variable} moves it (for example ${variable}=${port + 10_000}).`,
      )
    }
    throw new StartError(`Nothing can listen on ${host}:${port} (${code}); HOST and ${variable} move it.`)
  }
}

function inUse(variable: string, port: number): StartError {
  const other = port < 65_535 ? port + 1 : port - 1
  return new StartError(
    `Port ${port} is in use by another program; ${variable} moves ours (${variable}=${other}, or ${variable}=0 for any free one).`,
  )
}

async function isAnswered(port: number): Promise<boolean> {
  const socket = connect({ host: '127.0.0.1', port, timeout: 500 })
  try {
    return await new Promise((resolve) => {
      socket.once('connect', () => resolve(true))
      socket.once('error', () => resolve(false))
      socket.once('timeout', () => resolve(false))
    })
  } finally {
    socket.destroy()
  }
}

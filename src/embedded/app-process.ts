import { ENDINGS } from './data-folder.js'
import { endProcess } from '../system/processes.js'
import { type Server, spawnServer, untilUp } from './servers.js'
import { StartError } from '../system/start-error.js'

/** What the child process with API and worker says to the supervisor. */
export type AppMessage =
  /** The API listens, and the worker's pollers have been seen. */
  | { type: 'ready'; url: string }
  /** It cannot start, and ends; the message is a sentence for the person at the terminal. */
  | { type: 'failed'; message: string }

export interface AppOptions {
  /** The program: a JavaScript file. */
  path: string
  env: NodeJS.ProcessEnv
  logFile: string
  recordFile: string
  signal: AbortSignal
}

export interface AppServer extends Server {
  url: string
}

const UP_TIMEOUT_MS = 90_000

/** glibc gives threads heaps of their own, and Temporal's core has many: 40 of 560 MB less in a bulk of 10,000, as fast. */
const MEMORY = { MALLOC_ARENA_MAX: '2' }

/**
 * Starts the child process with API and worker, and resolves when it says that it is ready. It ends by itself when the
 * channel to it closes, that is when we die.
 */
export async function startApp({ path, env, logFile, recordFile, signal }: AppOptions): Promise<AppServer> {
  const server = await spawnServer({
    file: process.execPath,
    args: [path],
    env: { ...MEMORY, ...env },
    logFile,
    recordFile,
    ipc: true,
  })
  const ready = new Promise<string>((resolve, reject) => {
    server.child.on('message', (message: AppMessage) => {
      if (message.type === 'ready') resolve(message.url)
      if (message.type === 'failed') reject(new StartError(message.message))
    })
  })
  ready.catch(() => {}) // It may fail after nobody waits any longer.
  const ending = ENDINGS.app
  const url = await untilUp(server, () => ready, { name: 'API + worker', timeoutMs: UP_TIMEOUT_MS, signal, ending })
  return { url, pid: server.record.pid, exited: server.exited, stop: () => endProcess(server.record, ending) }
}

import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, fstatSync, openSync, readFileSync, renameSync, statSync } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'
import { type Ending, endProcess, identify, KILL, type ProcessRecord, writeRecord } from '../system/processes.js'
import { StartError } from '../system/start-error.js'

/** How a process ended: one of the two is not null. */
export interface Exit {
  code: number | null
  signal: NodeJS.Signals | null
}

/** What all the servers that are started here have in common. */
export interface Server {
  pid: number
  /** Settles once, when the process has ended for whatever reason. Never rejects. */
  exited: Promise<Exit>
  /** Ends it cleanly, or by SIGKILL after some seconds. Safe to call at any time. */
  stop(): Promise<void>
  /** Rejects if the server runs and does not do its work. The signal ends the check. Without one, a server that runs counts as working. */
  check?(signal: AbortSignal): Promise<void>
}

export interface ServerProcess {
  child: ChildProcess
  record: ProcessRecord
  exited: Promise<Exit>
  /** What this process, and not an earlier one, has written last to its log. */
  logTail(): string
}

export interface SpawnOptions {
  file: string
  args: string[]
  env: NodeJS.ProcessEnv
  /** Gets stdout and stderr, appended. */
  logFile: string
  /** Where to note pid and start time, for whoever must end it when its starter is gone. */
  recordFile?: string | undefined
  /** The user to run as; only root can ask for one. */
  user?: { uid: number; gid: number } | undefined
  /** Open a channel for messages. */
  ipc?: boolean
}

/**
 * Starts a process in a session of its own, so that the terminal's Ctrl-C does not reach it, with its output in a log
 * file. Throws a StartError where the file cannot be run.
 */
export async function spawnServer({
  file,
  args,
  env,
  logFile,
  recordFile,
  user,
  ipc,
}: SpawnOptions): Promise<ServerProcess> {
  const log = openLog(logFile)
  const logStart = fstatSync(log).size
  try {
    // Working directory "/": the user that it runs as may not be allowed into ours.
    const stdio = ['ignore' as const, log, log, ...(ipc ? ['ipc' as const] : [])]
    const child = spawn(file, args, { env, cwd: ipc ? undefined : '/', detached: true, stdio, ...user })
    // Not 'exit', which may come before the last message that the process has sent.
    const exited = new Promise<Exit>((resolve) => child.once('close', (code, signal) => resolve({ code, signal })))
    if (child.pid === undefined) {
      const [error] = (await once(child, 'error')) as [Error]
      throw new StartError(`${file} cannot be run: ${error.message}.`)
    }
    // Its first moment is the only one at which a process that ends at once can be identified.
    const record = identify(child.pid) ?? { pid: child.pid, startedAt: '' }
    if (recordFile) writeRecord(recordFile, record)
    const logTail = () =>
      readFileSync(logFile).subarray(logStart).toString().trimEnd().split('\n').slice(-12).join('\n')
    return { child, record, exited, logTail }
  } finally {
    closeSync(log)
  }
}

export interface UntilUpOptions {
  /** How the part is called in messages. */
  name: string
  timeoutMs: number
  /** Gives the start up: an error is thrown once the process has ended. */
  signal?: AbortSignal | undefined
  /** How to end the process then; at once if left out. */
  ending?: Ending
}

/**
 * Waits until `probe` resolves, and returns what it resolved to. Where the process ends first, or the time is over, or
 * the probe throws, the process is ended and a StartError with the end of its log is thrown.
 */
export async function untilUp<T>(
  server: ServerProcess,
  probe: (signal: AbortSignal) => Promise<T>,
  { name, timeoutMs, signal, ending = KILL }: UntilUpOptions,
): Promise<T> {
  const over = new AbortController()
  const either = signal ? AbortSignal.any([signal, over.signal]) : over.signal
  const ended = async () => {
    const exit = await server.exited
    throw new StartError(`${name} ended while it was starting (${describeExit(exit)}).`, server.logTail())
  }
  const late = async () => {
    await delay(timeoutMs, undefined, { signal: either })
    throw new StartError(`${name} was not ready after ${timeoutMs / 1_000} s.`, server.logTail())
  }
  try {
    signal?.throwIfAborted()
    return await Promise.race([probe(either), ended(), late()])
  } catch (error) {
    await endProcess(server.record, ending)
    throw error
  } finally {
    over.abort()
  }
}

/** "signal SIGKILL" or "exit code 1". */
export function describeExit({ code, signal }: Exit): string {
  return signal ? `signal ${signal}` : `exit code ${code}`
}

const LOG_LIMIT_BYTES = 10_000_000

/** Opens a log for appending. One that has grown large is set aside, and the one set aside before it forgotten. */
function openLog(file: string): number {
  try {
    const bytes = statSync(file, { throwIfNoEntry: false })?.size ?? 0
    if (bytes > LOG_LIMIT_BYTES) renameSync(file, `${file}.1`)
    return openSync(file, 'a', 0o600)
  } catch (error) {
    throw new StartError(`The log ${file} cannot be written (${(error as Error).message}).`)
  }
}

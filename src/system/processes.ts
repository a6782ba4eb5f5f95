import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'

/**
 * A process as another program can recognise it later. Pids are used again, after a reboot or in a container soon;
 * a pid together with its start time is not.
 */
export interface ProcessRecord {
  pid: number
  /** Opaque, to be compared only: boot and ticks since then where there is a /proc, else what `ps` prints. */
  startedAt: string
}

/** Signals to send, each with the time in ms that the process then has to end before the next one follows. */
export type Ending = readonly (readonly [signal: NodeJS.Signals, graceMs: number])[]

export const KILL: Ending = [['SIGKILL', 2_000]]

const hasProc = existsSync('/proc/self/stat')

/** The record of a running process, or undefined where none has this pid (a zombie counts as none). */
export function identify(pid: number): ProcessRecord | undefined {
  const startedAt = hasProc ? startFromProc(pid) : startFromPs(pid)
  return startedAt === undefined ? undefined : { pid, startedAt }
}

/** Whether this very process, and not another one with its pid, still runs. */
export function isRunning(record: ProcessRecord): boolean {
  return identify(record.pid)?.startedAt === record.startedAt
}

/** Whether the system still lists any process with this pid, be it a zombie. */
export function isPidTaken(pid: number): boolean {
  try {
    return process.kill(pid, 0)
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
}

/** The command line of a process, or undefined where it cannot be read. */
export function commandLine(pid: number): string | undefined {
  try {
    if (hasProc) return readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ')
    return ps(pid, 'args=')
  } catch {
    return undefined
  }
}

/**
 * Ends a process, if it still runs, by the given signals in turn, and resolves when it is gone or the last signal's
 * time is over. SIGKILL goes to its whole process group. Works for any process, child or not.
 */
export async function endProcess(record: ProcessRecord, ending: Ending): Promise<void> {
  for (const [signal, graceMs] of ending) {
    if (!isRunning(record)) return
    sendSignal(record.pid, signal)
    const until = Date.now() + graceMs
    while (isRunning(record) && Date.now() < until) await delay(40)
  }
}

/** Kills a process and its group at once, without waiting. */
export function killProcess(record: ProcessRecord): void {
  if (isRunning(record)) sendSignal(record.pid, 'SIGKILL')
}

/** Writes a record to a file that `readRecord` reads back. Synchronous, so that no crash comes between spawn and note. */
export function writeRecord(file: string, record: ProcessRecord): void {
  writeFileSync(file, JSON.stringify(record), { mode: 0o600 })
}

/** The process that a file names, if it still runs; a file that is missing or broken names none. */
export function readRecord(file: string): ProcessRecord | undefined {
  try {
    const record = JSON.parse(readFileSync(file, 'utf8')) as ProcessRecord
    return isRunning(record) ? record : undefined
  } catch {
    return undefined
  }
}

/** Forgets a record. */
export function removeRecord(file: string): void {
  rmSync(file, { force: true })
}

function sendSignal(pid: number, signal: NodeJS.Signals): void {
  // What we spawn leads a group of its own; a process that somebody else started may not.
  const targets = signal === 'SIGKILL' ? [-pid, pid] : [pid]
  for (const target of targets) {
    try {
      process.kill(target, signal)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
    }
  }
}

function startFromProc(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    // The name, in parentheses, may itself hold spaces and parentheses. Behind it: the state, and 19 fields on the start.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    if (fields[0] === 'Z' || fields[0] === 'X') return undefined
    return `${readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()} ${fields[19]}`
  } catch {
    return undefined
  }
}

function startFromPs(pid: number): string | undefined {
  try {
    return ps(pid, 'stat=').startsWith('Z') ? undefined : ps(pid, 'lstart=') || undefined
  } catch {
    return undefined
  }
}

function ps(pid: number, column: string): string {
  const env = { PATH: '/bin:/usr/bin:/usr/sbin', LC_ALL: 'C' }
  return execFileSync('ps', ['-ww', '-o', column, '-p', String(pid)], { encoding: 'utf8', env }).trim()
}

import { execFileSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'

// Linux only: what a process has used is read from /proc.

/** The processes that are measured; a server's children count with it. */
export interface Pids {
  worker: number
  temporal: number
  postgres: number
}

/** CPU that each process and all it has started have used so far, in ms. */
export function cpuOf(pids: Pids): Record<keyof Pids, number> {
  const processes = readProcesses()
  const withChildren = (pid: number): number => {
    const children = [...processes].filter(([, { parent }]) => parent === pid)
    return (processes.get(pid)?.ms ?? 0) + children.reduce((sum, [child]) => sum + withChildren(child), 0)
  }
  return {
    worker: withChildren(pids.worker),
    temporal: withChildren(pids.temporal),
    postgres: withChildren(pids.postgres),
  }
}

const WATCH_MS = 100

/** Watches the memory of a process; to be called at the end, for the most that it had, in MB. */
export function watchMemory(pid: number): () => number {
  let most = 0
  const look = () => {
    try {
      const [, kB = '0'] = /^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? []
      most = Math.max(most, Number(kB) / 1_024)
    } catch {
      // It has ended meanwhile, and what it was asked for fails.
    }
  }
  const timer = setInterval(look, WATCH_MS)
  return () => {
    clearInterval(timer)
    look()
    return most
  }
}

const tickMs = 1_000 / Number(execFileSync('getconf', ['CLK_TCK'], { encoding: 'utf8' }))

/** Every process by its pid, with its parent, and its CPU with that of the children that it has buried. */
function readProcesses(): Map<number, { parent: number; ms: number }> {
  const processes = new Map<number, { parent: number; ms: number }>()
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    try {
      const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
      // The name, in parentheses, may itself hold spaces and parentheses. Behind it: state, parent, …, utime from the 12th.
      const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
      const ticks = fields.slice(11, 15).reduce((sum, field) => sum + Number(field), 0)
      processes.set(Number(pid), { parent: Number(fields[1]), ms: ticks * tickMs })
    } catch {
      // It has ended meanwhile.
    }
  }
  return processes
}

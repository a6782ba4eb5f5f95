import { execFileSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { performance } from 'node:perf_hooks'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Client as Temporal } from '@temporalio/client'

/** What is measured: its name, unit, and where less is better. */
export const MEASURES = {
  throughput: 'sagas/s',
  p50: 'ms, median latency',
  p95: 'ms, latency, 95 %',
  p99: 'ms, latency, 99 %',
  cpu: 'ms CPU a saga, all of it',
  workerCpu: 'ms CPU a saga, worker + API',
  temporalCpu: 'ms CPU a saga, Temporal',
  postgresCpu: 'ms CPU a saga, PostgreSQL',
  events: 'events of history',
  bytes: 'bytes of history',
} as const

export type Measured = Record<keyof typeof MEASURES, number>

/** The processes whose CPU counts; a server's children count with it. */
export interface Pids {
  worker: number
  temporal: number
  postgres: number
}

export interface Load {
  /** Makes one saga and resolves with its id once it has ended as it should; rejects where it has not. */
  one: () => Promise<string>
  sagas: number
  inFlight: number
  pids: Pids
  temporal: Temporal
}

/** What a saga leaves behind when its caller has been answered (timers, closed workflows) belongs to it. */
const TAIL_MS = 500
/** Histories that are looked at in each batch. */
const HISTORIES = 10

/** One batch of sagas, `inFlight` at a time; its figures and the sagas' ids. */
export async function measure({ one, sagas, inFlight, pids, temporal }: Load): Promise<{ ids: string[] } & Measured> {
  const before = cpuOf(pids)
  const begun = performance.now()
  const ids: string[] = []
  const latencies: number[] = []
  let next = 0
  const lane = async () => {
    while (next++ < sagas) {
      const asked = performance.now()
      ids.push(await one())
      latencies.push(performance.now() - asked)
    }
  }
  await Promise.all(Array.from({ length: Math.min(inFlight, sagas) }, lane))
  const ms = performance.now() - begun
  await sleep(TAIL_MS)
  const after = cpuOf(pids)
  const spent = (part: keyof Pids) => (after[part] - before[part]) / sagas
  const cpu = { workerCpu: spent('worker'), temporalCpu: spent('temporal'), postgresCpu: spent('postgres') }
  latencies.sort((a, b) => a - b)
  const at = (share: number) => latencies[Math.min(latencies.length - 1, Math.floor(latencies.length * share))] ?? NaN
  return {
    ids,
    throughput: (sagas / ms) * 1_000,
    p50: at(0.5),
    p95: at(0.95),
    p99: at(0.99),
    cpu: cpu.workerCpu + cpu.temporalCpu + cpu.postgresCpu,
    ...cpu,
    ...(await historyOf(temporal, ids.slice(0, HISTORIES))),
  }
}

export const median = (values: number[]): number => {
  const sorted = values.toSorted((a, b) => a - b)
  const middle = sorted.length / 2
  return ((sorted[Math.ceil(middle) - 1] ?? NaN) + (sorted[Math.floor(middle)] ?? NaN)) / 2
}

async function historyOf(temporal: Temporal, ids: string[]): Promise<{ events: number; bytes: number }> {
  const runs = await Promise.all(ids.map((id) => temporal.workflow.getHandle(id).describe()))
  return {
    events: median(runs.map(({ historyLength }) => historyLength)),
    bytes: median(runs.map(({ historySize }) => historySize ?? NaN)),
  }
}

/** CPU that each process and all it has started have used so far, in ms. */
function cpuOf(pids: Pids): Record<keyof Pids, number> {
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

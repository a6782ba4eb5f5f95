import { performance } from 'node:perf_hooks'
import { setTimeout as sleep } from 'node:timers/promises'
import { cpuOf, watchMemory, type Pids } from './processes.js'
import type { Measured } from './results.js'

/** What a saga leaves behind when its caller has been answered (timers, closed workflows) belongs to it. */
const TAIL_MS = 500

/** What `work` answers, and the CPU and memory that so many sagas took meanwhile. */
export async function measured<T>(
  pids: Pids,
  sagas: number,
  work: () => Promise<T>,
): Promise<{ answer: T; used: Measured }> {
  const before = cpuOf(pids)
  const mostMemory = watchMemory(pids.worker)
  try {
    const answer = await work()
    await sleep(TAIL_MS)
    const after = cpuOf(pids)
    const spent = (part: keyof Pids) => (after[part] - before[part]) / sagas
    const [workerCpu, temporalCpu, postgresCpu] = [spent('worker'), spent('temporal'), spent('postgres')]
    const cpu = workerCpu + temporalCpu + postgresCpu
    return { answer, used: { cpu, workerCpu, temporalCpu, postgresCpu, rss: mostMemory() } }
  } finally {
    mostMemory()
  }
}

/** Makes sagas, `inFlight` at a time, each by `one`, which resolves when it has ended; what each has answered. */
export async function inLanes<T>(
  one: () => Promise<T>,
  { sagas, inFlight }: { sagas: number; inFlight: number },
): Promise<{ answers: T[]; timed: Measured }> {
  const answers: T[] = []
  const latencies: number[] = []
  const begun = performance.now()
  let next = 0
  const lane = async () => {
    while (next++ < sagas) {
      const asked = performance.now()
      answers.push(await one())
      latencies.push(performance.now() - asked)
    }
  }
  await Promise.all(Array.from({ length: Math.min(inFlight, sagas) }, lane))
  const throughput = (sagas / (performance.now() - begun)) * 1_000
  return { answers, timed: { throughput, ...percentiles(latencies) } }
}

export function percentiles(latencies: number[]): Measured {
  const sorted = latencies.toSorted((a, b) => a - b)
  const at = (share: number) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? NaN
  return { p50: at(0.5), p95: at(0.95), p99: at(0.99) }
}

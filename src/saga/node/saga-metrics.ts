import { monitorEventLoopDelay } from 'node:perf_hooks'
import type { MetricCounter, MetricMeter } from '@temporalio/common'
import type { Pool } from './db.js'
import type { LogEntry } from './projection.js'
import type { SagaRecord } from './saga-record.js'

/** Told of log rows once they are written, with the saga as it stands then. */
export type OnLogged = (saga: Pick<SagaRecord, 'sagaId' | 'type' | 'status' | 'startedAt'>, entries: LogEntry[]) => void

/** Counts what the log is told: so the counters of all workers together say what the log says. */
export function countLogged(meter: MetricMeter): OnLogged {
  const counter = (name: string, what: string) => inSums(meter.createCounter(name, undefined, what))
  const started = counter('saga_started', 'Sagas that have begun, by type.')
  const ended = counter('saga_ended', 'Sagas that have ended, by type and status.')
  const recovered = counter('saga_recovered', 'Sagas taken up again after their run was lost, by type.')
  const attempts = counter('saga_attempts', 'Attempts that have ended, by type, service (COMPENSATE_… too) and status.')
  const stuck = counter('saga_stuck', 'Times that a step or a compensation began to wait for a person.')
  const decisions = counter('saga_decisions', 'Decisions of people on what was stuck.')
  const gaps = counter('saga_log_gaps', "Attempts of lost workers, added to the log from Temporal's history.")
  const duration = meter.createHistogram(
    'saga_duration_seconds',
    'float',
    undefined,
    'From start to end of sagas that have ended.',
  )
  return ({ type, status: now, startedAt }, entries) => {
    for (const { service, status, attempt } of entries) {
      if (attempt !== undefined) attempts({ type, service, status })
      // Who ends without a number did not write its own row.
      else if (status === 'failed') gaps({ type, service })
      else if (status === 'stuck') stuck({ type, service })
      else if (status === 'decision') decisions({ type, service })
      else if (service === 'SAGA' && status === 'started') started({ type })
      else if (service === 'SAGA' && status === 'recovered') recovered({ type })
      else if (service === 'SAGA') {
        ended({ type, status: now })
        duration.record((Date.now() - startedAt.getTime()) / 1_000, { type, status: now })
      }
    }
  }
}

/**
 * Counts one for these labels. Those of a turn of the event loop are told as a sum: each that is told crosses into Temporal's
 * core, and sagas that share a run are logged by the hundred.
 */
function inSums(counter: MetricCounter): (labels: Record<string, string>) => void {
  const sums = new Map<string, { labels: Record<string, string>; count: number }>()
  const tell = () => {
    for (const { labels, count } of sums.values()) counter.add(count, labels)
    sums.clear()
  }
  return (labels) => {
    if (sums.size === 0) setImmediate(tell)
    const key = Object.values(labels).join('\n')
    const sum = sums.get(key)
    if (sum) sum.count += 1
    else sums.set(key, { labels, count: 1 })
  }
}

const EVERY_MS = 5_000

/** Shows every 5 s how this process is doing: its connections to PostgreSQL, by pool, and its event loop. Ends with what it returns. */
export function watchProcess(meter: MetricMeter, pools: Record<string, Pool>): () => void {
  const connections = meter.createGauge(
    'saga_pool_connections',
    'int',
    undefined,
    'Connections to PostgreSQL, by pool.',
  )
  const waiting = meter.createGauge('saga_pool_waiting', 'int', undefined, 'Who waits for a connection, by pool.')
  const delay = meter.createGauge(
    'saga_event_loop_delay_seconds',
    'float',
    undefined,
    'Of the event loop, 99 % over the last 5 s.',
  )
  const loop = monitorEventLoopDelay()
  loop.enable()
  const show = () => {
    for (const [name, pool] of Object.entries(pools)) {
      connections.set(pool.totalCount - pool.idleCount, { pool: name, state: 'busy' })
      connections.set(pool.idleCount, { pool: name, state: 'idle' })
      waiting.set(pool.waitingCount, { pool: name })
    }
    delay.set(loop.percentile(99) / 1e9)
    loop.reset()
  }
  show()
  const timer = setInterval(show, EVERY_MS)
  timer.unref()
  return () => {
    clearInterval(timer)
    loop.disable()
  }
}

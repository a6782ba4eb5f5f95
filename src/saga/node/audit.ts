import type { Client as Temporal } from '@temporalio/client'
import type { Changed } from '../types.js'
import type { AnyService } from './barrier.js'
import { withTransaction, type Pool } from './db.js'
import { gapsOf } from './mirror.js'
import { readHistory, readOpening, readStatus, type SagaHistory } from './saga-history.js'
import { isEnded, isReopened, recordColumns, type SagaRecord } from './saga-record.js'
import { sharedQueue } from './saga-starter.js'

/** Two accounts of a saga that do not tell the same. */
export interface Disagreement {
  sagaId: string
  /** What the saga's row is held against. */
  with: 'log' | 'barrier' | 'effects' | 'history'
  /** The workflow of that history, where it is one that sagas share. */
  workflowId?: string
  message: string
}

export interface AuditOptions {
  pool: Pool
  temporal: Temporal
  /** Those whose barrier and tables are in the database of `pool`; of the others barrier and effects are not looked at. */
  participants: readonly AnyService[]
  /** The sagas' types, and the task queue on which they run: whatever Temporal has open of them must have a row. */
  types: readonly string[]
  taskQueue: string
  /** Sagas that are unfinished, or have ended within so many hours. */
  hours: number
}

/** What an audit has looked at. */
export interface Audited {
  sagas: number
  /** Those whose history Temporal has not any more. */
  forgotten: number
}

interface LogEntry {
  sagaId: string
  service: string
  status: string
  message: string
  attempt: number | null
}

interface BarrierRow {
  sagaId: string
  step: string
  op: 'invoke' | 'compensate'
  verdict: string | null
}

const PAGE = 200
const AT_ONCE = 8
/** A saga that has moved so lately may move while it is looked at. */
const GRACE_MS = 60_000
/** The mirror has looked at it by then, where there are workers. */
const MIRROR_MS = 120_000
/** The workflow that takes up a saga whose run is lost, under the saga's own id. */
const RECOVERY = 'recoverSaga'

/**
 * Holds every saga's row against its log, the barriers and effects of its participants, and Temporal's history, and yields
 * what does not agree; and sagas that Temporal has open and that have no row, as after a restore of an older backup. Reads
 * only. Throws where PostgreSQL or Temporal is away.
 */
export async function* audit(options: AuditOptions): AsyncGenerator<Disagreement, Audited> {
  const { pool, temporal, participants, hours } = options
  const audited = { sagas: 0, forgotten: 0 }
  const byName = new Map(participants.map((one) => [one.name, one]))
  const carriers = new Map<string, Promise<string | undefined>>()
  /** Asked once a run, however many share it. */
  const standingOf = (carrier: string) => {
    const asked = carriers.get(carrier) ?? readStatus(temporal, carrier)
    carriers.set(carrier, asked)
    return asked
  }
  for (let after = ''; ;) {
    const { rows } = await pool.query<SagaRecord & { quietMs: number }>(
      `SELECT ${recordColumns}, (extract(epoch FROM now() - greatest(progress_at, ended_at)) * 1000)::float8 AS "quietMs" FROM saga
       WHERE saga_id > $1 AND (fate IN ('open', 'rollback') OR ended_at > now() - $2 * interval '1 hour')
       ORDER BY saga_id LIMIT ${PAGE}`,
      [after, hours],
    )
    const last = rows.at(-1)
    if (!last) break
    after = last.sagaId
    const ids = rows.map(({ sagaId }) => sagaId)
    const log = await grouped<LogEntry>(
      pool,
      `SELECT saga_id AS "sagaId", service, status, message, attempt FROM saga_log WHERE saga_id = ANY ($1) ORDER BY id`,
      ids,
    )
    const barrier = await grouped<BarrierRow>(
      pool,
      `SELECT saga_id AS "sagaId", step, op, verdict FROM saga_barrier WHERE saga_id = ANY ($1)`,
      ids,
    )
    for (let i = 0; i < rows.length; i += AT_ONCE) {
      const found = await Promise.all(
        rows.slice(i, i + AT_ONCE).map(async (saga) => {
          audited.sagas += 1
          const entries = log.get(saga.sagaId) ?? []
          const history = await readHistory(temporal, saga)
          const carrier = saga.carriedBy === null ? undefined : await standingOf(saga.carriedBy)
          if (!history && carrier === undefined && saga.firstRunId !== null) audited.forgotten += 1
          return [
            ...(isEnded(saga) ? logProblems(saga, entries) : []),
            ...(isEnded(saga) ? barrierProblems(saga, barrier.get(saga.sagaId) ?? [], byName) : []),
            ...(isEnded(saga) ? await effectProblems(pool, saga, byName) : []),
            ...(history && saga.quietMs > GRACE_MS ? closingProblems(saga, history) : []),
            ...(carrier !== undefined && saga.quietMs > GRACE_MS ? carrierProblems(saga, carrier) : []),
            ...(history && isEnded(saga) ? attemptProblems(saga, entries, history) : []),
          ]
        }),
      )
      yield* found.flat()
    }
  }
  for await (const one of withoutRow(options)) {
    audited.sagas += 1
    yield one
  }
  return audited
}

/** Of the runs that Temporal has open those whose saga has no row: nothing else tells of them, and none of them can go on. */
async function* withoutRow({ pool, temporal, types, taskQueue }: AuditOptions): AsyncGenerator<Disagreement> {
  const among = (values: readonly string[]) =>
    values.map((one) => `'${one.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`).join(', ')
  const query = `ExecutionStatus = 'Running' AND TaskQueue IN (${among([taskQueue, sharedQueue(taskQueue)])}) AND WorkflowType IN (${among([...types, RECOVERY])})`
  const hasRow = async (sagaId: string) => {
    const { rows } = await pool.query('SELECT FROM saga WHERE saga_id = $1', [sagaId])
    return rows.length > 0
  }
  for await (const { workflowId: sagaId, runId, startTime } of temporal.workflow.list({ query })) {
    if (await hasRow(sagaId)) continue
    const isOpened = await readOpening(temporal, sagaId, runId)
    const openMs = Date.now() - startTime.getTime()
    if (isOpened === undefined || (!isOpened && openMs < GRACE_MS)) continue
    // It may have been opened while it was looked at.
    if (await hasRow(sagaId)) continue
    const message = isOpened
      ? 'its run in Temporal is RUNNING, and its row, which a worker has written, is gone'
      : `its run in Temporal is RUNNING for ${Math.round(openMs / 60_000)} min, and no worker has written its row`
    yield { sagaId, with: 'history', message }
  }
}

async function grouped<T extends { sagaId: string }>(
  pool: Pool,
  text: string,
  ids: string[],
): Promise<Map<string, T[]>> {
  const { rows } = await pool.query<T>(text, [ids])
  const groups = new Map<string, T[]>(ids.map((id) => [id, []]))
  for (const row of rows) groups.get(row.sagaId)?.push(row)
  return groups
}

/** One that was started elsewhere with input that is not right: nothing ran. */
const isRefused = ({ error, steps }: SagaRecord) =>
  error?.type === 'InvalidInput' && steps.every(({ status }) => status === 'pending')

function logProblems(saga: SagaRecord, log: LogEntry[]): Disagreement[] {
  const problems: Disagreement[] = []
  const say = (message: string) => problems.push({ sagaId: saga.sagaId, with: 'log', message })
  const rows = (service: string, status: string) =>
    log.filter((one) => one.service === service && one.status === status).length
  const isCompleted = saga.fate === 'completed'
  const expected: [service: string, status: string, times: number][] = [
    ['SAGA', 'started', isRefused(saga) ? 0 : 1],
    ['SAGA', 'completed', isCompleted || isReopened(saga) ? 1 : 0],
    ['SAGA', 'compensated', isCompleted ? 0 : 1],
    ['ROLLBACK', 'triggered', isCompleted || isRefused(saga) ? 0 : 1],
  ]
  for (const [service, status, times] of expected) {
    const found = rows(service, status)
    if (found !== times) say(`it is ${saga.status}, and its log has ${found} rows "${service} ${status}", not ${times}`)
  }
  const counted = [
    ...saga.steps.map(({ step, attempts }) => ({ service: step, attempts })),
    ...saga.compensations.map(({ step, attempts }) => ({ service: `COMPENSATE_${step}`, attempts })),
  ]
  for (const { service, attempts } of counted) {
    const numbers = new Set(log.filter((one) => one.service === service).flatMap(({ attempt }) => attempt ?? []))
    if (numbers.size !== attempts || [...numbers].some((number) => number > attempts))
      say(`its row counts ${attempts} attempts of ${service}, its log has ${[...numbers].join(', ') || 'none'}`)
  }
  return problems
}

function barrierProblems(
  { sagaId, fate, status, steps, compensations }: SagaRecord,
  barrier: BarrierRow[],
  participants: Map<string, AnyService>,
): Disagreement[] {
  const problems: Disagreement[] = []
  const say = (message: string) => problems.push({ sagaId, with: 'barrier', message })
  for (const { step, service, kind = 'compensatable', sagaId: nestedId, isByHand } of steps) {
    if (!participants.has(service) || nestedId !== undefined) continue
    const row = (op: BarrierRow['op']) => barrier.find((one) => one.step === step && one.op === op)
    const [invoked, compensated] = [row('invoke'), row('compensate')]
    const compensation = compensations.find((one) => one.step === step)
    if (fate === 'completed') {
      if (invoked?.verdict !== 'applied' && !isByHand)
        say(`it is COMPLETED, and the barrier of ${step} says ${invoked?.verdict ?? 'nothing'}, not applied`)
      if (compensated) say(`it is COMPLETED, and the barrier of ${step} has a compensation (${compensated.verdict})`)
      continue
    }
    const isByPerson = compensation?.status === 'resolved' || compensation?.status === 'skipped'
    if (
      kind === 'retriable'
        ? invoked?.verdict === 'applied'
        : invoked?.verdict === 'applied' && !compensated && !isByPerson
    )
      say(`it is ${status}, and the barrier of ${step} says applied, with no compensation`)
    if (compensation?.status === 'done' && compensated?.verdict !== 'done')
      say(`its row says that ${step} was undone, the barrier of ${step} says ${compensated?.verdict ?? 'nothing'}`)
  }
  return problems
}

const none = Promise.resolve([])

/** What the participants' `verify` finds of it, where they have one. */
async function effectProblems(
  pool: Pool,
  saga: SagaRecord,
  participants: Map<string, AnyService>,
): Promise<Disagreement[]> {
  const { sagaId, fate, status, steps, compensations } = saga
  const problems: Disagreement[] = []
  for (const { step, service, sagaId: nestedId, isByHand } of steps) {
    const participant = participants.get(service)
    if (!participant?.verify || nestedId !== undefined || isByHand) continue
    const left = await withTransaction(pool, (tx) => participant.verify?.(tx, { sagaId }) ?? none)
    const by = compensations.find((one) => one.step === step)?.status
    const say = (message: string) => problems.push({ sagaId, with: 'effects', message })
    if (fate === 'completed' && left.length === 0) say(`it is COMPLETED, and ${service} finds nothing of step ${step}`)
    if (fate === 'rolledBack' && left.length > 0 && by !== 'skipped' && by !== 'resolved')
      say(`it is ${status}, and ${service} still finds ${left.join(', ')} of step ${step}`)
  }
  return problems
}

function closingProblems(saga: SagaRecord, { status }: SagaHistory): Disagreement[] {
  const allowed: Record<SagaRecord['fate'], string[]> = {
    completed: ['COMPLETED'],
    rolledBack: ['FAILED', 'CANCELLED'],
    open: ['RUNNING'],
    rollback: ['RUNNING'],
  }
  // A nested saga has run to its end, and waits for its parent's.
  if (saga.handedOverAt || allowed[saga.fate].includes(status)) return []
  const message = `it is ${saga.status}, and its run in Temporal is ${status}`
  return [{ sagaId: saga.sagaId, with: 'history', message }]
}

/** A run that sagas share ends behind the last of them: who is not done leaves it. What it did for each of them it does not tell. */
function carrierProblems(saga: SagaRecord, status: string): Disagreement[] {
  if (isEnded(saga) || saga.handedOverAt || saga.carriedBy === null || status === 'RUNNING') return []
  const message = `it is ${saga.status}, and the run that carries it, ${saga.carriedBy}, is ${status} in Temporal`
  return [{ sagaId: saga.sagaId, with: 'history', workflowId: saga.carriedBy, message }]
}

/** Every attempt that history knows of has its row in the log; that of a lost worker from the mirror, which takes its time. */
function attemptProblems(
  saga: SagaRecord & { quietMs: number },
  log: LogEntry[],
  history: SagaHistory,
): Disagreement[] {
  const { sagaId, quietMs } = saga
  const known = new Map<string, number>()
  for (const event of history.events) {
    if (event.kind !== 'called') continue
    for (const { service, attempts } of toldIn(event.changed)) {
      known.set(service, Math.max(attempts, known.get(service) ?? 0))
    }
  }
  const unnumbered = [...known].flatMap(([service, attempts]): Disagreement[] => {
    const logged = new Set(log.filter((one) => one.service === service).flatMap(({ attempt }) => attempt ?? []))
    const missing = Array.from({ length: attempts }, (_, i) => i + 1).filter((number) => !logged.has(number))
    if (missing.length === 0) return []
    const message = `Temporal's history knows of ${attempts} attempts of ${service}; the log lacks ${missing.join(', ')}`
    return [{ sagaId, with: 'history', message }]
  })
  if (unnumbered.length > 0 || quietMs < MIRROR_MS) return unnumbered
  const gaps = gapsOf(saga, log, history).map(({ service }) => service)
  return [...new Set(gaps)].flatMap((service): Disagreement[] => {
    const lost = gaps.filter((one) => one === service).length
    const rows = log.filter((one) => one.service === service && one.status === 'failed' && one.attempt === null).length
    if (rows >= lost) return []
    const message = `Temporal's history knows of ${lost} attempts of ${service} that were lost with their worker; the log has ${rows} rows of them`
    return [{ sagaId, with: 'history', message }]
  })
}

function toldIn({ step, compensation }: Changed): { service: string; attempts: number }[] {
  return [
    ...(step ? [{ service: step.step, attempts: step.attempts }] : []),
    ...(compensation ? [{ service: `COMPENSATE_${compensation.step}`, attempts: compensation.attempts }] : []),
  ]
}

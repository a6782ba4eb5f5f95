import { randomUUID } from 'node:crypto'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Client, Connection } from '@temporalio/client'
import { DefaultLogger, Worker, type ReplayWorkerOptions } from '@temporalio/worker'
import type { AnyService } from '../node/barrier.js'
import { bundleSagas } from '../node/bundle.js'
import { makePool, withTransaction, type Client as DbClient, type Pool } from '../node/db.js'
import type { SagaRecord } from '../node/saga-record.js'
import { SagaStore } from '../node/saga-store.js'
import { undoByHand } from './by-hand.js'
import type { Case } from './cases.js'
import { effectProblems, problemsOf, type Effects, type Rest } from './check.js'
import type { AtOnce, CaseReport, DefinedMatrix, MatrixOptions, MatrixPlace } from './matrix.js'
import { expectedOf, type Expected } from './model.js'
import { Script, type Observed } from './script.js'
import { isOver, Watch, type Seen } from './watch.js'
import type { Asked, Answer } from './worker.js'
import { WorkerProcess } from './worker-process.js'

/** By lane: the time that a call has, in ms. Where nothing is late on purpose a busy machine must not make it so. */
const STEP_TIMEOUT_MS = { plain: 20_000, late: 4_000, crash: 30_000, crashes: 4_000 } as const
type LaneName = keyof typeof STEP_TIMEOUT_MS
/**
 * Sagas under way at once, but for those that only wait for long. `crash`: whose worker is killed once for all of them; as many
 * as a worker runs workflow tasks at once, and some less.
 */
const AT_ONCE: AtOnce = { plain: 16, late: 24, crash: 30 }
/** Sagas whose worker is killed at every attempt: each has one of its own, which takes memory. */
const CRASHES_AT_ONCE = 2
const CASE_MS = 150_000

/** A run of a matrix: its workers, and all that is needed to ask what they do. */
export class MatrixRun {
  readonly #scripts = new Map<string, Script>()
  readonly #workers: WorkerProcess[] = []
  /** Cancels as the API does. */
  readonly #store: SagaStore
  readonly #atOnce: AtOnce
  readonly #caseMs: number
  readonly #tell: (line: string) => void
  readonly #ended: Done[] = []
  #of = 0

  private constructor(
    private readonly module: URL,
    private readonly matrix: DefinedMatrix,
    private readonly place: MatrixPlace,
    private readonly connection: Connection,
    private readonly client: Client,
    private readonly pool: Pool,
    private readonly watch: Watch,
    private readonly folder: string,
    private readonly codePath: string,
    { atOnce, caseMs = CASE_MS, tell = (line) => process.stderr.write(`${line}\n`) }: MatrixOptions,
  ) {
    this.#store = new SagaStore(pool, matrix.sagas)
    this.#atOnce = { ...AT_ONCE, ...atOnce }
    this.#caseMs = caseMs
    this.#tell = tell
  }

  static async start(
    module: URL,
    matrix: DefinedMatrix,
    place: MatrixPlace,
    options: MatrixOptions,
  ): Promise<MatrixRun> {
    const folder = await mkdtemp(join(tmpdir(), 'saga-matrix-'))
    const codePath = await bundle(matrix, folder)
    const connection = await Connection.connect({ address: place.temporalAddress })
    const client = new Client({ connection, namespace: place.namespace })
    const pool = makePool(place.databaseUrl, { max: 20, name: 'saga-matrix', waitMs: 60_000 })
    const watch = await Watch.start(place.databaseUrl, pool)
    return new MatrixRun(module, matrix, place, connection, client, pool, watch, folder, codePath, options)
  }

  async stop(): Promise<void> {
    await Promise.all(this.#workers.map((worker) => worker.stop()))
    await this.watch.stop()
    await this.pool.end()
    await this.connection.close()
    await rm(this.folder, { recursive: true, force: true })
  }

  /** Never rejects for what happens to one case: that one has failed, and the others go on. */
  async all(cases: Case[]): Promise<CaseReport[]> {
    this.#of = cases.length
    const numbered = cases.map((one, n) => ({ one, n }))
    const inLane = (name: LaneName) => numbered.filter(({ one }) => laneOf(one) === name)
    const [crashing, size] = [inLane('crash'), this.#atOnce.crash]
    const batches = Array.from({ length: Math.ceil(crashing.length / size) }, (_, i) =>
      crashing.slice(i * size, (i + 1) * size),
    )
    // One batch after the other, and the other lanes behind them: all are held at once, and a busy machine must not keep
    // them from coming so far.
    const crashes: Promise<Done[]>[] = []
    for (const [i, batch] of batches.entries()) {
      const { killed, done } = this.#crashLane(batch, i)
      crashes.push(done)
      await Promise.race([killed, done])
    }
    const reports = await Promise.all([
      ...crashes,
      this.#lane('plain', inLane('plain')),
      this.#lane('late', inLane('late')),
      this.#crashesLane(inLane('crashes')),
    ])
    const done = reports.flat().toSorted((a, b) => a.n - b.n)
    const known = new Map(done.map((one) => [one, one.problems.length]))
    for (const one of done) await this.#checkAgain(one)
    await this.#replay(done)
    for (const [one, before] of known) if (one.problems.length > before) this.#tellOf(one, one.problems.slice(before))
    return done.map(({ one, sagaId, problems, account }) => ({ name: one.name, sagaId, problems, account }))
  }

  /** A worker for sagas of a kind, side by side. */
  async #lane(name: 'plain' | 'late', cases: Numbered[]): Promise<Done[]> {
    if (cases.length === 0) return []
    const worker = await this.#worker(name, STEP_TIMEOUT_MS[name]).catch(asError)
    if (worker instanceof Error) return cases.map((one) => this.#notDriven(one, worker))
    // Those that wait long come first, and once they do they make room for others.
    const isStuck = ({ one }: Numbered) => one.undo === 'undo fails for good'
    const queue = cases.toSorted((a, b) => Number(isStuck(b)) - Number(isStuck(a)))
    const running: Promise<Done>[] = []
    const slot = async () => {
      for (let next = queue.shift(); next; next = queue.shift()) {
        const { done, undoFails } = this.#run(next, worker, never)
        running.push(done)
        await Promise.race([done, undoFails])
      }
    }
    await Promise.all(Array.from({ length: this.#atOnce[name] }, slot))
    return Promise.all(running)
  }

  /** Sagas that are all held where their worker is to be killed, which then happens, once. */
  #crashLane(cases: Numbered[], index: number): { killed: Promise<void>; done: Promise<Done[]> } {
    let resolve = () => {}
    let reject: (error: Error) => void = () => {}
    const killed = new Promise<void>((wasKilled, failed) => ([resolve, reject] = [wasKilled, failed]))
    killed.catch(() => {})
    const run = async () => {
      const worker = await this.#worker(`crash-${index}`, STEP_TIMEOUT_MS.crash).catch(asError)
      if (worker instanceof Error) return cases.map((one) => this.#notDriven(one, worker))
      const coming = new Set(cases)
      const isThere = (one: Numbered) => {
        if (coming.delete(one) && coming.size === 0) void this.#kill(worker).then(resolve, reject)
      }
      const crash = (one: Numbered) => async () => {
        isThere(one)
        await killed
        return never()
      }
      return Promise.all(
        cases.map(async (one) => {
          const done = await this.#run(one, worker, crash(one)).done
          // One that has ended without coming so far must not keep the others from it.
          isThere(one)
          return done
        }),
      )
    }
    return { killed, done: run() }
  }

  /** Sagas whose worker is killed each time that it makes the call of the case, a worker for each saga. */
  async #crashesLane(cases: Numbered[]): Promise<Done[]> {
    const queue = [...cases]
    const done: Done[] = []
    const slot = async () => {
      for (let next = queue.shift(); next; next = queue.shift()) {
        const worker = await this.#worker(`crashes-${next.n}`, STEP_TIMEOUT_MS.crashes).catch(asError)
        if (worker instanceof Error) {
          done.push(this.#notDriven(next, worker))
          continue
        }
        const crash = async () => {
          await this.#kill(worker)
          return never()
        }
        done.push(await this.#run(next, worker, crash).done)
        await worker.stop()
      }
    }
    await Promise.all(Array.from({ length: CRASHES_AT_ONCE }, slot))
    return done
  }

  /** Kills a worker's process under all that it does, and starts it again. */
  async #kill(worker: WorkerProcess): Promise<void> {
    const { process } = worker
    await worker.stop()
    for (const script of this.#scripts.values()) script.killed(process)
    await worker.restart()
  }

  async #worker(name: string, stepTimeoutMs: number): Promise<WorkerProcess> {
    const { databaseUrl, temporalAddress, namespace } = this.place
    const order = {
      ...{ databaseUrl, temporalAddress, namespace, stepTimeoutMs },
      ...{ taskQueue: `matrix-${name}`, codePath: this.codePath },
    }
    const answer = (asked: Asked, process: string) => this.#answer(asked, process)
    const worker = await WorkerProcess.start(this.matrix.workerProgram, this.module, order, answer)
    this.#workers.push(worker)
    return worker
  }

  async #answer(asked: Asked, process: string): Promise<Answer> {
    return this.#scripts.get(rootOf(asked.sagaId))?.answer(asked, process) ?? 'go'
  }

  /** One saga, from its start until nothing of it is under way any more. */
  #run(
    { one, n }: Numbered,
    worker: WorkerProcess,
    crash: () => Promise<never>,
  ): { done: Promise<Done>; undoFails: Promise<void> } {
    const sagaId = `matrix-${n}-${randomUUID().slice(0, 8)}`
    const { steps } = this.matrix.saga
    const expected = expectedOf(one, steps)
    let end = () => {}
    const ended = new Promise<void>((resolve) => (end = resolve))
    const script = new Script(one, sagaId, {
      ended,
      crash,
      stop: () => this.#stop(one, sagaId),
      failed: (step, times) => {
        const rows = ({ log }: Seen) => log.filter((row) => row.service === step && row.status === 'failed').length
        const failed = this.watch.until(sagaId, `${step} has failed`, (seen) => rows(seen) >= times, this.#caseMs)
        return Promise.race([failed, ended])
      },
    })
    this.#scripts.set(sagaId, script)
    const run = async (): Promise<Done> => {
      let problems: string[]
      try {
        const resting = this.#untilRest({ one, n, sagaId, taskQueue: worker.taskQueue, script, end })
        problems = problemsOf(one, steps, expected, await Promise.race([resting, script.undriven]))
      } catch (error) {
        problems = [reasonOf(error)]
      } finally {
        end()
      }
      const account = accountOf(expected, script.calls, await this.watch.see(sagaId).catch(() => undefined))
      return this.#told({ one, n, sagaId, expected, calls: script.calls, problems, account })
    }
    return { done: run(), undoFails: script.undoFails }
  }

  /** A case of which nothing could be seen. */
  #notDriven(numbered: Numbered, error: Error): Done {
    return this.#told({ ...numbered, sagaId: '', expected: [], calls: [], problems: [reasonOf(error)], account: '' })
  }

  #told(done: Done): Done {
    this.#ended.push(done)
    this.#tellOf(done, done.problems)
    return done
  }

  #tellOf({ one }: Done, problems: string[]): void {
    const how = problems.length === 0 ? '✓' : '✗'
    this.#tell([`${how} ${this.#ended.length}/${this.#of} ${one.name}`, ...problems.slice(0, 1)].join(': '))
  }

  /** Starts a saga and brings it to its end, decides where that is the case's; all that there is to know of it then. */
  async #untilRest({ one, n, sagaId, taskQueue, script, end }: Started): Promise<Rest> {
    const handle = this.client.workflow.getHandle(sagaId)
    const waits: string[][] = []
    const { type } = this.matrix.saga
    await this.client.workflow.start(type, { workflowId: sagaId, taskQueue, args: [this.matrix.input(n)] })
    const isAtRest = (seen: Seen) => isOver(seen) || seen.record.status === 'NEEDS_ATTENTION'
    // Three times in turn Temporal has to find that the worker is gone.
    const endsMs = laneOf(one) === 'crashes' ? 2 * this.#caseMs : this.#caseMs
    let seen = await this.watch.until(sagaId, 'it ends', isAtRest, endsMs)
    if (!isOver(seen)) {
      waits.push(stuckSteps(seen))
      if (one.decision) {
        await this.#decide(one, sagaId, script)
        seen = await this.watch.until(sagaId, 'it ends behind the decision', isAtRest, this.#caseMs)
      }
      if (!isOver(seen)) throw new Error(`it waits for a person on ${stuckSteps(seen).join(', ')}`)
    }
    end()
    await this.#withTime(script.settled(), 'its last call has ended')
    const closed = handle.result().catch(() => undefined)
    await this.#withTime(closed, 'its run has closed')
    const { status } = await handle.describe()
    return {
      seen: (await this.watch.see(sagaId)) ?? seen,
      calls: script.calls,
      effects: await this.#effects(sagaId),
      waits,
      barred: await this.#barred(sagaId),
      closing: status.name,
    }
  }

  /** Cancels or terminates, and comes back when that has been taken. */
  async #stop({ stop }: Case, sagaId: string): Promise<void> {
    const handle = this.client.workflow.getHandle(sagaId)
    if (stop?.by === 'terminate') {
      await handle.terminate('matrix')
      return
    }
    if (stop?.door === 'row') await this.#store.requestCancel(sagaId, { reason: 'matrix', actor: 'matrix' })
    await handle.cancel()
  }

  async #decide({ step, decision = 'retry' }: Case, sagaId: string, script: Script): Promise<void> {
    if (decision === 'retry') script.isHealed = true
    if (decision === 'resolve') await undoByHand(this.pool, this.matrix, { sagaId, step })
    await this.client.workflow
      .getHandle(sagaId)
      .executeUpdate('decide', { args: [{ step, action: decision, reason: 'matrix', actor: 'matrix' }] })
  }

  /** What the participants find of a saga and of those nested in it. */
  async #effects(sagaId: string): Promise<Effects[]> {
    const { rows } = await this.pool.query<{ sagaId: string; steps: SagaRecord['steps'] }>(
      `SELECT saga_id AS "sagaId", steps FROM saga WHERE saga_id = $1 OR starts_with(saga_id, $1 || '.') ORDER BY saga_id`,
      [sagaId],
    )
    const participants = this.matrix.participants as unknown as AnyService[]
    return Promise.all(
      rows.map(async ({ sagaId: id, steps }) => {
        const own = steps.filter((step) => step.sagaId === undefined)
        const look = async (tx: DbClient) => {
          const all: Effects['found'] = {}
          for (const service of new Set(own.map((step) => step.service))) {
            const participant = participants.find(({ name }) => name === service)
            all[service] = (await participant?.verify?.(tx, { sagaId: id })) ?? []
          }
          return all
        }
        const found = await withTransaction(this.pool, look, { waitMs: 60_000 })
        return { sagaId: id, steps: own, found }
      }),
    )
  }

  async #barred(sagaId: string): Promise<string[]> {
    const { rows } = await this.pool.query<{ step: string }>(
      `SELECT step FROM saga_barrier WHERE saga_id = $1 AND op = 'compensate'`,
      [sagaId],
    )
    return rows.map(({ step }) => step)
  }

  /** Once every call of every saga is over: nothing has come late. */
  async #checkAgain({ sagaId, expected, calls, problems }: Done): Promise<void> {
    const look = () => Promise.all([this.watch.see(sagaId), this.#effects(sagaId)])
    const now = await look().catch(asError)
    if (now instanceof Error) {
      problems.push(`could not be looked at once more: ${reasonOf(now)}`)
      return
    }
    const [status, effects] = [now[0]?.record.status, now[1]]
    const ended = expected.find((one) => one.status === status) ?? expected[0]
    const late = ended ? effectProblems(ended, { calls, effects }) : []
    problems.push(...late.filter((one) => !problems.includes(one)).map((one) => `later: ${one}`))
  }

  /** Every run of every saga, those that were continued or taken up again as well. */
  async #replay(done: Done[]): Promise<void> {
    const bySaga = new Map(done.map((one) => [one.sagaId, one]))
    const { client } = this
    async function* histories() {
      for await (const { workflowId, runId } of client.workflow.list({ query: 'WorkflowId STARTS_WITH "matrix-"' })) {
        if (!bySaga.has(rootOf(workflowId)) || workflowId.endsWith('-sweep-v1')) continue
        const problems = bySaga.get(rootOf(workflowId))?.problems
        const history = await client.workflow.getHandle(workflowId, runId).fetchHistory().catch(asError)
        if (history instanceof Error) {
          problems?.push(`its history could not be read: ${reasonOf(history)}`)
          continue
        }
        const failed = (history.events ?? []).flatMap(({ workflowTaskFailedEventAttributes: task }) =>
          task && CODE_FAILED.has(task.cause ?? 0) ? [task.failure?.message] : [],
        )
        if (failed.length > 0) {
          problems?.push(`workflow tasks have failed: ${failed.join('; ')}`)
        }
        yield { workflowId, history }
      }
    }
    const { payloadCodecs } = this.matrix.dataConverter ?? {}
    const options: ReplayWorkerOptions = {
      workflowBundle: { codePath: this.codePath },
      // A converter is part of the bundle.
      ...(payloadCodecs && { dataConverter: { payloadCodecs } }),
    }
    try {
      for await (const { workflowId, error } of Worker.runReplayHistories(options, histories())) {
        if (error) bySaga.get(rootOf(workflowId))?.problems.push(`its history does not replay: ${error.message}`)
      }
    } catch (error) {
      for (const { problems } of done) problems.push(`not all histories could be replayed: ${reasonOf(error)}`)
    }
  }

  async #withTime<T>(work: Promise<T>, what: string): Promise<T> {
    const done = new AbortController()
    const tooLate = sleep(this.#caseMs, undefined, { signal: done.signal, ref: false }).then(() => {
      throw new Error(`waited ${this.#caseMs / 1_000} s in vain until ${what}`)
    })
    try {
      return await Promise.race([work, tooLate])
    } finally {
      done.abort()
    }
  }
}

interface Numbered {
  one: Case
  n: number
}

interface Done extends Numbered, Pick<CaseReport, 'sagaId' | 'problems' | 'account'> {
  expected: Expected[]
  calls: Observed[]
}

interface Started extends Numbered {
  sagaId: string
  taskQueue: string
  script: Script
  /** Lets go what waits for its end. */
  end: () => void
}

function laneOf({ fault, forGood }: Case): LaneName {
  if (fault.startsWith('crash')) return forGood ? 'crashes' : 'crash'
  return fault.startsWith('late') || fault === 'commit after the end' ? 'late' : 'plain'
}

/** WORKFLOW_WORKER_UNHANDLED_FAILURE and NON_DETERMINISTIC_ERROR; others come of a process that was killed. */
const CODE_FAILED = new Set([14, 24])

/** A nested saga's id begins with that of the saga that it is in. */
function rootOf(sagaId: string): string {
  return sagaId.split('.')[0] ?? ''
}

function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error))
}

/** What an error says, and what it says of its cause: a client's "Failed to cancel workflow" alone is not much. */
function reasonOf(error: unknown): string {
  const { message, cause } = asError(error)
  return cause instanceof Error && !message.includes(cause.message) ? `${message}: ${cause.message}` : message
}

function never(): Promise<never> {
  return new Promise<never>(() => {})
}

function stuckSteps({ record: { fate, steps, compensations } }: Seen): string[] {
  return (fate === 'open' ? steps : compensations).filter(({ status }) => status === 'stuck').map(({ step }) => step)
}

/** What tells a stranger how it came to this. */
function accountOf(expected: Expected[], calls: readonly Observed[], seen: Seen | undefined): string {
  const made = calls
    .filter(({ op }) => op === 'invoke' || op === 'compensate' || op === 'settle')
    .map(({ op, step, made: answer, verdict, end }) => {
      const how = verdict ?? (typeof end === 'object' ? end.error : end) ?? 'under way'
      return `      ${op} ${step}${answer === 'go' ? '' : ` (${answer})`}: ${how}`
    })
  const log = (seen?.log ?? []).map(
    ({ service, status, attempt, message }) => `      ${[service, status, attempt].join(' ').trim()}: ${message}`,
  )
  return [
    `    expected: ${expected.map((one) => JSON.stringify(one)).join(' or ')}`,
    '    calls:',
    ...made,
    '    log:',
    ...log,
  ].join('\n')
}

/** The workflow code in one file, for all workers. */
async function bundle({ workflows, dataConverter }: DefinedMatrix, folder: string): Promise<string> {
  if ('codePath' in workflows) return workflows.codePath
  const codePath = join(folder, 'workflows.js')
  const payloadConverterPath = dataConverter?.payloadConverterPath
  const { code } = await bundleSagas({
    ...workflows,
    logger: new DefaultLogger('ERROR'),
    ...(payloadConverterPath && { payloadConverterPath }),
  })
  await writeFile(codePath, code)
  return codePath
}

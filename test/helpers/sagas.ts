import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { expect, test } from '@jest/globals'
import type { FailuresInput } from '../../src/saga/failure.js'
import type { LogRow } from '../../src/http/schemas/log.js'
import type { Saga } from '../../src/http/schemas/saga.js'
import { query, readShared, type Where } from './shared.js'
import { until } from './until.js'

export const ada = { username: 'ada', address: '12 Byron Street', payment: '4111 1111 1111 1234' }

interface Closing {
  status: string
  failure?: { message: string; type: string; details: unknown }
}

/** The sagas of one system, as a caller of its API and a reader of its tables sees them. */
export class Sagas {
  readonly started: string[] = []

  /** `headers` go with every request. */
  constructor(
    readonly where: Where,
    readonly headers: Record<string, string> = {},
  ) {}

  request(path: string, init: RequestInit = {}): Promise<Response> {
    const headers = { ...this.headers, ...(init.headers as Record<string, string> | undefined) }
    return fetch(new URL(path, this.where.api), { ...init, headers })
  }

  post(path: string, body: unknown, headers: Record<string, string> = {}): Promise<Response> {
    return this.request(path, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...headers },
      body: typeof body === 'string' ? body : JSON.stringify(body),
    })
  }

  /** Starts a saga and waits until it has ended. Without failures of its own nothing is injected. */
  async run(failures: FailuresInput = {}): Promise<Saga> {
    return this.ended(await this.start(failures))
  }

  /** Starts a saga; its id. */
  async start(failures: FailuresInput = {}): Promise<string> {
    const response = await this.post('/saga', { ...ada, failures })
    expect(response.status).toBe(202)
    const { sagaId } = (await response.json()) as { sagaId: string }
    this.started.push(sagaId)
    return sagaId
  }

  async get(sagaId: string): Promise<Saga> {
    const response = await this.request(`/saga/${encodeURIComponent(sagaId)}`)
    expect(response.status).toBe(200)
    return (await response.json()) as Saga
  }

  /** The saga once it has ended. Survives an API that is away meanwhile. */
  ended(sagaId: string, { timeoutMs = 90_000 } = {}): Promise<Saga> {
    const look = async () => {
      // 404 before its run has opened, 503 while PostgreSQL is away, no answer while the API is.
      const response = await this.request(`/saga/${encodeURIComponent(sagaId)}`).catch(() => undefined)
      const saga = response?.ok ? ((await response.json()) as Saga) : undefined
      return saga?.endedAt !== undefined && saga
    }
    return until(`saga ${sagaId} has ended`, look, { timeoutMs })
  }

  /** Its log rows, oldest first, each as "A failed 1" (service, status, attempt). */
  async log(sagaId: string): Promise<string[]> {
    return (await this.logRows(sagaId)).map(({ service, status, attempt }) =>
      [service, status, attempt].filter((word) => word !== null).join(' '),
    )
  }

  async logRows(sagaId: string): Promise<LogRow[]> {
    const response = await this.request(`/logs?limit=500&saga=${encodeURIComponent(sagaId)}`)
    expect(response.status).toBe(200)
    return ((await response.json()) as { logs: LogRow[] }).logs.toReversed()
  }

  /** Waits for a log row such as "A success 1". */
  async logged(sagaId: string, row: string): Promise<void> {
    await until(`the log of ${sagaId} says ${row}`, async () => (await this.log(sagaId)).includes(row))
  }

  /** How many rows the saga has in table_a, table_b and table_c, whose user ids agree. */
  async rows(sagaId: string): Promise<{ a: number; b: number; c: number }> {
    const [row] = await query<{ a: number; b: number; c: number }>(
      this.where.database,
      `SELECT (SELECT count(*)::int FROM table_a WHERE saga_id = $1) AS a,
              (SELECT count(*)::int FROM table_b b JOIN table_a a ON a.id = b.user_id WHERE b.saga_id = $1 AND a.saga_id = $1) AS b,
              (SELECT count(*)::int FROM table_c c JOIN table_a a ON a.id = c.user_id WHERE c.saga_id = $1 AND a.saga_id = $1) AS c`,
      [sagaId],
    )
    if (!row) throw new Error('no counts')
    return row
  }

  /** The temporal CLI on this system's namespace; its standard output. */
  async temporal(...args: string[]): Promise<string> {
    const { temporal, temporalCli } = readShared()
    const { stdout } = await promisify(execFile)(temporalCli, args, {
      env: { ...process.env, TEMPORAL_ADDRESS: temporal, TEMPORAL_NAMESPACE: this.where.namespace },
      maxBuffer: 64 * 1024 * 1024,
    })
    return stdout
  }

  /** What closed the saga's latest run. */
  async closing(sagaId: string): Promise<Closing> {
    const description = await until(`the run of ${sagaId} has closed`, async () => {
      const one = JSON.parse(await this.temporal('workflow', 'describe', '-w', sagaId, '--output', 'json'))
      return one.workflowExecutionInfo.status !== 'WORKFLOW_EXECUTION_STATUS_RUNNING' && one
    })
    const status: string = description.workflowExecutionInfo.status.replace('WORKFLOW_EXECUTION_STATUS_', '')
    const { failure } = description.closeEvent?.workflowExecutionFailedEventAttributes ?? {}
    if (!failure) return { status }
    const { type, details } = failure.applicationFailureInfo
    return { status, failure: { message: failure.message, type, details: details?.[0] ?? details?.payloads?.[0] } }
  }
}

/** The last test of a file: every run that it has started replays against the workflow code as it is now. */
export function testReplay(sagas: () => Sagas): void {
  test('every run replays', async () => {
    const { where, started } = sagas()
    expect(started.length).toBeGreaterThan(0)
    const { temporal } = readShared()
    const { stdout } = await promisify(execFile)(process.execPath, ['dist/replay.js', ...started], {
      env: { ...process.env, TEMPORAL_ADDRESS: temporal, TEMPORAL_NAMESPACE: where.namespace },
    })
    expect(stdout.trim().split('\n')).toHaveLength(started.length)
  })
}

export const everywhere = { a: 1, b: 1, c: 1 }
export const nowhere = { a: 0, b: 0, c: 0 }

import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { pipeline } from 'node:stream/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { Readable } from 'node:stream'
import type { Bulk, BulkAccepted } from './http/schemas/bulk.js'
import type { Problem } from './http/schemas/common.js'

/** What its user has to mend. */
export class BulkError extends Error {}

/** A call that got no answer, or 503, is sent again so often. */
const TRIES = 5
const AGAIN_MS = 2_000
const LOOK_MS = 1_000

/** Sends files to POST /saga/bulk, and follows what becomes of them. */
export class BulkClient {
  readonly #headers: Record<string, string>

  constructor(
    private readonly url: string,
    token?: string,
  ) {
    this.#headers = token === undefined ? {} : { authorization: `Bearer ${token}` }
  }

  /**
   * Sends a file as it is read. Its Idempotency-Key is made from what the file holds: sent again, as after a cut, it makes no
   * saga twice.
   */
  async send(file: string, { skipInvalid }: { skipInvalid: boolean }): Promise<BulkAccepted & { isReplayed: boolean }> {
    const headers = { 'content-type': 'application/x-ndjson', 'idempotency-key': await digestOf(file) }
    const response = await this.#answered(`/saga/bulk${skipInvalid ? '?onInvalid=skip' : ''}`, () => ({
      method: 'POST',
      headers,
      body: Readable.toWeb(createReadStream(file)) as unknown as NonNullable<RequestInit['body']>,
      duplex: 'half',
    }))
    const isReplayed = response.headers.has('idempotent-replayed')
    return { ...((await response.json()) as BulkAccepted), isReplayed }
  }

  /** The bulk now and once a second, until it has ended or paused. An API that is away meanwhile is waited for. */
  async *follow(bulkId: string): AsyncGenerator<Bulk> {
    for (;;) {
      const response = await this.#answered(`/saga/bulk/${bulkId}`, () => ({}), Infinity)
      const bulk = (await response.json()) as Bulk
      yield bulk
      if (bulk.status !== 'RUNNING') return
      await sleep(LOOK_MS)
    }
  }

  /** Throws what the API says is wrong. */
  async #answered(path: string, init: () => RequestInit, tries = TRIES): Promise<Response> {
    for (let left = tries; ; left -= 1) {
      const { headers, ...rest } = init()
      const request = { ...rest, headers: { ...this.#headers, ...(headers as Record<string, string>) } }
      const response = await fetch(new URL(path, this.url), request).catch(() => undefined)
      if (response?.ok) return response
      if ((response && response.status !== 503) || left <= 1) throw await this.#refusal(response)
      await sleep(AGAIN_MS)
    }
  }

  async #refusal(response: Response | undefined): Promise<BulkError> {
    if (!response) return new BulkError(`Nothing answers at ${this.url}: start the system, or name another with --url.`)
    const problem = (await response.json().catch(() => undefined)) as Problem | undefined
    if (!problem?.detail) return new BulkError(`${this.url} answered ${response.status}, and is no API of sagas.`)
    const lines = (problem.errors ?? []).map(({ line, path, message }) => describe(line, { path, message }))
    return new BulkError([problem.detail, ...lines].join('\n'))
  }
}

/** What is wrong with a line, in one. */
export function describe(line: number | undefined, { path, message }: { path: string; message: string }): string {
  return `  ${line === undefined ? '' : `line ${line}: `}${[path.slice(1), message].filter(Boolean).join(' ')}`
}

async function digestOf(file: string): Promise<string> {
  const hash = createHash('sha256')
  await pipeline(createReadStream(file), hash).catch((error: NodeJS.ErrnoException) => {
    throw new BulkError(
      error.code === 'ENOENT' ? `There is no file ${file}.` : `${file} can't be read: ${error.message}.`,
    )
  })
  return hash.digest('hex')
}

import { parseArgs } from 'node:util'
import { SingleBar } from 'cli-progress'
import { BulkClient, BulkError, describe } from './bulk-client.js'
import { loadBulkConfig, loadStartConfig } from './config.js'
import { readUrls } from './system/running-system.js'
import type { Bulk } from './http/schemas/bulk.js'
import { failProgram } from './program.js'

/**
 * `npm run bulk -- users.ndjson`: starts a saga for each line of a file, and shows how far they have come; ends with 0 where
 * all are completed. Stopped and called again with the same file it follows the same bulk.
 */
const USAGE = 'Name a file: npm run bulk -- users.ndjson [--url http://127.0.0.1:3000] [--skip-invalid]'

try {
  const { file, url, skipInvalid } = readArguments()
  const client = new BulkClient(url, loadBulkConfig().token)
  const { bulkId, accepted, rejected, rejections = [], isReplayed } = await client.send(file, { skipInvalid })
  console.log(
    isReplayed ? `Bulk ${bulkId} has been started by this file before.` : `Bulk ${bulkId}: ${accepted} sagas accepted.`,
  )
  if (rejected > 0) console.log(`${rejected} lines are not right, and were left out:`)
  for (const { line, errors } of rejections) for (const one of errors) console.log(describe(line, one))
  const bulk = await follow(client, bulkId)
  console.log(told(bulk, url))
  process.exitCode = bulk.completed === bulk.total ? 0 : 1
} catch (error) {
  failProgram(error instanceof BulkError ? error.message : error)
}

function readArguments(): { file: string; url: string; skipInvalid: boolean } {
  const options = { url: { type: 'string' }, 'skip-invalid': { type: 'boolean', default: false } } as const
  const { values, positionals } = parseArgs({ options, allowPositionals: true })
  const [file] = positionals
  if (file === undefined || positionals.length > 1) throw new BulkError(USAGE)
  const url = values.url ?? readUrls(loadStartConfig().DATA_DIR)?.api ?? 'http://127.0.0.1:3000'
  if (!URL.canParse(url)) throw new BulkError(`--url ${url} is not an address, such as http://127.0.0.1:3000.`)
  return { file, url, skipInvalid: values['skip-invalid'] }
}

/** The bulk as it was seen last: a bar on a terminal, a line every two seconds elsewhere. */
async function follow(client: BulkClient, bulkId: string): Promise<Bulk> {
  const stream = process.stdout
  const figures = '{value} of {total} sagas, {failed} not completed, time left: {eta_formatted}'
  let done = 0
  const bar = new SingleBar({
    format: stream.isTTY ? `{bar} {percentage}% | ${figures}` : figures,
    stream,
    noTTYOutput: true,
    etaBuffer: 30,
    // Behind none that has ended nothing is known of it.
    formatTime: (seconds) => (done > 0 && Number.isFinite(seconds) ? `${seconds} s` : '?'),
  })
  let last: Bulk | undefined
  for await (const bulk of client.follow(bulkId)) {
    done = bulk.total - bulk.running
    const failed = { failed: done - bulk.completed }
    if (last) bar.update(done, failed)
    else bar.start(bulk.total, done, failed)
    last = bulk
  }
  bar.stop()
  if (!last) throw new BulkError(`Bulk ${bulkId} was not found`)
  return last
}

function told(bulk: Bulk, url: string): string {
  const { bulkId, status, pausedBecause, total, completed, compensated, partiallyCompensated, needsAttention } = bulk
  const counts = [
    `${completed} of ${total} completed`,
    ...(compensated > 0 ? [`${compensated} compensated`] : []),
    ...(partiallyCompensated > 0 ? [`${partiallyCompensated} partially compensated`] : []),
    ...(needsAttention > 0 ? [`${needsAttention} wait for people`] : []),
  ]
  const failures = bulk.failures.map(
    ({ step, type, message, count }) =>
      `  ${count} times${step === undefined ? '' : ` at ${step}`}: ${type}: ${message}`,
  )
  const paused = `Paused: ${pausedBecause} POST ${new URL(`/saga/bulk/${bulkId}/resume`, url).href}`
  return [
    `${counts.join(', ')}.`,
    ...failures,
    ...(status === 'PAUSED' ? [paused] : []),
    `See ${new URL(`/#/bulk/${bulkId}`, url).href}`,
  ].join('\n')
}

import { execFile } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, expect, test } from '@jest/globals'
import type { Measured, Report } from '../../src/bench/results.js'

const folder = mkdtempSync(join(tmpdir(), 'bench-report-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

/** Three rounds, of which the median is as given. */
const around = (figures: Measured): Measured[] =>
  [1.1, 0.9, 1].map(
    (times) => Object.fromEntries(Object.entries(figures).map(([name, value]) => [name, value * times])) as Measured,
  )

const report: Report = {
  plan: {
    rounds: 3,
    sagas: 256,
    inFlight: [1, 64],
    bulks: [100, 1_000, 10_000],
    bulk: 10_000,
    logRows: 500,
    alone: 40,
  },
  machine: { cores: 2, memoryGb: 8, node: '22.1.0', postgres: '18.4', temporal: '1.29.1', sdk: '1.24.0' },
  results: {
    'happy, 64 in flight': {
      single: around({ throughput: 50, p50: 1_200, cpu: 30, events: 10 }),
      grouped: around({ throughput: 500, p50: 120, cpu: 3 }),
      sample: around({ throughput: 20, p50: 3_000, cpu: 90 }),
      limit: around({ throughput: 800, p50: 70, cpu: 2 }),
    },
    'happy, bulk of 1,000': { bulk: around({ throughput: 2_000, cpu: 0.4 }) },
    'happy, bulk of 10,000': {
      bulk: around({ throughput: 2_500, cpu: 0.44, ack: 900, rss: 400 }),
      limit: around({ throughput: 2_000, cpu: 1 }),
    },
  },
}

async function write(written: Report): Promise<{ table: string; page: string; chart: string }> {
  const cwd = mkdtempSync(join(folder, 'docs-'))
  writeFileSync(join(cwd, 'report.json'), JSON.stringify(written))
  const args = [resolve('dist/bench/run.js'), '--from', 'report.json', '--docs']
  const { stdout } = await promisify(execFile)(process.execPath, args, { cwd })
  const read = (path: string) => readFileSync(join(cwd, 'docs', path), 'utf8')
  return { table: stdout, page: read('performance.md'), chart: read('images/performance.svg') }
}

const { table, page, chart } = await write(report)

test('the table has the median of the rounds with the lowest and the highest, and what it is to the sample and the limit', () => {
  const [, block = ''] = /^happy, 64 in flight(.*?)\n\n/ms.exec(table) ?? []
  const cells = (who: string) => new RegExp(`^  ${who} +(.*)$`, 'm').exec(block)?.[1]?.split(/ {2,}/)
  expect(cells('grouped')?.slice(0, 4)).toEqual(['500 (450–550)', '25.0', '0.63', '120 (108–132)'])
  expect(cells('sample')?.slice(0, 2)).toEqual(['20.0 (18.0–22.0)', '0.025'])
})

test.each([
  ['Throughput, 64 in flight: sharing runs beside one workflow a saga', '10.0×'],
  ['Throughput, 64 in flight: sharing runs beside the statements alone, by the same door', '0.63×'],
  ['Median latency, 64 in flight: sharing runs beside one workflow a saga', '0.10×'],
  ['Bulk of 10,000: beside the statements alone', '1.25×'],
  ["Bulk of 10,000: beside Temporal's sample, 64 in flight", '125×'],
  ['Time a saga: in bulks of 10,000 beside 1,000', '0.80×'],
  ['CPU a saga: in bulks of 10,000 beside 1,000', '1.10×'],
  ['Bulk of 10,000: acknowledged in', '900 ms'],
  ['Bulk of 10,000: memory of API and worker, at most', '440 MB'],
])('the page says: %s: %s', (what, value) => {
  expect(page).toContain(`| ${what} | ${value} |`)
})

test('the page says what it was measured on', () => {
  expect(page).toContain('2 cores with 8 GB of memory: Node 22.1.0, PostgreSQL 18.4')
})

test('what was not measured is left out', () => {
  expect(page).not.toMatch(/NaN|undefined|Infinity/)
  expect(page).not.toContain('C refuses: the same')
})

test('the chart has a line for each that answers POST /saga, and a bar for a bulk', () => {
  expect(chart).toMatch(/^<svg [^]*<\/svg>\n$/)
  // Well-formed, or no browser shows it.
  const unstyled = chart.replaceAll(/<!\[CDATA\[[^]*?]]>/g, '')
  expect(unstyled.replaceAll(/<\/?[\w:]+(\s+[\w:-]+="[^"<]*")*\s*\/?>/g, '')).not.toMatch(/[<>]/)
  for (const text of ['the statements alone', 'sagas share runs', 'one workflow a saga', 'A bulk of 10,000', '2,500']) {
    expect(chart).toContain(text)
  }
  expect(chart).not.toMatch(/NaN|undefined/)
})

test('a part that there is not is told', async () => {
  const run = promisify(execFile)(process.execPath, [resolve('dist/bench/run.js'), '--only', 'nothing'])
  await expect(run).rejects.toMatchObject({
    stderr: expect.stringContaining('--only has to be one of load, bulk, growth'),
  })
})

import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from '@jest/globals'
import { Client } from 'pg'
import type { Browser, Page } from 'playwright-core'
import type { LogRow } from '../../src/http/schemas/log.js'
import { seriousFindings, widthOnPhone } from '../helpers/accessible.js'
import { launchChromium, openPage } from '../helpers/browser.js'
import { Sagas, testReplay } from '../helpers/sagas.js'
import { query } from '../helpers/shared.js'
import { startSystem, type System } from '../helpers/system.js'
import { until } from '../helpers/until.js'

const refuses = { C: { mode: 'always', kind: 'reject' } } as const

let system: System
let sagas: Sagas
let browser: Browser
let page: Page
let complaints: string[]
/** A saga that was undone before any page was open. */
let undone: string

beforeAll(async () => {
  ;[system, browser] = await Promise.all([startSystem('log-page'), launchChromium()])
  sagas = new Sagas(system.where)
  undone = (await sagas.run(refuses)).sagaId
})
afterAll(async () => {
  await browser?.close()
  await system?.stop()
})
beforeEach(async () => {
  ;({ page, complaints } = await openPage(browser, `${system.where.api}/#/log`))
  await page.context().grantPermissions(['clipboard-read', 'clipboard-write'])
})
afterEach(async () => {
  await page.close()
  expect(complaints).toEqual([])
})

const button = (name: string | RegExp) => page.getByRole('button', { name, exact: true })
const rowsOf = (sagaId: string) => page.locator(`.log-row[data-saga-id="${sagaId}"]`)
const state = (text: string) => page.locator('.log-state').getByText(text).waitFor()

/** The rows that the page has drawn, from the top, each as "A success". */
const drawn = async (): Promise<string[]> => {
  const rows = await page
    .locator('.log-row')
    .evaluateAll((all) =>
      all
        .toSorted((one, other) => Number(one.getAttribute('data-index')) - Number(other.getAttribute('data-index')))
        .map((row) => `${row.getAttribute('data-service')} ${row.getAttribute('data-status')}`),
    )
  return rows
}

/** All the rows that the page holds, as it copies them. */
async function copied(): Promise<string[]> {
  await button(/^Copy [\d,]+ rows?$/).click()
  await button('Copied').waitFor()
  return (await page.evaluate(() => navigator.clipboard.readText())).split('\n')
}

const asCopied = ({ createdAt, sagaId, service, status, attempt, message }: LogRow) =>
  [createdAt, sagaId, service, status, attempt ?? '', message].join('\t')

const newestRows = async (limit: number): Promise<LogRow[]> => {
  const response = await sagas.request(`/logs?limit=${limit}`)
  return ((await response.json()) as { logs: LogRow[] }).logs
}

test('rows stand newest first, whole, and lead to their saga', async () => {
  await rowsOf(undone).first().waitFor()
  const rows = (await sagas.log(undone)).map((row) => row.replace(/ \d+$/, '')).toReversed()
  expect(await drawn()).toEqual(rows)
  expect(await page.getByRole('table', { name: 'Saga log' }).innerText()).toContain('injected: payment refuses')
  const time = rowsOf(undone).first().locator('time')
  expect(await time.getAttribute('title')).toBe((await newestRows(1))[0]?.createdAt)
  expect(await copied()).toEqual((await newestRows(500)).map(asCopied))
  await rowsOf(undone).first().getByRole('link').click()
  await page.waitForURL((url) => url.hash === `#/saga/${undone}`)
})

test('filters stand in the address, and an address brings them back', async () => {
  const { sagaId } = await sagas.run()
  await page.getByLabel('Service', { exact: true }).selectOption('C')
  await page.waitForURL((url) => url.hash.endsWith('?service=C'))
  await button('Failed only').click()
  await page.waitForURL((url) => url.hash.endsWith('?service=C&status=failed'))
  await until('one row is left', async () => (await drawn()).join() === 'C failed')
  expect(await button('Failed only').getAttribute('aria-pressed')).toBe('true')

  const shared = page.url()
  await button('Clear filters').click()
  await rowsOf(sagaId).first().waitFor()
  expect(page.url()).toBe(`${system.where.api}/#/log`)
  await page.goto(shared)
  await page.reload()
  expect(await page.getByLabel('Service', { exact: true }).inputValue()).toBe('C')
  expect(await page.getByLabel('Status', { exact: true }).inputValue()).toBe('failed')
  await until('one row is left', async () => (await drawn()).join() === 'C failed')

  await button('Clear filters').click()
  await page.getByLabel('Saga id', { exact: true }).fill(` ${sagaId} `)
  await page.waitForURL((url) => url.hash.endsWith(`?saga=${sagaId}`))
  await until('its rows are left', async () => (await drawn()).length === 5)
  await button('Copy as curl').click()
  await button('Copied').waitFor()
  expect(await page.evaluate(() => navigator.clipboard.readText())).toBe(
    `curl -s '${system.where.api}/logs?saga=${sagaId}&limit=500'`,
  )
  await page.getByLabel('Saga id', { exact: true }).fill('no such saga')
  await page.getByText('No row is like that; a saga is named by its whole id.').waitFor()
})

test('what happens comes in at the top, unless it is paused; then it is counted, and shown when asked for', async () => {
  await state('Live: new rows come in at the top.')
  const first = (await sagas.run()).sagaId
  await page.locator(`.log-row[data-index="0"][data-saga-id="${first}"][data-status="completed"]`).waitFor()

  await button('Pause').click()
  await state('Paused.')
  const second = (await sagas.run()).sagaId
  await button('5 new rows: show').waitFor()
  expect(await rowsOf(second).count()).toBe(0)
  await button('5 new rows: show').click()
  await rowsOf(second).first().waitFor()
  await state('Live')
})

test('a row that is committed behind newer ones is not missed', async () => {
  const late = new Client({ connectionString: system.where.database })
  await late.connect()
  const insert = `INSERT INTO saga_log (saga_id, service, status, message) VALUES ('late', 'SAGA', 'started', 'late')`
  await late.query('BEGIN')
  await late.query(insert)
  const { sagaId } = await sagas.run()
  await page.locator(`.log-row[data-saga-id="${sagaId}"][data-status="completed"]`).waitFor()
  await late.query('COMMIT')
  await late.end()
  await rowsOf('late').waitFor()
  // Its place is behind them all the same.
  expect(Number(await rowsOf('late').getAttribute('data-index'))).toBe(5)
})

test('thousands of older rows come as one scrolls; meanwhile nothing moves', async () => {
  await query(
    system.where.database,
    `INSERT INTO saga_log (saga_id, service, status, message)
     SELECT 'many', 'A', 'failed', 'row ' || n || repeat(' and more of it', n % 20) FROM generate_series(1, 3000) AS n`,
  )
  await page.goto(`${system.where.api}/#/log?saga=many`)
  await rowsOf('many')
    .getByText(/^row 3000/)
    .waitFor()
  await page.getByRole('heading', { name: 'Saga log' }).click()
  const first = rowsOf('many').getByText('row 1 and more of it', { exact: true })
  // Once more behind each page that has come, and behind rows that proved taller than they were taken for.
  await until('the log has ended', async () => {
    await page.keyboard.press('End')
    return first.isVisible()
  })
  await page.getByText('This is where the log begins.').waitFor()
  expect(await rowsOf('many').count()).toBeLessThan(100)
  await state('Paused while you read further down.')

  await query(
    system.where.database,
    `INSERT INTO saga_log (saga_id, service, status, message) VALUES ('many', 'A', 'failed', 'the newest')`,
  )
  await button('1 new row: show').waitFor()
  await first.waitFor()
  await button('1 new row: show').click()
  await rowsOf('many').getByText('the newest', { exact: true }).waitFor()
  expect(await copied()).toHaveLength(3001)
})

test('more rows than are caught up with while it is held are said to be so, and come when it goes on', async () => {
  await page.goto(`${system.where.api}/#/log?saga=flood`)
  await page.getByText('No row is like that').waitFor()
  const flood = (count: number) =>
    query(
      system.where.database,
      `INSERT INTO saga_log (saga_id, service, status, message)
       SELECT 'flood', 'B', 'failed', 'flood ' || n FROM generate_series(1, ${count}) AS n`,
    )
  await flood(1)
  await rowsOf('flood').waitFor()
  await button('Pause').click()
  await flood(5_000)
  await button('Many new rows: show').waitFor()
  expect(await rowsOf('flood').count()).toBe(1)
  await button('Many new rows: show').click()
  await rowsOf('flood').getByText('flood 5000', { exact: true }).waitFor()
  await state('Live')
})

test('a server that is restarted under the page: it says so, and misses nothing', async () => {
  await state('Live')
  const before = await sagas.run()
  await rowsOf(before.sagaId).first().waitFor()
  await system.kill()
  await page.getByText('The server does not answer.').first().waitFor()
  await system.restart()
  const during = await sagas.run(refuses)
  await rowsOf(during.sagaId).first().waitFor()
  await until('nothing is missing', async () => {
    const all = (await newestRows(100)).map(asCopied)
    return (await copied()).slice(0, 100).join('\n') === all.join('\n')
  })
  await until('the banner is gone', async () => (await page.getByText('The server does not answer.').count()) === 0)
  // Chromium itself tells of each request that failed.
  expect(new Set(complaints.splice(0))).toEqual(new Set([expect.stringContaining('ERR_CONNECTION_REFUSED')]))
})

test('loading, failing and empty do not look alike', async () => {
  await page.goto(`${system.where.api}/#/log?service=NOBODY`)
  await page.getByText('No row is like that.').waitFor()
  expect(await page.getByLabel('Service', { exact: true }).inputValue()).toBe('NOBODY')
  await page.goto(`${system.where.api}/#/log?saga=%00`)
  await page.getByText('The log can’t be read:').waitFor()
  expect(new Set(complaints.splice(0))).toEqual(new Set([expect.stringContaining('status of 400')]))
  await button('Clear filters').click()
  await page.locator('.log-row').first().waitFor()
})

test('with the keyboard alone: a row that has the focus stays', async () => {
  await page.locator('.log-row').first().waitFor()
  const link = page.locator('.log-row').first().getByRole('link')
  await link.focus()
  await state('Paused while you read')
  const href = await link.getAttribute('href')
  const { sagaId } = await sagas.run()
  await button('5 new rows: show').waitFor()
  expect(await page.evaluate(() => document.activeElement?.getAttribute('href'))).toBe(href)
  await button('5 new rows: show').focus()
  await page.keyboard.press('Enter')
  await rowsOf(sagaId).first().waitFor()
  await state('Live')
})

test('accessible in light and dark, and on a phone', async () => {
  await page.locator('.log-row').first().waitFor()
  expect(await seriousFindings(page)).toEqual([])
  expect(await widthOnPhone(page)).toBe(390)
  expect(await seriousFindings(page)).toEqual([])
})

testReplay(() => sagas)

import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from '@jest/globals'
import type { Browser, Page } from 'playwright-core'
import { launchChromium, openPage } from '../helpers/browser.js'
import { nowhere, Sagas, testReplay } from '../helpers/sagas.js'
import { startSystem, type System } from '../helpers/system.js'

// A system of its own: the page shows the newest rows of all sagas, and others would push these out.
let system: System
let sagas: Sagas
let browser: Browser
let page: Page
let complaints: string[]

beforeAll(async () => {
  ;[system, browser] = await Promise.all([startSystem('page'), launchChromium()])
  sagas = new Sagas(system.where)
})
afterAll(async () => {
  await browser?.close()
  await system?.stop()
})
beforeEach(async () => {
  ;({ page, complaints } = await openPage(browser, sagas.where.api))
})
afterEach(async () => {
  await page.close()
  expect(complaints).toEqual([])
})

const field = (name: string) => page.getByLabel(name, { exact: true })
const badge = () => page.getByTestId('saga-status')
const press = (name: string) => page.getByRole('button', { name, exact: true }).click()

/** Fills the form as a person would; a choice is the text of an option. */
async function fill({
  username = 'Ada Lovelace',
  choices = {},
}: { username?: string; choices?: Record<string, string> } = {}) {
  await field('Username').fill(username)
  await field('Address').fill('12 St James’s Square')
  await field('Payment').fill('4111 1111 1111 1234')
  for (const [name, label] of Object.entries(choices)) await field(name).selectOption({ label })
}

/** Starts the saga of the form; its id, as the page's address has it. */
async function start(): Promise<string> {
  const before = page.url()
  await press('Start saga')
  await page.waitForURL((url) => url.href !== before && url.hash.startsWith('#/saga/'))
  const sagaId = decodeURIComponent(new URL(page.url()).hash.replace('#/saga/', ''))
  sagas.started.push(sagaId)
  return sagaId
}

async function shows(status: string): Promise<void> {
  await page.locator(`[data-testid="saga-status"][data-status="${status}"]`).waitFor()
}

/** The rows of a saga in the log table, oldest first, each as "A success". */
async function tableRows(sagaId: string): Promise<string[]> {
  const rows = await page
    .locator(`tr[data-saga-id="${sagaId}"]`)
    .evaluateAll((all) => all.map((row) => `${row.getAttribute('data-service')} ${row.getAttribute('data-status')}`))
  return rows.toReversed()
}

test('a saga whose C refuses is watched until it is compensated, and is there again after a reload', async () => {
  await fill({ choices: { 'C payment': 'refuses' } })
  const sagaId = await start()
  await shows('COMPENSATED')
  expect(await badge().innerText()).toBe('Compensated')
  const rows = [
    'SAGA started',
    ...['A success', 'B success', 'C failed'],
    'ROLLBACK triggered',
    ...['COMPENSATE_C skipped', 'COMPENSATE_B success', 'COMPENSATE_A success'],
    'SAGA compensated',
  ]
  expect(await tableRows(sagaId)).toEqual(rows)
  expect(await sagas.rows(sagaId)).toEqual(nowhere)
  const saga = page.getByRole('region', { name: 'Saga', exact: true })
  expect(await saga.innerText()).toContain('Rejected: injected: payment refuses')
  expect(await page.locator('body').innerText()).not.toContain('4111')

  await page.reload()
  await shows('COMPENSATED')
  await page.locator(`tr[data-saga-id="${sagaId}"]`).first().waitFor()
  expect(await tableRows(sagaId)).toEqual(rows)
  expect(await saga.innerText()).toContain(sagaId)
})

test('a second saga takes the place of the first, and the log leads back to it', async () => {
  await fill()
  await press('All goes well')
  const first = await start()
  await shows('COMPLETED')
  await press('C refuses')
  const second = await start()
  await shows('COMPENSATED')
  expect(second).not.toBe(first)
  await page.locator(`tr[data-saga-id="${first}"] a`).first().click()
  await shows('COMPLETED')
  expect(page.url()).toContain(first)
})

test('a saga that hangs is cancelled with a reason, and undone', async () => {
  await fill({ choices: { 'C payment': 'hangs past its time-out once' } })
  const sagaId = await start()
  await page.locator(`tr[data-saga-id="${sagaId}"][data-service="B"]`).waitFor()
  await field('Reason').fill('ordered twice')
  await press('Cancel saga')
  await shows('COMPENSATED')
  expect(await page.getByRole('region', { name: 'Saga', exact: true }).innerText()).toContain(
    'cancelled by anonymous: ordered twice',
  )
  expect(await sagas.rows(sagaId)).toEqual(nowhere)
})

test('markup in a name is shown as text', async () => {
  const username = '<img src=x onerror="console.error(1)"><b>bold</b>'
  await fill({ username })
  await press('All goes well')
  await start()
  await shows('COMPLETED')
  expect(await page.getByText(username, { exact: true }).count()).toBe(1)
})

test('a saga that there is not is said to be unknown', async () => {
  await page.goto(`${sagas.where.api}/#/saga/nobody`)
  await page.getByText('There is no saga nobody.').waitFor()
  expect(await badge().count()).toBe(0)
  expect(new Set(complaints.splice(0))).toEqual(new Set([expect.stringContaining('status of 404')]))
})

testReplay(() => sagas)

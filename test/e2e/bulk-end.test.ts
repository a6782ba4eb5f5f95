import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from '@jest/globals'
import type { Browser, Page } from 'playwright-core'
import type { Bulk } from '../../src/http/schemas/bulk.js'
import { seriousFindings, widthOnPhone } from '../helpers/accessible.js'
import { launchChromium, openPage } from '../helpers/browser.js'
import { ada, nowhere, Sagas } from '../helpers/sagas.js'
import { startSystem, type System } from '../helpers/system.js'
import { until } from '../helpers/until.js'

let system: System
let sagas: Sagas
let browser: Browser
let page: Page
let complaints: string[]

beforeAll(async () => {
  ;[system, browser] = await Promise.all([startSystem('bulk-end-page'), launchChromium()])
  sagas = new Sagas(system.where)
})
afterAll(async () => {
  await browser?.close()
  await system?.stop()
})
beforeEach(async () => {
  ;({ page, complaints } = await openPage(browser, `${sagas.where.api}/#/bulk`))
})
afterEach(async () => {
  await page.close()
  expect(complaints).toEqual([])
})

const press = (name: string | RegExp) => page.getByRole('button', { name, exact: true }).click()
const field = (name: string) => page.getByLabel(name, { exact: true })
const status = (word: string) => page.locator('[data-testid="bulk-status"]', { hasText: word })
const number = (name: string) =>
  page.getByRole('list', { name: 'Its sagas' }).locator(`[data-part="${name}"] strong`).innerText()

const happy = { ...ada, failures: {} }
/** Under way for some 16 s where nobody stops it. */
const slow = { ...ada, failures: { C: { mode: 'first', n: 3, kind: 'hang' } } }

/** A bulk of these sagas, its page open. */
async function open(lines: object[]): Promise<string> {
  const response = await sagas.post('/saga/bulk', { sagas: lines })
  const { bulkId } = (await response.json()) as { bulkId: string }
  await page.goto(`${sagas.where.api}/#/bulk/${bulkId}`)
  return bulkId
}

async function sagaIds(bulkId: string): Promise<string[]> {
  const response = await sagas.request(`/saga?bulk=${bulkId}&limit=500`)
  return ((await response.json()) as { sagas: { sagaId: string }[] }).sagas.map(({ sagaId }) => sagaId)
}

test('the rest of a bulk is cancelled once its number was said, with who and why in each log', async () => {
  const bulkId = await open([slow, slow, slow])
  await status('Running').waitFor()
  await press('Cancel the rest…')
  const dialog = page.getByRole('dialog', { name: 'Cancel the rest of this bulk?' })
  await dialog.getByText(/^3 sagas would be cancelled/).waitFor()
  expect(await seriousFindings(page)).toEqual([])
  expect(await widthOnPhone(page)).toBe(390)
  await field('Reason').fill('the wrong file')
  await field('Your name').fill('grace')
  await press('Cancel 3 sagas')
  await dialog.waitFor({ state: 'hidden' })
  // They are cancelled from then on, though a call of theirs is still waited for.
  await page
    .getByText(/What is left can’t be cancelled: it has been|is being rolled back: cancelled by grace/)
    .waitFor()
  expect(await page.getByRole('button', { name: 'Cancel the rest…' }).count()).toBe(0)

  await status('Ended').waitFor({ timeout: 90_000 })
  expect(await number('compensated')).toBe('3')
  expect(await page.getByRole('button', { name: /Cancel|Undo/ }).count()).toBe(0)
  expect(await page.getByRole('region', { name: 'What went wrong' }).innerText()).toContain('Cancelled')
  for (const sagaId of await sagaIds(bulkId)) {
    const messages = (await sagas.logRows(sagaId)).map(({ message }) => message)
    expect(messages).toContainEqual(expect.stringMatching(/grace.*the wrong file/))
    expect(await sagas.rows(sagaId)).toEqual(nowhere)
  }
})

test('a bulk that ends while somebody is asked leaves the question open, and says that none is left', async () => {
  await open([{ ...ada, failures: { C: { mode: 'first', n: 1, kind: 'hang' } } }])
  await status('Running').waitFor()
  await press('Cancel the rest…')
  const dialog = page.getByRole('dialog', { name: 'Cancel the rest of this bulk?' })
  await field('Reason').fill('the wrong f')
  await dialog.getByText('There is none left. Close this to see how it stands.').waitFor()
  await press('Close')
  await dialog.waitFor({ state: 'hidden' })
  await status('All completed').waitFor()
  expect(await page.getByRole('button', { name: 'Cancel the rest…' }).count()).toBe(0)
})

test('what has completed is undone, and the page follows it to its end again', async () => {
  const bulkId = await open(Array.from({ length: 5 }, () => happy))
  await status('All completed').waitFor()
  await press('Undo what has completed…')
  const dialog = page.getByRole('dialog', { name: 'Undo what has completed?' })
  await dialog.getByText(/^5 sagas would be undone/).waitFor()
  // Who changes their mind changes nothing.
  await press('Leave it as it is')
  await dialog.waitFor({ state: 'hidden' })
  expect(await number('completed')).toBe('5')

  await press('Undo what has completed…')
  await field('Reason').fill('they were sent twice')
  await field('Your name').fill('grace')
  await press('Undo 5 sagas')
  await status('Ended').waitFor({ timeout: 90_000 })
  expect(await number('compensated')).toBe('5')
  for (const sagaId of await sagaIds(bulkId)) expect(await sagas.rows(sagaId)).toEqual(nowhere)
})

test('a bulk that is being undone says so, by whom and why, and nothing of it is to be cancelled', async () => {
  const undone = { ...ada, failures: { C: { mode: 'first', n: 2, kind: 'hang', on: 'compensate' } } }
  const bulkId = await open([undone, undone, undone])
  await status('All completed').waitFor()
  await press('Undo what has completed…')
  await field('Reason').fill('they were sent twice')
  await field('Your name').fill('grace')
  await press('Undo 3 sagas')

  await status('Rolling back').waitFor()
  await page.getByText('What has completed is being undone: compensated by grace: they were sent twice.').waitFor()
  expect(await page.getByRole('button', { name: 'Cancel the rest…' }).count()).toBe(0)
  expect(await page.getByRole('button', { name: 'Undo what has completed…' }).count()).toBe(0)
  expect(await seriousFindings(page)).toEqual([])
  expect(await widthOnPhone(page)).toBe(390)
  await page.goto(`${sagas.where.api}/#/bulk`)
  await page.locator(`[data-bulk-id="${bulkId}"]`).getByText('Rolling back').waitFor()
  await page.goto(`${sagas.where.api}/#/bulk/${bulkId}`)
  await status('Ended').waitFor({ timeout: 90_000 })
  expect(await number('compensated')).toBe('3')
})

test('where more would be undone than the page knew of, nothing is, and it asks again with that number', async () => {
  const bulkId = await open([happy, happy])
  await status('All completed').waitFor()
  // A page that has not heard of the second.
  const known = (await (await sagas.request(`/saga/bulk/${bulkId}`)).json()) as Bulk
  const stale = JSON.stringify({ ...known, completed: 1, compensated: 1 } satisfies Bulk)
  const contentType = 'text/event-stream'
  await page.route(`**/saga/bulk/${bulkId}/events`, (route) =>
    route.fulfill({ contentType, body: `event: bulk\ndata: ${stale}\n\n` }),
  )
  await page.route(`**/saga/bulk/${bulkId}`, (route) => route.fulfill({ json: JSON.parse(stale) }))
  await page.reload()
  await press('Undo what has completed…')
  await field('Reason').fill('they were sent twice')
  await press('Undo 1 saga')
  await page.getByRole('alert').getByText('Nothing was changed.').waitFor()
  expect(complaints.splice(0)).toEqual([expect.stringContaining('status of 409')])
  for (const sagaId of await sagaIds(bulkId)) expect((await sagas.get(sagaId)).status).toBe('COMPLETED')

  await page.unrouteAll()
  await press('Undo 2 sagas')
  await until('both are undone', async () => (await number('compensated')) === '2')
  await status('Ended').waitFor()
})

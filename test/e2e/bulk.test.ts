import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from '@jest/globals'
import type { Browser, Page } from 'playwright-core'
import type { Bulk } from '../../src/http/schemas/bulk.js'
import { seriousFindings, widthOnPhone } from '../helpers/accessible.js'
import { launchChromium, openPage } from '../helpers/browser.js'
import { ada, Sagas } from '../helpers/sagas.js'
import { startSystem, type System } from '../helpers/system.js'
import { until } from '../helpers/until.js'

const tokens = {
  vera: 'token-of-vera-0123456789',
  sam: 'token-of-sam-0123456789',
  otto: 'token-of-otto-0123456789',
}
let system: System
let guarded: System
let sagas: Sagas
let browser: Browser
let page: Page
let complaints: string[]

beforeAll(async () => {
  ;[system, guarded, browser] = await Promise.all([
    startSystem('bulk-page'),
    startSystem('bulk-page-login', {
      API_TOKENS: `vera:viewer:${tokens.vera},sam:starter:${tokens.sam},otto:operator:${tokens.otto}`,
    }),
    launchChromium(),
  ])
  sagas = new Sagas(system.where)
  // Only what a line says shall fail.
  const none = { mode: 'none' }
  for (const [where, headers] of [
    [system.where, {}],
    [guarded.where, { authorization: `Bearer ${tokens.otto}` }],
  ] as const) {
    const body = JSON.stringify({ A: none, B: none, C: none })
    const init = { method: 'PUT', headers: { 'content-type': 'application/json' }, body }
    expect((await new Sagas(where, headers).request('/failures', init)).status).toBe(200)
  }
})
afterAll(async () => {
  await browser?.close()
  await Promise.all([system?.stop(), guarded?.stop()])
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
const part = (name: string) => page.getByRole('list', { name: 'Its sagas' }).locator(`[data-part="${name}"]`)
const number = (name: string) => part(name).locator('strong').innerText()
const bar = () => page.getByRole('progressbar', { name: 'Sagas that run no more' })
const hash = () => decodeURIComponent(new URL(page.url()).hash)
const onBulk = async () => {
  await page.waitForURL(/#\/bulk\/./)
  // The list has badges of its own, and goes only when the page is there.
  await page.locator('#bulk-title').waitFor()
  return hash().replace('#/bulk/', '')
}
const rows = () => page.locator('[role="row"][data-saga-id]')

const happy = { ...ada, failures: {} }
const refused = { ...ada, failures: { C: { mode: 'always', kind: 'reject' } } }
/** Stuck on B's undo after 40 s; undone when it is tried again. */
const stuck = { ...ada, failures: { ...refused.failures, B: { mode: 'first', n: 8, on: 'compensate' } } }
/** Under way for some 5 s, until its time-out. */
/** It leaves its bulk when its call hangs, and in its own run that hangs once more. */
const slow = { ...ada, failures: { C: { mode: 'first', n: 2, kind: 'hang' } } }

const ndjson = (lines: object[]) => lines.map((line) => JSON.stringify(line)).join('\n')
const times = (n: number, line: object) => Array.from({ length: n }, () => line)
const file = (lines: object[], name = 'users.ndjson') => ({
  name,
  mimeType: 'application/x-ndjson',
  buffer: Buffer.from(ndjson(lines)),
})

async function get(bulkId: string): Promise<Bulk> {
  const response = await sagas.request(`/saga/bulk/${bulkId}`)
  expect(response.status).toBe(200)
  return (await response.json()) as Bulk
}

async function start(lines: object[], on = sagas): Promise<string> {
  const response = await on.post('/saga/bulk', { sagas: lines })
  expect(response.status).toBe(202)
  return ((await response.json()) as { bulkId: string }).bulkId
}

const open = (bulkId: string) => page.goto(`${sagas.where.api}/#/bulk/${bulkId}`)

test('where there is no bulk yet it says so, and how one is started from a shell', async () => {
  await page.getByText('There is no bulk yet.').waitFor()
  const { origin } = new URL(sagas.where.api)
  expect(await page.locator('figure', { hasText: 'npm run bulk' }).innerText()).toContain(`--url '${origin}'`)
  expect(await page.locator('figure', { hasText: 'curl' }).innerText()).toContain(`'${origin}/saga/bulk'`)
  expect(await seriousFindings(page)).toEqual([])
  expect(await widthOnPhone(page)).toBe(390)
})

test('lines that are pasted become a bulk, which is watched until its end, and leads to its sagas', async () => {
  await press('Put in 100 examples')
  await page.getByText('100 lines', { exact: true }).waitFor()
  await press('Start 100 sagas')
  const bulkId = await onBulk()
  await status('All completed').waitFor()
  expect(await bar().getAttribute('aria-valuetext')).toBe('100 of 100: 100 completed')
  expect(await bar().getAttribute('aria-valuenow')).toBe('100')
  expect(await number('completed')).toBe('100')
  await page.getByText('All 100 sagas have completed.').waitFor()
  expect(await get(bulkId)).toMatchObject({ status: 'ENDED', total: 100, completed: 100, running: 0 })
  expect(await seriousFindings(page)).toEqual([])
  expect(await widthOnPhone(page)).toBe(390)

  // Another saga is not among them.
  const single = await sagas.start()
  await part('completed').getByRole('link').click()
  await page.waitForURL((url) => url.hash.includes(`bulk=${bulkId}`))
  expect(hash()).toContain('status=COMPLETED')
  await rows().first().waitFor()
  expect(await page.locator(`[data-saga-id="${single}"]`).count()).toBe(0)
  expect(await page.getByText('That is all: 100 sagas.').count()).toBe(1)
  await rows().first().getByRole('link').click()
  await page.getByRole('link', { name: `bulk ${bulkId}` }).click()
  await status('All completed').waitFor()

  await page.goBack()
  await page.goBack()
  await press('Any bulk')
  await page.locator(`[data-saga-id="${single}"]`).waitFor()
  expect(hash()).not.toContain('bulk=')
})

test('a line that is not right refuses all and is named; where it is left out the others run', async () => {
  await field('Or lines').fill(`${ndjson([happy])}\n{"username":"Grace"}\n\n${ndjson([happy])}\nnonsense`)
  await press('Start 4 sagas')
  const wrong = page.getByRole('region', { name: 'Lines that are not right' })
  await wrong.getByText('Line 2', { exact: true }).waitFor()
  const told = await wrong.innerText()
  expect(told).toMatch(/Line 2\s+address .*payment /s)
  expect(told).toContain('Line 5')
  expect(await seriousFindings(page)).toEqual([])
  expect(complaints.splice(0)).toEqual([expect.stringContaining('status of 400')])

  await field('Leave out lines that are not right').check()
  expect(await wrong.count()).toBe(0)
  await press('Start 4 sagas')
  const bulkId = await onBulk()
  await status('All completed').waitFor()
  expect(await number('completed')).toBe('2')
  const left = page.getByRole('region', { name: '2 lines left out' })
  expect(await left.innerText()).toMatch(/Line 2\s+address .*payment .*Line 5/s)
  expect(await get(bulkId)).toMatchObject({ total: 2, rejected: 2 })
})

test('nothing is sent where nothing was chosen', async () => {
  await press('Start sagas')
  await page.getByText('Choose a file, or paste lines.').waitFor()
  expect(hash()).toBe('#/bulk')
})

test('of a file: what went wrong is counted by its error, and what is stuck leads to a decision', async () => {
  await field('File').setInputFiles(file([...times(5, happy), ...times(3, refused), stuck]))
  await press('Start the sagas of users.ndjson')
  const bulkId = await onBulk()
  await status('Ended, some wait').waitFor({ timeout: 90_000 })
  expect(await bar().getAttribute('aria-valuetext')).toBe('9 of 9: 5 completed, 3 compensated, 1 needs attention')
  await page.getByText('5 of 9 sagas completed. 1 saga waits for a person.').waitFor()
  const wrong = page.getByRole('region', { name: 'What went wrong' })
  expect(await wrong.innerText()).toMatch(/4\s+C\s+Rejected/)
  expect(await seriousFindings(page)).toEqual([])
  expect(await widthOnPhone(page)).toBe(390)

  const waiting = page.getByRole('region', { name: '1 saga waits for a person' })
  expect(await waiting.innerText()).toContain('Undo of B stuck')
  const { sagas: found } = (await (await sagas.request(`/saga?bulk=${bulkId}&status=NEEDS_ATTENTION`)).json()) as {
    sagas: { sagaId: string }[]
  }
  const sagaId = found[0]?.sagaId ?? ''
  await waiting.getByRole('link', { name: sagaId }).click()
  await page.getByRole('heading', { name: 'Saga', exact: true }).waitFor()
  const retry = { step: 'B', action: 'retry', reason: 'it works again', actor: 'grace' }
  expect((await sagas.post(`/saga/${sagaId}/decision`, retry)).status).toBe(200)
  // Behind its end the bulk's page still hears of it.
  await page.goBack()
  await until('it waits no more', async () => (await number('compensated')) === '4')
  expect(await waiting.count()).toBe(0)
  await status('Ended').waitFor()

  await wrong.getByRole('link', { name: /^C/ }).first().click()
  await page.waitForURL((url) => url.hash.includes('step=C'))
  expect(hash()).toContain(`bulk=${bulkId}`)
})

test('a bulk that pauses by itself says why, and goes on once it is resumed', async () => {
  // Ten windows. Behind the fifth that fails it takes no more, but what is under way; the rest is too little to pause again.
  const bulkId = await start(times(2_400, refused))
  await open(bulkId)
  await status('Paused').waitFor({ timeout: 90_000 })
  const paused = page.getByRole('region', { name: /^Paused, with [\d,]+ sagas to go/ })
  expect(await paused.getByRole('alert').innerText()).toBe((await get(bulkId)).pausedBecause)
  await page.getByText('What had begun goes on to its end; the others have not begun.').waitFor()
  expect(await seriousFindings(page)).toEqual([])
  expect(await widthOnPhone(page)).toBe(390)

  await press('Resume')
  await status('Ended').waitFor({ timeout: 90_000 })
  expect(await paused.count()).toBe(0)
  expect(await number('compensated')).toBe('2,400')
  await page.getByText('0 of 2,400 sagas completed. The others were rolled back.').waitFor()
})

test('all bulks are listed, newest first, and lead to their pages', async () => {
  const bulkId = await start([happy])
  const listed = page.locator('[data-bulk-id]')
  await page.locator(`[data-bulk-id="${bulkId}"]`).waitFor()
  expect(await listed.first().getAttribute('data-bulk-id')).toBe(bulkId)
  await listed.first().getByText('All completed').waitFor()
  expect(await listed.first().getByRole('progressbar').getAttribute('aria-valuetext')).toBe('1 of 1: 1 completed')
  expect(await seriousFindings(page)).toEqual([])
  expect(await widthOnPhone(page)).toBe(390)
  // By keyboard.
  await listed.first().getByRole('link').focus()
  await page.keyboard.press('Enter')
  expect(await onBulk()).toBe(bulkId)
  expect(await page.evaluate(() => document.activeElement?.id)).toBe('bulk-title')
})

test('where the server is restarted under the page it says so, takes up again, and tells how it ended', async () => {
  const bulkId = await start([...times(20, happy), slow])
  await open(bulkId)
  await status('Running').waitFor()
  await until('all but one have ended', async () => (await number('completed')) === '20')
  await system.kill()
  await page.getByText('Connection lost; it is taken up again by itself.').waitFor()
  // How it stood is still shown.
  expect(await bar().getAttribute('aria-valuemax')).toBe('21')
  await system.restart()
  await status('All completed').waitFor({ timeout: 90_000 })
  expect(await page.getByText('Connection lost').count()).toBe(0)
  expect(await get(bulkId)).toMatchObject({ status: 'ENDED', completed: 21 })
  // Chromium itself says on its console that nobody answered, or only in part.
  expect(complaints.splice(0).filter((one) => !one.includes('net::ERR'))).toEqual([])
})

test('a bulk that there is not is said to be unknown', async () => {
  await open('00000000-0000-4000-8000-000000000000')
  await page.getByRole('alert').getByText('look for it among').waitFor()
  await page.getByRole('alert').getByRole('link', { name: 'all bulks' }).click()
  await page.waitForURL((url) => url.hash === '#/bulk')
  expect(new Set(complaints.splice(0))).toEqual(new Set([expect.stringContaining('status of 404')]))
})

test('what one’s role does not allow is not offered', async () => {
  const bulkId = await start([ada], new Sagas(guarded.where, { authorization: `Bearer ${tokens.sam}` }))
  await page.close()
  ;({ page, complaints } = await openPage(browser, `${guarded.where.api}/#/bulk`))
  const logIn = async (token: string) => {
    await field('Token').fill(token)
    await press('Log in')
  }
  await logIn(tokens.vera)
  await page.getByText('To start sagas needs the role starter; vera is viewer.').waitFor()
  expect(await page.getByRole('button', { name: /^Start/ }).count()).toBe(0)
  await page.locator(`[data-bulk-id="${bulkId}"]`).getByRole('link').click()
  await page
    .getByText('Operators may cancel the rest, or undo what has completed; you are logged in as a viewer.')
    .waitFor()
  expect(await page.getByRole('button', { name: /Undo|Cancel/ }).count()).toBe(0)
  expect(await seriousFindings(page)).toEqual([])

  await press('Log out vera')
  await logIn(tokens.sam)
  await page.getByRole('button', { name: 'Log out sam' }).waitFor()
  await page.goto(`${guarded.where.api}/#/bulk`)
  await field('Or lines').fill(ndjson([ada]))
  await press('Start 1 saga')
  await onBulk()
  await status('All completed').waitFor()
})

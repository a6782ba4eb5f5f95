import { randomUUID } from 'node:crypto'
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from '@jest/globals'
import type { Browser, Page } from 'playwright-core'
import { seriousFindings, widthOnPhone } from '../helpers/accessible.js'
import { launchChromium, openPage } from '../helpers/browser.js'
import { ada, Sagas, testReplay } from '../helpers/sagas.js'
import { query } from '../helpers/shared.js'
import { startSystem, type System } from '../helpers/system.js'
import { until } from '../helpers/until.js'

// A system of its own: what the whole list holds is up to this file.
let system: System
let sagas: Sagas
let browser: Browser
let page: Page
let complaints: string[]

beforeAll(async () => {
  ;[system, browser] = await Promise.all([startSystem('list-page'), launchChromium()])
  sagas = new Sagas(system.where)
})
afterAll(async () => {
  await browser?.close()
  await system?.stop()
})
beforeEach(async () => {
  ;({ page, complaints } = await openPage(browser, `${sagas.where.api}/#/sagas`))
})
afterEach(async () => {
  await page.close()
  expect(complaints).toEqual([])
})

const many = 5_000
const table = () => page.getByRole('table', { name: 'Sagas, newest first' })
const rowOf = (sagaId: string) => page.locator(`[role="row"][data-saga-id="${sagaId}"]`)
const rows = () => page.locator('[role="row"][data-saga-id]')
const chip = (name: string) => page.getByRole('group', { name: 'Status' }).getByRole('button', { name })
const search = () => page.getByRole('searchbox', { name: 'Search' })
const view = (of = '') => page.goto(`${sagas.where.api}/#/sagas${of}`)
const hash = () => decodeURIComponent(new URL(page.url()).hash)
const shownIds = () => rows().evaluateAll((all) => all.map((row) => row.getAttribute('data-saga-id')))

async function start(username: string, failures = {}): Promise<string> {
  const response = await sagas.post('/saga', { ...ada, username, failures })
  const { sagaId } = (await response.json()) as { sagaId: string }
  sagas.started.push(sagaId)
  return sagaId
}

const refusedC = { C: { mode: 'always', kind: 'reject' } } as const

/** Rows of sagas that have completed long ago, one a second. */
const insertMany = () =>
  query(
    sagas.where.database,
    `INSERT INTO saga (saga_id, type, label, view, input_hash, steps, fate, status, started_at, ended_at)
     SELECT 'old-' || lpad(n::text, 5, '0'), 'createUserSaga', 'Old ' || n, jsonb_build_object('username', 'Old ' || n), '',
            '[]', 'completed', 'COMPLETED', at, at + interval '250 ms'
     FROM generate_series(1, $1) AS n, LATERAL (SELECT '2020-01-01Z'::timestamptz + n * interval '1 s' AS at) AS made`,
    [many],
  )

test('where there is no saga yet it says how to start one, and shows the first that comes', async () => {
  await page.getByText('There is no saga yet.').waitFor()
  expect(await page.getByText('curl').innerText()).toContain(`${sagas.where.api.replace(/\/$/, '')}/saga`)
  await page.getByRole('link', { name: 'Start one' }).waitFor()
  expect(await seriousFindings(page)).toEqual([])
  const sagaId = await start('First')
  await rowOf(sagaId).waitFor()
  await rowOf(sagaId).locator('[data-status="COMPLETED"]').waitFor()
  expect(await rowOf(sagaId).innerText()).toContain('First')
})

test('5,000 sagas are scrolled to the end, with few rows in the page', async () => {
  await insertMany()
  // Opened with that address: one that is written into an open page has no place to come back to.
  await view('?q=old-')
  await page.reload()
  await rowOf('old-05000').waitFor()
  // Once more behind each page that has come, the last one too.
  await until('the end is reached', async () => {
    expect(await rows().count()).toBeLessThan(80)
    await page.evaluate(() => window.scrollTo(0, document.documentElement.scrollHeight))
    return rowOf('old-00001').isVisible()
  })
  await page.getByText(`That is all: ${many.toLocaleString('en')} sagas.`).waitFor()
  expect(await rowOf('old-00001').getAttribute('aria-rowindex')).toBe(String(many + 1))
  expect(await table().getAttribute('aria-rowcount')).toBe(String(many + 1))
  expect(await rows().count()).toBeLessThan(80)

  // To a saga and back: the same place.
  await rowOf('old-00001').getByRole('link').click()
  await page.waitForURL(/saga\/old-00001/)
  await table().waitFor({ state: 'detached' })
  await page.goBack()
  await rowOf('old-00001').waitFor()
})

test('a filter stands in the address, and its view is the same for whoever opens it', async () => {
  const name = `Shared ${randomUUID()}`
  const [completed, refused] = await Promise.all([start(name), start(name, refusedC), start('Another')])
  await Promise.all([completed, refused].map((sagaId) => sagas.ended(sagaId)))
  await search().fill(name)
  await page.waitForURL((url) => decodeURIComponent(url.hash).includes('q=Shared'))
  await until('the two are shown', async () => (await shownIds()).length === 2)
  await chip('Compensated').first().click()
  await chip('Needs attention').click()
  await page.getByLabel('Step', { exact: true }).selectOption('C')
  await until('one is shown', async () => (await shownIds()).join() === refused)
  expect(hash()).toContain('status=NEEDS_ATTENTION,COMPENSATED')
  expect(hash()).toContain('step=C')
  const row = rowOf(refused)
  expect(await row.innerText()).toContain('C failed')
  expect(await row.innerText()).toContain('Rejected')
  expect(await row.locator('time').getAttribute('datetime')).toBe((await sagas.get(refused)).startedAt)

  const { page: other, complaints: ofOther } = await openPage(browser, page.url())
  await other.locator(`[role="row"][data-saga-id="${refused}"]`).waitFor()
  expect(await other.locator('[role="row"][data-saga-id]').count()).toBe(1)
  expect(await other.getByRole('searchbox').inputValue()).toBe(name)
  await other.close()
  expect(ofOther).toEqual([])

  // Each filter can be taken back.
  await page.getByRole('button', { name: 'Any status' }).click()
  await page.getByLabel('Step', { exact: true }).selectOption('')
  await until('both are shown', async () => (await shownIds()).length === 2)
  await search().press('Escape')
  await page.waitForURL((url) => !url.hash.includes('q='))
  expect(await search().inputValue()).toBe('')
  await search().fill(completed.slice(0, 13))
  await until('it is found by its id', async () => (await shownIds()).join() === completed)

  await search().fill('nobody at all')
  await page.getByText('No saga fits this filter.').waitFor()
  expect(await seriousFindings(page)).toEqual([])
  await page.getByRole('button', { name: 'Clear the filter' }).click()
  await rowOf(completed).waitFor()
  expect(hash()).toBe('#/sagas')
})

test('what is in the address and makes no sense is left out', async () => {
  await view('?status=COMPLETED,NONSENSE&page=7')
  await rows().first().waitFor()
  expect(await chip('Completed').getAttribute('aria-pressed')).toBe('true')
  await view('?status=NONSENSE')
  await until('none is pressed', async () => (await page.locator('.chips [aria-pressed="true"]').count()) === 0)
})

test('a saga that begins is there by itself, and its row tells how it goes on', async () => {
  await rows().first().waitFor()
  const sagaId = await start('Live', { C: { mode: 'first', n: 1, kind: 'hang' } })
  await rowOf(sagaId).locator('[data-status="RUNNING"]').waitFor()
  await rowOf(sagaId).locator('[data-status="COMPLETED"]').waitFor()
  expect((await shownIds())[0]).toBe(sagaId)
})

test('what begins while one is in the list waits, and no row moves', async () => {
  await view('?q=O')
  await rows().first().waitFor()
  await page.evaluate(() => window.scrollTo(0, 600))
  const anchor = rowOf('old-04980')
  await anchor.waitFor()
  const before = (await anchor.boundingBox())?.y
  const arrived = [await start('Odd one'), await start('Odd two')]
  const news = page.getByRole('button', { name: '2 new sagas' })
  await news.waitFor()
  expect((await anchor.boundingBox())?.y).toBe(before)
  await news.click()
  for (const sagaId of arrived) await rowOf(sagaId).waitFor()
  expect((await shownIds()).slice(0, 2)).toEqual(arrived.toReversed())
  expect(await news.count()).toBe(0)

  // Under the pointer as well, at the very top.
  await rows().first().hover()
  const third = await start('Odd three')
  await page.getByRole('button', { name: '1 new saga' }).waitFor()
  expect((await shownIds())[0]).toBe(arrived[1])
  await page.mouse.move(5, 5)
  await rowOf(third).waitFor()
})

test('a saga that does not fit the filter any more leaves it', async () => {
  const name = `Leaves ${randomUUID()}`
  const sagaId = await start(name, { C: { mode: 'first', n: 2, kind: 'hang' } })
  await view(`?status=RUNNING&q=${encodeURIComponent(name)}`)
  await until('it alone is shown', async () => (await shownIds()).join() === sagaId)
  await rowOf(sagaId).hover()
  await rowOf(sagaId).getByText('moved on').waitFor()
  await page.mouse.move(5, 5)
  await page.getByText('No saga fits this filter.').waitFor()
  expect((await sagas.get(sagaId)).status).toBe('COMPLETED')
})

test('the keyboard finds, moves and opens', async () => {
  await rows().first().waitFor()
  await page.keyboard.press('/')
  await page.keyboard.type('old-0')
  await until('they are found', async () => (await shownIds())[0] === 'old-05000')
  const focused = () =>
    page.evaluate(() => document.activeElement?.closest('[data-saga-id]')?.getAttribute('data-saga-id'))
  await page.keyboard.press('ArrowDown')
  expect(await focused()).toBe('old-05000')
  await page.keyboard.press('j')
  await page.keyboard.press('ArrowDown')
  await page.keyboard.press('k')
  expect(await focused()).toBe('old-04999')
  // Further than what is on view, and than what was read.
  const moved: (string | null | undefined)[] = []
  while (moved.at(-1) !== 'old-04849' && moved.length < 2_000) {
    await page.keyboard.press('j')
    // At the last row that was read it stays until the next page has come.
    const now = await focused()
    if (now !== moved.at(-1)) moved.push(now)
  }
  const passed = Array.from({ length: 150 }, (_, n) => `old-${String(4_998 - n).padStart(5, '0')}`)
  expect(moved).toEqual(passed)
  const box = await rowOf('old-04849').boundingBox()
  expect(box?.y).toBeGreaterThan(0)
  expect((box?.y ?? 0) + (box?.height ?? 0)).toBeLessThanOrEqual(page.viewportSize()?.height ?? 0)
  await page.keyboard.press('Enter')
  await page.waitForURL(/saga\/old-04849/)
})

test('an id is copied from its row, and a nested saga leads to its parent', async () => {
  await page.context().grantPermissions(['clipboard-read', 'clipboard-write'])
  const parent = await start('Parent')
  await sagas.ended(parent)
  await query(
    sagas.where.database,
    `INSERT INTO saga (saga_id, type, view, input_hash, steps, fate, status, ended_at, parent_id, parent_step)
     VALUES ($1 || '.hotel', 'staySaga', '{}', '', '[]', 'completed', 'COMPLETED', now(), $1, 'hotel')`,
    [parent],
  )
  await view(`?q=${parent}`)
  const nested = rowOf(`${parent}.hotel`)
  await nested.hover()
  await nested.getByRole('button', { name: `Copy saga id ${parent}.hotel` }).click()
  await nested.getByText('Copied').waitFor()
  expect(await page.evaluate(() => navigator.clipboard.readText())).toBe(`${parent}.hotel`)
  expect(await nested.innerText()).toContain('step hotel of')
  await nested.getByRole('link', { name: parent, exact: true }).click()
  await page.waitForURL((url) => url.hash === `#/saga/${parent}`)
})

test('on a phone each saga is a card, and nothing sticks out', async () => {
  await page.setViewportSize({ width: 390, height: 844 })
  const sagaId = await start('A name that is rather long for a phone, and goes on and on and on', refusedC)
  await sagas.ended(sagaId)
  await view('?status=COMPENSATED')
  await rowOf(sagaId).waitFor()
  expect(await widthOnPhone(page)).toBe(390)
  expect((await rowOf(sagaId).boundingBox())?.height).toBeGreaterThan(80)
  expect(await rowOf(sagaId).innerText()).toContain('C failed')
  expect(await seriousFindings(page)).toEqual([])
  await rowOf(sagaId).click({ position: { x: 20, y: 40 } })
  await page.waitForURL(/saga\//)
})

test('axe finds nothing serious on a full list', async () => {
  await rows().first().waitFor()
  expect(await rows().count()).toBeGreaterThan(10)
  expect(await seriousFindings(page)).toEqual([])
})

test('where the server is restarted under the page it says so, takes up again, and misses nothing', async () => {
  await rows().first().waitFor()
  const topmost = async () => (await shownIds()).slice(0, 8)
  const before = await topmost()
  await system.kill()
  await page.getByText('The server does not answer.', { exact: true }).waitFor()
  // What was read stays.
  expect(await topmost()).toEqual(before)
  // What was not read yet can't be: this is not an empty list.
  await chip('Compensating').click()
  await page.getByText('The sagas can’t be read.').waitFor()
  expect(await page.getByText('No saga fits this filter.').count()).toBe(0)
  await chip('Compensating').click()
  await system.restart()
  const sagaId = await start('After the restart')
  await rowOf(sagaId).locator('[data-status="COMPLETED"]').waitFor()
  await until(
    'it says so no longer',
    async () => (await page.getByText('The server does not answer.', { exact: true }).count()) === 0,
  )
  expect(await topmost()).toEqual([sagaId, ...before].slice(0, 8))
  // Chromium itself says on its console that nobody answered, or only in part.
  expect(complaints.splice(0).filter((one) => !one.includes('net::ERR'))).toEqual([])
})

testReplay(() => sagas)

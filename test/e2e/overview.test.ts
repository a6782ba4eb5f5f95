import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from '@jest/globals'
import type { Browser, Page } from 'playwright-core'
import { seriousFindingsNow } from '../helpers/accessible.js'
import { launchChromium, openPage } from '../helpers/browser.js'
import { Sagas } from '../helpers/sagas.js'
import { startSystem, type System } from '../helpers/system.js'
import { until } from '../helpers/until.js'

// A system of its own: all sagas there are count.
let system: System
let sagas: Sagas
let browser: Browser
let page: Page
let complaints: string[]

beforeAll(async () => {
  ;[system, browser] = await Promise.all([startSystem('overview-page'), launchChromium()])
  sagas = new Sagas(system.where)
})
afterAll(async () => {
  await browser?.close()
  await system?.stop()
})
beforeEach(async () => {
  ;({ page, complaints } = await openPage(browser, `${sagas.where.api}/#/overview`))
})
afterEach(async () => {
  await page.close()
  expect(complaints).toEqual([])
})

const refusedC = { C: { mode: 'always', kind: 'reject' } } as const
/** Its undo of A is stuck after eight attempts. */
const stuck = { ...refusedC, A: { mode: 'first', n: 8, on: 'compensate' } } as const

/** A big number, with its title: "Ended 3 …". */
const number = (title: string) =>
  page.getByRole('list', { name: 'Now' }).getByRole('listitem').filter({ hasText: title })
const says = (title: string, text: RegExp) => number(title).filter({ hasText: text }).waitFor()
const charts = () => page.locator('figure')
const moment = () => page.getByRole('slider', { name: /^Figures of/ })

/** The sums of the table's columns, and what waits, as they follow one another from the newest point back. */
async function table(): Promise<{ started: number; completed: number; rolledBack: number; waiting: string[] }> {
  const rows = await page
    .locator('.as-table tbody tr')
    .evaluateAll((all) => all.map((row) => [...row.querySelectorAll('td')].map((cell) => cell.innerText)))
  const sum = (column: number) => rows.reduce((all, row) => all + Number(row[column]), 0)
  const waiting = rows.map((row) => row[6] ?? '')
  return {
    started: sum(0),
    completed: sum(1),
    rolledBack: sum(2),
    waiting: waiting.filter((one, i) => i === 0 || one !== waiting[i - 1]),
  }
}

/** The colour of most of what is drawn on a chart; undefined while nothing is. */
const inkOf = (chart: number) =>
  page
    .locator('.chart canvas')
    .nth(chart)
    .evaluate((element) => {
      const { width, height } = element as HTMLCanvasElement
      if (width === 0 || height === 0) return undefined
      const copy = Object.assign(document.createElement('canvas'), { width, height })
      const context = copy.getContext('2d', { willReadFrequently: true })
      if (!context) return undefined
      context.drawImage(element as HTMLCanvasElement, 0, 0)
      const pixels = context.getImageData(0, 0, width, height).data
      const counts = new Map<string, number>()
      for (let i = 0; i < pixels.length; i += 4) {
        if (pixels[i + 3] !== 255) continue
        const colour = [pixels[i], pixels[i + 1], pixels[i + 2]].join()
        counts.set(colour, (counts.get(colour) ?? 0) + 1)
      }
      return [...counts].toSorted(([, a], [, b]) => b - a)[0]?.[0]
    })

test('before the first saga it says that there is none, and where to go on', async () => {
  await page.getByText('No saga has started or ended in the last hour.').waitFor()
  await says('Needs attention', /0\s*No saga waits for a person/)
  expect(await charts().count()).toBe(0)
  expect(await seriousFindingsNow(page)).toEqual([])
  await page.getByRole('link', { name: 'look at the last 24 hours' }).click()
  await page.getByText('No saga has started or ended in the last 24 hours.').waitFor()
  expect(page.url()).toMatch(/#\/overview\?minutes=1440$/)
  await page.getByRole('link', { name: 'Start one' }).click()
  await page.waitForURL((url) => url.hash === '#/')
})

test('it follows what happens, and its numbers, charts and table agree with it', async () => {
  await page.getByText('No saga has started or ended in the last hour.').waitFor()
  const parked = await sagas.start(stuck)
  await Promise.all([sagas.run(), sagas.run({ B: { mode: 'first', n: 1 } }), sagas.run(refusedC)])
  // Without a reload.
  await says('Ended', /3\s*2 completed, 1 rolled back, in the last hour/)
  await says('Rolled back', /33\.3/)
  await sagas.logged(parked, 'COMPENSATE_A stuck')
  await says('Needs attention', /1\s*It has waited for .*Decide what becomes of it/)
  await says('Running', /0\s*None is being undone/)

  await page.getByText('As a table').click()
  expect(await table()).toEqual({ started: 4, completed: 2, rolledBack: 1, waiting: ['1', '0'] })
  const titles = [
    'Sagas a minute',
    'Share rolled back',
    'Time to end (log scale)',
    'Undo debt: sagas waiting for a person',
  ]
  expect(await charts().getByRole('heading').allInnerTexts()).toEqual(titles)
  expect(await page.locator('.chart canvas').count()).toBe(4)
  // It stands in the last chart's legend too.
  expect(await charts().last().locator('figcaption').innerText()).toMatch(/Waiting\s+1/)

  await number('Needs attention').getByRole('link').click()
  await page.waitForURL((url) => url.hash.startsWith('#/sagas?status='))
  expect(decodeURIComponent(page.url())).toContain('NEEDS_ATTENTION')
})

test('how far back it goes is in the address, and can be shared', async () => {
  await page.getByRole('link', { name: '15 min' }).click()
  await charts().getByRole('heading', { name: 'Sagas every 10 s' }).waitFor()
  expect(new URL(page.url()).hash).toBe('#/overview?minutes=15')
  await page.reload()
  await charts().getByRole('heading', { name: 'Sagas every 10 s' }).waitFor()
  const chosen = page.getByRole('navigation', { name: 'How far back' }).locator('[aria-current="page"]')
  expect(await chosen.innerText()).toBe('15 min')
  await page.goto(`${sagas.where.api}/#/overview?minutes=7`)
  await charts().getByRole('heading', { name: 'Sagas a minute' }).waitFor()
  expect(await chosen.innerText()).toBe('1 hour')
})

test('the mouse over one chart shows the same moment in all of them, with its figures', async () => {
  await page.locator('.chart canvas').nth(3).waitFor()
  const newest = await moment().getAttribute('aria-valuetext')
  await page
    .locator('.u-over')
    .first()
    .hover({ position: { x: 20, y: 20 } })
  await until('another moment is shown', async () => (await moment().getAttribute('aria-valuetext')) !== newest)
  const lines = await page
    .locator('.u-cursor-x')
    .evaluateAll((all) => all.map((line) => getComputedStyle(line).transform.split(',')[4]?.trim()))
  expect(lines).toHaveLength(4)
  expect(new Set(lines).size).toBe(1)
  await page.getByRole('heading', { name: 'Overview' }).hover()
  await until('the newest is shown again', async () =>
    (await moment().getAttribute('aria-valuetext'))?.includes('so far'),
  )
})

test('by keyboard alone: each moment is read out with its figures, and the table scrolls', async () => {
  await page.locator('.chart canvas').nth(3).waitFor()
  await moment().focus()
  const last = Number(await moment().getAttribute('max'))
  expect(await moment().inputValue()).toBe(String(last))
  // Where something happened: it is less than the sixty points away.
  const told: string[] = []
  for (let i = 0; i < 10; i++) {
    told.push((await moment().getAttribute('aria-valuetext')) ?? '')
    await page.keyboard.press('ArrowLeft')
  }
  expect(new Set(told).size).toBe(10)
  expect(told[0]).toMatch(
    /so far; Sagas a minute: Started \d+, Completed \d+, Rolled back \d+; Share rolled back: .*Waiting 1$/,
  )
  expect(told.join('\n')).toMatch(/Started [1-9]/)
  await page.keyboard.press('End')
  expect(await moment().inputValue()).toBe(String(last))

  await page.keyboard.press('Tab')
  await page.keyboard.press('Enter')
  await page.keyboard.press('Tab')
  const region = page.getByRole('region', { name: 'The figures of the charts' })
  expect(await region.evaluate((element) => element === document.activeElement)).toBe(true)
  await page.keyboard.press('End')
  await until('it has scrolled', () => region.evaluate((element) => element.scrollTop > 0))
})

test.each(['light', 'dark'] as const)(
  'in %s the charts have its colours, and axe finds nothing',
  async (colorScheme) => {
    await page.emulateMedia({ colorScheme })
    await page.locator('.chart canvas').nth(3).waitFor()
    await page.getByText('As a table').click()
    expect(await seriousFindingsNow(page)).toEqual([])

    // The other way round under an open page.
    const before = await until('it is drawn', () => inkOf(1))
    await page.emulateMedia({ colorScheme: colorScheme === 'light' ? 'dark' : 'light' })
    await until('it is drawn anew', async () => {
      const now = await inkOf(1)
      return now !== undefined && now !== before
    })
    expect(await seriousFindingsNow(page)).toEqual([])
  },
)

test('on a phone nothing has to be scrolled sideways but the table', async () => {
  await page.setViewportSize({ width: 390, height: 844 })
  await page.locator('.chart canvas').nth(3).waitFor()
  await page.getByText('As a table').click()
  await until('the charts fit', () => page.evaluate(() => document.documentElement.scrollWidth <= 390))
  const widths = await page
    .locator('.chart canvas')
    .evaluateAll((all) => all.map((one) => one.getBoundingClientRect().right))
  expect(Math.max(...widths)).toBeLessThanOrEqual(390)
  expect(await seriousFindingsNow(page)).toEqual([])
})

test('while the server is away it says since when its figures are, and goes on when it is back', async () => {
  await page.getByText('Live, as of').waitFor()
  await system.kill()
  await page.getByText(/^As of/).waitFor()
  expect(await charts().count()).toBe(4)
  await system.restart()
  await page.getByText('Live, as of').waitFor()
  await sagas.run()
  await says('Ended', /4\s*3 completed/)
  // Chromium itself says on its console that nobody answered.
  expect(complaints.splice(0).filter((one) => !one.includes('net::ERR'))).toEqual([])
})

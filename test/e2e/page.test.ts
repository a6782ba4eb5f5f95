import { afterAll, beforeAll, expect, test } from '@jest/globals'
import type { Browser } from 'playwright-core'
import { launchChromium, openPage } from '../helpers/browser.js'
import { ada, Sagas } from '../helpers/sagas.js'
import { startSystem, type System } from '../helpers/system.js'

// What holds for every view of the console.

let system: System
let sagas: Sagas
let browser: Browser

beforeAll(async () => {
  ;[system, browser] = await Promise.all([startSystem('page'), launchChromium()])
  sagas = new Sagas(system.where)
})
afterAll(async () => {
  await browser?.close()
  await system?.stop()
})

test('markup in a name is shown as text', async () => {
  const username = '<img src=x onerror="console.error(1)"><b>bold</b>'
  const response = await sagas.post('/saga?wait=20', { ...ada, username, failures: {} })
  const { sagaId } = (await response.json()) as { sagaId: string }
  const { page, complaints } = await openPage(browser, sagas.where.api)
  for (const view of [`#/saga/${sagaId}`, '#/sagas']) {
    await page.goto(`${sagas.where.api}/${view}`)
    await page.getByText(username).first().waitFor()
  }
  await page.close()
  expect(complaints).toEqual([])
})

test('an address that names no view says so, and where to go on', async () => {
  const { page, complaints } = await openPage(browser, `${sagas.where.api}/#/nowhere`)
  await page.getByRole('heading', { name: 'There is no such view' }).waitFor()
  await page.getByRole('link', { name: 'All sagas' }).click()
  await page.waitForURL(/#\/sagas/)
  await page.close()
  expect(complaints).toEqual([])
})

test('without a clipboard, as without https, a text is copied all the same', async () => {
  const { sagaId } = await sagas.run()
  const { page, complaints } = await openPage(browser, sagas.where.api)
  await page.addInitScript(() => Object.defineProperty(navigator, 'clipboard', { value: undefined }))
  await page.goto(`${sagas.where.api}/#/saga/${sagaId}`)
  await page.reload()
  const button = page.getByRole('button', { name: 'Copy saga id' })
  await button.focus()
  await page.keyboard.press('Enter')
  await button.getByText('Copied').waitFor()
  expect(await button.evaluate((element) => element === document.activeElement)).toBe(true)
  await page.getByRole('link', { name: 'Sagas', exact: true }).click()
  await page.getByRole('searchbox').focus()
  await page.keyboard.press('Control+V')
  expect(await page.getByRole('searchbox').inputValue()).toBe(sagaId)
  await page.close()
  expect(complaints).toEqual([])
})

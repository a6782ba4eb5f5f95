import { afterAll, beforeAll, expect, test } from '@jest/globals'
import type { Browser } from 'playwright-core'
import { launchChromium, openPage } from '../helpers/browser.js'
import { startSystem, type System } from '../helpers/system.js'

const token = 'token-of-sam-0123456789'
let system: System
let browser: Browser

beforeAll(async () => {
  ;[system, browser] = await Promise.all([
    startSystem('login-page', { API_TOKENS: `sam:starter:${token}` }),
    launchChromium(),
  ])
})
afterAll(async () => {
  await browser?.close()
  await system?.stop()
})

test('the page asks for a token, remembers who one is, and forgets it when asked to', async () => {
  const { page, complaints } = await openPage(browser, system.where.api)
  const field = page.getByLabel('Token', { exact: true })
  const press = (name: string) => page.getByRole('button', { name, exact: true }).click()

  await field.fill('token-of-nobody-0123456789')
  await press('Log in')
  await page.getByText('This token is not known here.', { exact: true }).waitFor()
  expect(await page.getByRole('button', { name: 'Start saga' }).count()).toBe(0)
  // Chromium itself says on its console that an answer was a 401. So far none other was.
  expect(complaints.splice(0)).toEqual([expect.stringContaining('status of 401')])

  await field.fill(token)
  await press('Log in')
  await press('Start saga')
  await page.locator('[data-testid="saga-status"][data-status="COMPLETED"]').waitFor()

  await page.reload()
  await page.getByRole('button', { name: 'Log out sam' }).waitFor()
  await page.locator('[data-testid="saga-status"][data-status="COMPLETED"]').waitFor()

  // Without an answer the session is still there, and so is the page, which is gone while it is waited for.
  await page.route('**/logout', async (route) => {
    await page.locator('main').waitFor({ state: 'detached' })
    await route.abort()
  })
  await press('Log out sam')
  await page.getByRole('button', { name: 'Log out sam' }).waitFor()
  await page.unroute('**/logout')
  expect(complaints.splice(0)).toEqual([expect.stringContaining('net::ERR_FAILED')])
  await press('Log out sam')
  await field.waitFor()
  expect(await page.context().cookies()).toEqual([])
  expect(complaints).toEqual([])

  // With a login it has a button more.
  await page.goto(`${system.where.api}/docs`)
  await page.getByRole('button', { name: 'Authorize' }).click()
  await page.getByText('token (http, Bearer)').waitFor()
  expect(complaints).toEqual([])

  // A session that has ended meanwhile.
  await page.goto(system.where.api)
  await field.fill(token)
  await press('Log in')
  await page.getByRole('button', { name: 'Log out sam' }).waitFor()
  await page.context().clearCookies()
  await field.waitFor()
  await page.close()
})

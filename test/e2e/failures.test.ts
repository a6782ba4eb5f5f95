import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from '@jest/globals'
import type { Browser, Page } from 'playwright-core'
import { seriousFindings, widthOnPhone } from '../helpers/accessible.js'
import { launchChromium, openPage } from '../helpers/browser.js'
import { ada, Sagas, testReplay } from '../helpers/sagas.js'
import { startSystem, type System } from '../helpers/system.js'
import { until } from '../helpers/until.js'

const tokenOf = (role: string) => `token-of-the-${role}-0123456789`

let system: System
let guarded: System
let off: System
let sagas: Sagas
let browser: Browser
let page: Page
let complaints: string[]

beforeAll(async () => {
  ;[system, guarded, off, browser] = await Promise.all([
    startSystem('failures-page'),
    startSystem('failures-page-guarded', {
      API_TOKENS: ['starter', 'operator'].map((role) => `my-${role}:${role}:${tokenOf(role)}`).join(','),
    }),
    startSystem('failures-page-off', { FAILURE_INJECTION: 'off' }),
    launchChromium(),
  ])
  sagas = new Sagas(system.where)
})
afterAll(async () => {
  await browser?.close()
  await Promise.all([system, guarded, off].map((one) => one?.stop()))
})
beforeEach(async () => {
  ;({ page, complaints } = await openPage(browser, `${system.where.api}/#/failures`))
})
afterEach(async () => {
  await page.close()
  expect(complaints).toEqual([])
})

async function open(where: System): Promise<void> {
  await page.close()
  ;({ page, complaints } = await openPage(browser, `${where.where.api}/#/failures`))
}

const field = (name: string) => page.getByLabel(name, { exact: true })
const press = (name: string) => page.getByRole('button', { name, exact: true }).click()
const inForce = () => page.getByRole('region', { name: 'In force now' })

/** Waits until the page says so of A, B and C. */
const says = (...words: string[]) =>
  until(`it says ${words.join(', ')}`, async () => {
    const said = await inForce().locator('dd').allInnerTexts()
    return said.join('|') === words.join('|')
  })

async function putInForce(): Promise<void> {
  await press('Put it in force')
  await page.getByText('It is in force now').waitFor()
}

/** A saga without failures of its own, from start to end. */
async function run(): Promise<string[]> {
  const response = await sagas.post('/saga?wait=60', ada)
  const { sagaId } = (await response.json()) as { sagaId: string }
  sagas.started.push(sagaId)
  return sagas.log(sagaId)
}

test('what is in force is told in words, and changed as choices', async () => {
  await says('fails every second time, before its commit', 'fails every second time, after its commit', 'never fails')
  expect(await page.getByRole('button', { name: 'The demo’s' }).getAttribute('aria-pressed')).toBe('true')
  await press('Nothing fails')
  await field('C payment').selectOption({ label: 'refuses' })
  await field('Undo of A').selectOption({ label: 'its undo fails twice' })
  await page.getByText('This replaces all that is in force').waitFor()
  await putInForce()
  await says('its undo fails the first 2 times, before its commit', 'never fails', 'refuses every time')
  expect(await run()).toEqual(
    expect.arrayContaining(['B success 1', 'C failed 1', 'COMPENSATE_A failed 2', 'COMPENSATE_A success 3']),
  )

  await page.reload()
  await says('its undo fails the first 2 times, before its commit', 'never fails', 'refuses every time')
  expect(await field('C payment').inputValue()).toBe('refuses')
  // The counts begin anew: the two that failed do so again.
  await putInForce()
  expect(await run()).toContain('COMPENSATE_A success 3')
})

test('lists are edited as JSON, and what is wrong with it is said by its place', async () => {
  await press('As JSON')
  const text = field('Failures')
  await text.fill('{"A": ')
  await press('Put it in force')
  await page.getByRole('alert').getByText('This is not JSON yet').waitFor()

  await text.fill('{"A": [{"mode":"first"}], "B": {"mode":"rate","rate":2}, "D": {"mode":"none"}}')
  await press('Put it in force')
  await page.getByRole('alert').getByText('/B/rate').waitFor()
  const wrong = await page.getByRole('alert').innerText()
  expect(wrong).toContain('/A/0')
  expect(wrong).toContain('/D')
  expect(complaints.splice(0)).toEqual([expect.stringContaining('status of 400')])

  await text.fill('{"A": [{"mode":"first","n":1},{"mode":"rate","rate":0.125,"when":"after"}]}')
  expect(await page.getByRole('button', { name: 'As choices' }).isDisabled()).toBe(true)
  await putInForce()
  await says(
    'fails the first time, before its commit; fails 12.5 % of the time, after its commit',
    'never fails',
    'never fails',
  )
  await page.reload()
  await page.getByText('More than the choices can say').waitFor()
  expect(JSON.parse(await text.inputValue())).toEqual({
    A: [
      { mode: 'first', n: 1 },
      { mode: 'rate', rate: 0.125, when: 'after' },
    ],
    B: { mode: 'none' },
    C: { mode: 'none' },
  })
})

test('the demo’s failures are put back with the keyboard alone', async () => {
  await page.getByRole('button', { name: 'The demo’s' }).focus()
  await page.keyboard.press('Enter')
  await page.getByRole('button', { name: 'Put it in force' }).focus()
  await page.keyboard.press('Enter')
  await says('fails every second time, before its commit', 'fails every second time, after its commit', 'never fails')
  expect(await (await sagas.request('/failures')).json()).toMatchObject({
    A: { mode: 'alternate', when: 'before' },
    B: { mode: 'alternate', when: 'after' },
    C: { mode: 'none' },
  })
})

test('who is no operator reads what is in force, and why it can’t be changed', async () => {
  await open(guarded)
  const logIn = async (role: string) => {
    await field('Token').fill(tokenOf(role))
    await press('Log in')
  }
  await logIn('starter')
  await page.getByText('To have something fail needs the role operator; my-starter is starter.').waitFor()
  await says('fails every second time, before its commit', 'fails every second time, after its commit', 'never fails')
  expect(await page.getByRole('button', { name: 'Put it in force' }).count()).toBe(0)
  await press('Log out my-starter')
  await logIn('operator')
  await press('Nothing fails')
  await putInForce()
  await says('never fails', 'never fails', 'never fails')
})

test('where injection is off it is said how to turn it on, and none is offered', async () => {
  await open(off)
  await page.getByText('Failure injection is off on this server').waitFor()
  await page.getByText('FAILURE_INJECTION=on npm start').waitFor()
  expect(await page.getByRole('button', { name: 'Put it in force' }).count()).toBe(0)
  await page.getByRole('link', { name: 'Start', exact: true }).click()
  await page.getByText('Failure injection is off on this server').waitFor()
  expect(await page.getByRole('button', { name: /^Start/ }).allInnerTexts()).toEqual(['Start saga'])
  await press('Start saga')
  await page.getByTestId('saga-status').getByText('Completed', { exact: true }).waitFor()
})

test('accessible in light and dark, and on a phone', async () => {
  await inForce().waitFor()
  expect(await seriousFindings(page)).toEqual([])
  await press('As JSON')
  expect(await widthOnPhone(page)).toBe(390)
  expect(await seriousFindings(page)).toEqual([])
})

testReplay(() => sagas)

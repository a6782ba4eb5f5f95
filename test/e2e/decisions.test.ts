import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from '@jest/globals'
import { Client } from 'pg'
import type { Browser, Page } from 'playwright-core'
import { seriousFindings, widthOnPhone } from '../helpers/accessible.js'
import { launchChromium, openPage } from '../helpers/browser.js'
import { ada, nowhere, Sagas, testReplay } from '../helpers/sagas.js'
import { query } from '../helpers/shared.js'
import { startSystem, type System } from '../helpers/system.js'
import { until } from '../helpers/until.js'

const tokens = { vera: 'token-of-vera-0123456789', otto: 'token-of-otto-0123456789' }
let system: System
let guarded: System
let sagas: Sagas
let browser: Browser
let page: Page
let complaints: string[]
/** Begun before they are needed, for an undo takes its time to be given up. */
let stuckOfOtto: Promise<string>
let twoOnB: Promise<string[]>

beforeAll(async () => {
  ;[system, guarded, browser] = await Promise.all([
    startSystem('decide-page'),
    startSystem('decide-page-login', { API_TOKENS: `vera:viewer:${tokens.vera},otto:operator:${tokens.otto}` }),
    launchChromium(),
  ])
  sagas = new Sagas(system.where)
  const otto = new Sagas(guarded.where, { authorization: `Bearer ${tokens.otto}` })
  stuckOfOtto = stuckOn('B', otto)
  stuckOfOtto.catch(() => {})
})
afterAll(async () => {
  await browser?.close()
  await Promise.all([system?.stop(), guarded?.stop()])
})
beforeEach(async () => {
  ;({ page, complaints } = await openPage(browser, sagas.where.api))
})
afterEach(async () => {
  await page.close()
  expect(complaints).toEqual([])
})

const press = (name: string) => page.getByRole('button', { name, exact: true }).click()
const field = (name: string) => page.getByLabel(name, { exact: true })
const panel = () => page.getByRole('form', { name: /Decide for all/ })
const row = (sagaId: string) => page.locator(`[role="row"][data-saga-id="${sagaId}"]`)
const fact = (name: string) => page.locator('dl div', { has: page.getByText(name, { exact: true }) }).locator('dd')
const state = (status: string) => page.locator(`[data-testid="decisions-status"][data-status="${status}"]`)

/** A saga that is stuck on a step's undo, after 40 s; it does its work when it is tried again. */
async function stuckOn(step: 'A' | 'B', on = sagas): Promise<string> {
  const failures = {
    C: { mode: 'always', kind: 'reject' },
    [step]: { mode: 'first', n: 8, on: 'compensate' },
  }
  const response = await on.post('/saga?wait=60', { ...ada, failures })
  const { sagaId, status } = (await response.json()) as { sagaId: string; status: string }
  expect(status).toBe('NEEDS_ATTENTION')
  on.started.push(sagaId)
  return sagaId
}

test('what needs attention is counted on every page, and all that is stuck on a step is retried at once', async () => {
  const sagaIds = await Promise.all([1, 2, 3].map(() => stuckOn('B')))
  const other = await stuckOn('A')
  // From the page that starts sagas.
  const count = page.getByRole('link', { name: '4 need attention' })
  await count.waitFor()
  await count.click()
  for (const sagaId of [...sagaIds, other]) await row(sagaId).waitFor()
  expect(await row(other).innerText()).toContain('Undo of A stuck')
  await page.getByRole('button', { name: /^Needs attention 4/ }).waitFor()

  await page.getByRole('link', { name: 'B 3', exact: true }).click()
  await panel().getByText('3 sagas are stuck on B now.').waitFor()
  expect(await panel().innerText()).toContain('Tries what is stuck on B again')
  expect(await seriousFindings(page)).toEqual([])
  // Counted by its error as well.
  await field('Only with the error').selectOption({ label: 'OutcomeUnknown (3)' })
  await field('Reason').fill('the disk is larger now')
  await field('Your name').fill('grace')
  await press('Retry 3 sagas')

  await page.waitForURL(/#\/decisions\//)
  await state('done').waitFor()
  expect(await fact('Decided').innerText()).toBe('3')
  expect(await fact('Failed').innerText()).toBe('0')
  expect(await page.getByRole('progressbar').evaluate((bar: HTMLProgressElement) => bar.position)).toBe(1)
  await page
    .getByText('Retry 3 sagas that were stuck on B with OutcomeUnknown. By grace: the disk is larger now')
    .waitFor()
  twoOnB = Promise.all([stuckOn('B'), stuckOn('B')])
  twoOnB.catch(() => {})
  for (const sagaId of sagaIds) {
    expect(await sagas.ended(sagaId)).toMatchObject({ status: 'COMPENSATED' })
    expect(await sagas.rows(sagaId)).toEqual(nowhere)
  }
  expect((await sagas.get(other)).status).toBe('NEEDS_ATTENTION')
  await page.getByText('Nothing is stuck on B now.').waitFor()
  await page.getByRole('link', { name: '1 needs attention' }).waitFor()
  expect(await seriousFindings(page)).toEqual([])
  sagas.started.push(`saga-decisions-${new URL(page.url()).hash.replace('#/decisions/', '')}`)

  // The list of what is left, and who it was is remembered.
  await page.goto(`${sagas.where.api}/#/sagas?status=NEEDS_ATTENTION&step=A`)
  await panel().getByText('1 saga is stuck on A now.').waitFor()
  expect(await field('Your name').inputValue()).toBe('grace')
})

test('with a search, whose list shows only some of what is stuck, many are not decided for', async () => {
  const [one = '', other = ''] = await twoOnB
  await page.goto(`${sagas.where.api}/#/sagas?status=NEEDS_ATTENTION&step=B`)
  await panel().getByText('2 sagas are stuck on B now.').waitFor()
  await field('Search').fill(one)
  await page.getByText('To decide for many at once, take the search out of the filter').waitFor()
  expect(await panel().count()).toBe(0)
  await row(one).waitFor()
  expect(await row(other).count()).toBe(0)
  expect(await seriousFindings(page)).toEqual([])
  expect(await widthOnPhone(page)).toBe(390)

  await field('Search').fill('')
  await panel().getByText('2 sagas are stuck on B now.').waitFor()
  await row(other).waitFor()
})

test('where more are stuck than the page has said, none is decided for, and it says how many there are', async () => {
  const sagaIds = await twoOnB
  await page.route('**/stuck', (route) => route.fulfill({ json: { stuck: [{ step: 'B', sagas: 1 }] } }))
  await page.goto(`${sagas.where.api}/#/sagas?status=NEEDS_ATTENTION&step=B`)
  await panel().getByText('1 saga is stuck on B now.').waitFor()
  await field('Reason').fill('the disk is larger now')
  await field('Your name').fill('grace')
  await press('Retry 1 saga')
  await panel().getByRole('alert').getByText('it would be 2. Nothing was decided.').waitFor()
  expect(complaints.splice(0)).toEqual([expect.stringContaining('status of 409')])
  for (const sagaId of sagaIds) expect((await sagas.get(sagaId)).status).toBe('NEEDS_ATTENTION')

  await page.unrouteAll()
  await page.getByRole('button', { name: 'Retry 2 sagas', exact: true }).waitFor()
})

test('what a decision fails for is listed, each with the way to its saga, for whoever has the address', async () => {
  const both = await Promise.all((await twoOnB).map((sagaId) => sagas.get(sagaId)))
  // The oldest is decided first.
  const [first = '', second = ''] = both
    .toSorted((a, b) => (a.startedAt < b.startedAt ? -1 : 1))
    .map((one) => one.sagaId)
  await page.goto(`${sagas.where.api}/#/sagas?status=NEEDS_ATTENTION&step=B`)
  await panel().getByText('2 sagas are stuck on B now.').waitFor()
  await panel().getByRole('radio', { name: /^Skip/ }).check()
  await field('Reason').fill('no use')
  await field('Your name').fill('hopper')
  await field('Stop after failures').fill('1')

  // The first waits while the second is decided by somebody else.
  const holder = new Client({ connectionString: sagas.where.database })
  await holder.connect()
  await holder.query('BEGIN')
  await holder.query('SELECT FROM saga WHERE saga_id = $1 FOR UPDATE', [first])
  await press('Skip 2 sagas')
  await page.waitForURL(/#\/decisions\//)
  await state('running').waitFor()
  await page.getByText('It goes on by itself, also when this page is closed.').waitFor()
  const byAnother = { step: 'B', action: 'retry', reason: 'it works again', actor: 'ada' }
  expect((await sagas.post(`/saga/${second}/decision`, byAnother)).status).toBe(200)
  await sagas.ended(second)
  await holder.query('COMMIT')
  await holder.end()

  await state('done').waitFor()
  expect(await fact('Decided').innerText()).toBe('1')
  expect(await fact('Failed').innerText()).toBe('1')
  const failure = page.getByRole('listitem').filter({ hasText: second })
  expect(await failure.innerText()).toContain('has ended as COMPENSATED; there is nothing to decide')
  expect(await widthOnPhone(page)).toBe(390)
  expect(await seriousFindings(page)).toEqual([])
  sagas.started.push(`saga-decisions-${new URL(page.url()).hash.replace('#/decisions/', '')}`)

  const { page: shared, complaints: ofShared } = await openPage(browser, page.url())
  await shared.getByRole('link', { name: second }).click()
  await shared.waitForURL((url) => url.hash === `#/saga/${second}`)
  await shared.close()
  expect(ofShared).toEqual([])
  // Its A can't be undone while B's row refers to it.
  await until('the first has gone on', async () =>
    (await sagas.logRows(first)).some((one) => one.status === 'decision'),
  )
})

test('what the API finds wrong stands at its field', async () => {
  // It is left from the first test; by now another one may be stuck there, whose B was left.
  await page.goto(`${sagas.where.api}/#/sagas?status=NEEDS_ATTENTION&step=A`)
  await field('Reason').fill(' ')
  await field('Your name').fill('grace')
  expect(await widthOnPhone(page)).toBe(390)
  await page.getByRole('button', { name: /^Retry \d+ saga/ }).click()
  await page.getByText('The reason must not be empty.').waitFor()
  expect(await field('Reason').getAttribute('aria-invalid')).toBe('true')
  expect(complaints.splice(0)).toEqual([expect.stringContaining('status of 400')])
})

test('a decision that there is not is said to be unknown', async () => {
  await page.goto(`${sagas.where.api}/#/decisions/nobody`)
  await page.getByText('There are no decisions nobody.').waitFor()
  expect(new Set(complaints.splice(0))).toEqual(new Set([expect.stringContaining('status of 404')]))
})

test('who may only read is told who decides; an operator is not asked for a name', async () => {
  const otto = new Sagas(guarded.where, { authorization: `Bearer ${tokens.otto}` })
  const sagaId = await stuckOfOtto
  await page.close()
  ;({ page, complaints } = await openPage(browser, guarded.where.api))
  await page.goto(`${guarded.where.api}/#/sagas?status=NEEDS_ATTENTION&step=B`)
  const logIn = async (token: string) => {
    await field('Token').fill(token)
    await press('Log in')
  }
  await logIn(tokens.vera)
  await row(sagaId).waitFor()
  await page.getByText('takes the role operator; vera is viewer').waitFor()
  expect(await panel().count()).toBe(0)
  expect(await seriousFindings(page)).toEqual([])

  // Without B's row A can be undone.
  await query(guarded.where.database, 'DELETE FROM table_b WHERE saga_id = $1', [sagaId])
  await press('Log out vera')
  await logIn(tokens.otto)
  await field('Reason').fill('done by hand')
  expect(await field('Your name').count()).toBe(0)
  await panel()
    .getByRole('radio', { name: /^Resolve/ })
    .check()
  await press('Resolve 1 saga')
  await state('done').waitFor()
  await page.getByText('By otto: done by hand').waitFor()
  expect((await otto.ended(sagaId)).status).toBe('COMPENSATED')
})

testReplay(() => sagas)

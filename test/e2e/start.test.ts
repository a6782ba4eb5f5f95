import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from '@jest/globals'
import type { Browser, Page } from 'playwright-core'
import { seriousFindings, widthOnPhone } from '../helpers/accessible.js'
import { launchChromium, openPage } from '../helpers/browser.js'
import { everywhere, nowhere, Sagas, testReplay } from '../helpers/sagas.js'
import { readShared } from '../helpers/shared.js'
import { startSystem, type System } from '../helpers/system.js'
import { until } from '../helpers/until.js'

const roles = ['viewer', 'starter', 'operator'] as const
const tokenOf = (role: string) => `token-of-the-${role}-0123456789`

let system: System
let guarded: System
let sagas: Sagas
let browser: Browser
let page: Page
let complaints: string[]

beforeAll(async () => {
  const tokens = roles.map((role) => `${role.slice(0, 3)}:${role}:${tokenOf(role)}`).join(',')
  ;[system, guarded, browser] = await Promise.all([
    startSystem('start-page'),
    startSystem('start-page-guarded', { API_TOKENS: tokens }),
    launchChromium(),
  ])
  sagas = new Sagas(system.where)
})
afterAll(async () => {
  await browser?.close()
  await Promise.all([system?.stop(), guarded?.stop()])
})
beforeEach(async () => {
  ;({ page, complaints } = await openPage(browser, system.where.api))
})
afterEach(async () => {
  await page.close()
  expect(complaints).toEqual([])
})

const field = (name: string) => page.getByLabel(name, { exact: true })
const press = (name: string | RegExp) => page.getByRole('button', { name, exact: true }).click()
const badge = () => page.getByTestId('saga-status')

/** The saga that the page goes to. */
async function started(): Promise<string> {
  await page.waitForURL((url) => url.hash.startsWith('#/saga/'))
  const sagaId = decodeURIComponent(new URL(page.url()).hash.replace('#/saga/', ''))
  sagas.started.push(sagaId)
  return sagaId
}

const named = async (username: string): Promise<{ sagaId: string }[]> => {
  const response = await sagas.request(`/saga?q=${encodeURIComponent(username)}`)
  return ((await response.json()) as { sagas: { sagaId: string }[] }).sagas
}

test('who is new reads what this is, starts a case with one press, and finds it again', async () => {
  const intro = page.getByRole('region', { name: 'All of it, or nothing' })
  expect(await intro.innerText()).toContain('Press Start on any case below and watch it happen')
  await press('Start TC-04: C refuses')
  const sagaId = await started()
  await badge().getByText('Compensated', { exact: true }).waitFor()
  await page.getByRole('link', { name: 'Start', exact: true }).click()
  const last = page.getByRole('region', { name: 'Started last' })
  await last.getByText('C refuses').waitFor()
  await last.getByText('Compensated', { exact: true }).waitFor()
  await page.reload()
  await last.getByRole('link', { name: 'Ada Lovelace' }).click()
  await page.waitForURL((url) => url.hash.includes(sagaId))
})

test('each of the cases does what it says', async () => {
  const says = [
    { name: 'TC-01: All goes well', status: 'COMPLETED', attempts: [1, 1, 1] },
    { name: 'TC-02: A is down', status: 'COMPENSATED', attempts: [3, 0, 0] },
    { name: 'TC-03: B is down', status: 'COMPENSATED', attempts: [1, 3, 0] },
    { name: 'TC-05: A fails before its commit', status: 'COMPENSATED', attempts: [3, 0, 0] },
    { name: 'TC-06: B fails after its commit', status: 'COMPENSATED', attempts: [1, 3, 0] },
    { name: 'TC-07: B hangs', status: 'COMPENSATED', attempts: [1, 3, 0] },
    { name: 'TC-08: A fails once', status: 'COMPLETED', attempts: [2, 1, 1] },
    { name: 'TC-09: PostgreSQL is killed', status: 'COMPLETED', attempts: [1, 2, 1] },
    { name: 'Undo: An undo fails twice', status: 'COMPENSATED', attempts: [1, 1, 1] },
    { name: 'Decide: Gets stuck and waits for you', status: 'NEEDS_ATTENTION', attempts: [1, 1, 1] },
  ]
  const ids: string[] = []
  for (const { name } of says) {
    await page.goto(`${system.where.api}/#/`)
    await press(`Start ${name}`)
    ids.push(await started())
  }
  await page.goto(`${system.where.api}/#/`)
  const last = page.getByRole('region', { name: 'Started last' })
  expect(await last.getByRole('link').count()).toBe(5)
  expect(await last.getByRole('listitem').first().innerText()).toContain('Gets stuck')

  for (const [index, { name, status, attempts }] of says.entries()) {
    const sagaId = ids[index] ?? ''
    const saga = await until(`${name} is ${status}`, async () => {
      const saga = await sagas.get(sagaId)
      return saga.status === status && saga
    })
    expect([name, saga.steps.map((step) => step.attempts)]).toEqual([name, attempts])
    if (status !== 'NEEDS_ATTENTION')
      expect(await sagas.rows(sagaId)).toEqual(status === 'COMPLETED' ? everywhere : nowhere)
  }
  const stuck = ids.at(-1) ?? ''
  const word = { step: 'B', action: 'retry', reason: 'as the page says', actor: 'grace' }
  expect((await sagas.post(`/saga/${stuck}/decision`, word)).status).toBe(200)
  expect((await sagas.ended(stuck)).status).toBe('COMPENSATED')
})

test('a case taken into the form says what it will show, and is changed there', async () => {
  await press('TC-09 PostgreSQL is killed')
  expect(await field('B address').inputValue()).toBe('hangs-once')
  const shows = page.getByRole('region', { name: 'What it will show' })
  expect(await shows.innerText()).toContain('kill -9')
  await field('B address').selectOption({ label: 'fails the first time, after its commit' })
  await field('Undo of A').selectOption({ label: 'its undo fails twice' })
  expect(await shows.innerText()).toContain('A case of your own')
  await field('C payment').selectOption({ label: 'refuses' })
  await press('Start saga')
  const sagaId = await started()
  expect((await sagas.ended(sagaId)).status).toBe('COMPENSATED')
  const log = await sagas.log(sagaId)
  expect(log).toEqual(expect.arrayContaining(['B failed 1', 'B success 2', 'COMPENSATE_A failed 2', 'C failed 1']))
})

test('what is set for everybody is told in words', async () => {
  await field('As set for everybody').check()
  const inForce = page.getByRole('list', { name: 'Set for everybody' })
  await inForce.getByText('A user fails every second time, before its commit').waitFor()
  await inForce.getByText('C payment never fails').waitFor()
  expect(await page.locator('figure', { hasText: 'curl' }).innerText()).not.toContain('failures')
})

test.each([
  { name: 'Username', value: ' ', says: 'Username must not be empty.' },
  { name: 'Address', value: 'x'.repeat(501), says: 'Address must have at most 500 characters.' },
  { name: 'Payment', value: '', says: 'Payment must not be empty.' },
])(
  'what the API finds wrong with $name stands at that field, and goes when it is put right',
  async ({ name, value, says }) => {
    const input = field(name)
    await input.fill(value)
    await press('Start saga')
    await page.getByText(says, { exact: true }).waitFor()
    expect(await input.getAttribute('aria-invalid')).toBe('true')
    const note = await input.getAttribute('aria-describedby')
    expect(await page.locator(`[id="${note}"]`).innerText()).toContain(says)
    expect(await input.evaluate((element) => element === document.activeElement)).toBe(true)
    expect(await page.locator('[aria-invalid]').count()).toBe(1)
    // Chromium itself says on its console that an answer was a 400.
    expect(complaints.splice(0)).toEqual([expect.stringContaining('status of 400')])

    await input.fill('put right')
    expect(await page.getByText(says, { exact: true }).count()).toBe(0)
    await press('Start saga')
    expect((await sagas.ended(await started())).status).toBe('COMPLETED')
  },
)

test('the commands do the same in a shell, whatever is typed', async () => {
  const username = `D'Arcy "$HOME" \`id\` $(id) \\n !! ; # é 😀 %s`
  await field('Username').fill(username)
  await press('TC-04 C refuses')
  const command = (name: string) => page.locator('figure', { hasText: name }).locator('code').innerText()
  const env = {
    ...process.env,
    TEMPORAL_ADDRESS: readShared().temporal,
    TEMPORAL_NAMESPACE: system.where.namespace,
    TEMPORAL_CLI: readShared().temporalCli,
  }
  const run = (text: string) => promisify(execFile)('sh', ['-c', text], { env })

  const { stdout } = await run(await command('curl'))
  const byCurl: string = JSON.parse(stdout).sagaId
  await run(await command('temporal CLI'))
  const both = await until('both are there', async () => {
    const found = await named(username)
    return found.length === 2 && found
  })
  expect(both.map(({ sagaId }) => sagaId)).toContain(byCurl)
  for (const { sagaId } of both) {
    sagas.started.push(sagaId)
    expect(await sagas.ended(sagaId)).toMatchObject({ status: 'COMPENSATED', failedStep: 'C', input: { username } })
  }
})

test('a command is copied as it stands', async () => {
  await page.context().grantPermissions(['clipboard-read', 'clipboard-write'])
  await press('Copy: curl')
  await page.getByRole('button', { name: 'Copy: curl' }).getByText('Copied').waitFor()
  const text = await page.evaluate(() => navigator.clipboard.readText())
  expect(text).toBe(await page.locator('figure', { hasText: 'curl' }).locator('code').innerText())
})

test('a lost answer is asked for again, and starts no second saga', async () => {
  const username = 'Lost once'
  await field('Username').fill(username)
  let calls = 0
  await page.route('**/saga', async (route) => {
    calls++
    if (calls > 1) return route.continue()
    await route.fetch()
    return route.abort()
  })
  await press('Start saga')
  await page.getByText('No answer yet. Asking again').waitFor()
  const sagaId = await started()
  expect(await named(username)).toMatchObject([{ sagaId }])
  expect(calls).toBe(2)
  expect(complaints.splice(0)).toEqual([expect.stringContaining('ERR_FAILED')])
})

test('where no answer comes at all the next press asks for the same saga', async () => {
  const username = 'Lost for long'
  await field('Username').fill(username)
  await page.route('**/saga', async (route) => {
    await route.fetch()
    return route.abort()
  })
  await press('Start saga')
  await page.getByRole('alert').getByText('it won’t be started twice').waitFor()
  await page.unroute('**/saga')
  await press('Start saga')
  const sagaId = await started()
  expect(await named(username)).toMatchObject([{ sagaId }])
  expect(new Set(complaints.splice(0))).toEqual(new Set([expect.stringContaining('ERR_FAILED')]))
})

test('with the keyboard alone', async () => {
  const card = page.getByRole('button', { name: 'TC-08 A fails once' })
  await card.focus()
  await page.keyboard.press('Enter')
  expect(await card.getAttribute('aria-pressed')).toBe('true')
  expect(await field('A user').inputValue()).toBe('once-before')
  await page.keyboard.press('Tab')
  expect(await page.evaluate(() => document.activeElement?.getAttribute('aria-label'))).toBe(
    'Start TC-08: A fails once',
  )
  await field('Username').focus()
  await page.keyboard.press('Enter')
  expect((await sagas.ended(await started())).steps[0]).toMatchObject({ attempts: 2 })
})

test('accessible in light and dark, and on a phone', async () => {
  await press('TC-09 PostgreSQL is killed')
  expect(await seriousFindings(page)).toEqual([])
  expect(await widthOnPhone(page)).toBe(390)
  expect(await seriousFindings(page)).toEqual([])
})

test('what a role may not do is not offered, and it is said why', async () => {
  const logIn = async (role: string) => {
    await page.getByLabel('Token', { exact: true }).fill(tokenOf(role))
    await press('Log in')
    await page.getByText(`${role.slice(0, 3)}, ${role}`, { exact: true }).waitFor()
  }
  await page.close()
  ;({ page, complaints } = await openPage(browser, guarded.where.api))
  const startButtons = page.getByRole('button', { name: /^Start/ })
  expect(await seriousFindings(page)).toEqual([])
  await logIn('viewer')
  await page.getByText('To start a saga needs the role starter; vie is viewer.').waitFor()
  expect(await startButtons.count()).toBe(0)
  expect(await seriousFindings(page)).toEqual([])

  await press('Log out vie')
  await logIn('starter')
  await page.getByText('To have something fail needs the role operator; sta is starter.').waitFor()
  expect(await startButtons.allInnerTexts()).toEqual(['Start saga'])
  expect(await page.locator('figure', { hasText: 'curl' }).innerText()).toContain('"Authorization: Bearer $TOKEN"')
  expect(await seriousFindings(page)).toEqual([])
  await press('Start saga')
  await badge().getByText('Completed', { exact: true }).waitFor()

  await press('Log out sta')
  await logIn('operator')
  await page.getByRole('link', { name: 'Start', exact: true }).click()
  await press('Start TC-03: B is down')
  await badge().getByText('Compensated', { exact: true }).waitFor()
})

testReplay(() => sagas)

import { once } from 'node:events'
import { createServer } from 'node:http'
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from '@jest/globals'
import type { Browser, BrowserContext, Page } from 'playwright-core'
import type { FailuresInput } from '../../src/saga/failure.js'
import { seriousFindingsNow, widthOnPhone } from '../helpers/accessible.js'
import { launchChromium, openPage } from '../helpers/browser.js'
import { ada, everywhere, nowhere, Sagas, testReplay } from '../helpers/sagas.js'
import { query } from '../helpers/shared.js'
import { startSystem, type System } from '../helpers/system.js'
import { until } from '../helpers/until.js'

// A system of its own, that is killed under an open page and has failures for everybody.
let system: System
let sagas: Sagas
let browser: Browser
let context: BrowserContext
let page: Page
let complaints: string[]
/** Sagas that wait for a person. */
const stuck = { retried: '', edited: '', resolved: '', skipped: '', contested: '' }

const refuses = { mode: 'always', kind: 'reject' } as const
const undoFails = { mode: 'first', n: 8, on: 'compensate' } as const

const stuckOnB = JSON.stringify([
  { step: 'B', status: 'stuck', attempts: 8, error: { type: 'OutcomeUnknown', message: 'no answer' } },
])

beforeAll(async () => {
  ;[system, browser] = await Promise.all([startSystem('saga-page'), launchChromium()])
  sagas = new Sagas(system.where)
  await putFailures({ C: refuses, B: { mode: 'always', on: 'compensate' } })
  const started = await sagas.post('/saga', ada)
  stuck.retried = ((await started.json()) as { sagaId: string }).sagaId
  sagas.started.push(stuck.retried)
  for (const name of ['edited', 'resolved', 'contested'] as const)
    stuck[name] = await sagas.start({ C: refuses, B: undoFails })
  // The last of its undo: what is left of A stands in no other's way.
  stuck.skipped = await sagas.start({ C: refuses, A: undoFails })
})
afterAll(async () => {
  await browser?.close()
  await system?.stop()
})
beforeEach(async () => {
  context = await browser.newContext({ viewport: { width: 1280, height: 900 } })
  await context.grantPermissions(['clipboard-read', 'clipboard-write'])
  ;({ page, complaints } = await openPage(context, sagas.where.api))
})
afterEach(async () => {
  await context.close()
  expect(complaints).toEqual([])
})

const putFailures = (failures: FailuresInput) =>
  sagas.request('/failures', {
    method: 'PUT',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(failures),
  })

const open = (sagaId: string, on = page) => on.goto(`${sagas.where.api}/#/saga/${encodeURIComponent(sagaId)}`)
const field = (name: string, on = page) => on.getByLabel(name, { exact: true })
const press = (name: string, on = page) => on.getByRole('button', { name, exact: true }).click()
const shows = (status: string, on = page) =>
  on.locator(`[data-testid="saga-status"][data-status="${status}"]`).waitFor()
const logBox = (sagaId: string, on = page) => on.getByRole('region', { name: `Log rows of saga ${sagaId}` })
const details = () => page.getByTestId('bar-details').innerText()

/** The bars of one line of the timeline, each as its name says. */
const bars = (lane: string) =>
  page
    .locator(`[data-lane="${lane}"] button`)
    .evaluateAll((all) => all.map((bar) => bar.getAttribute('aria-label') ?? ''))

/** The ids of the rows on show. */
const rowIds = (sagaId: string) =>
  logBox(sagaId)
    .locator('li')
    .evaluateAll((all) => all.map((row) => Number(row.getAttribute('data-row'))))

async function needsAttention(sagaId: string, on = page) {
  await open(sagaId, on)
  await shows('NEEDS_ATTENTION', on)
}

test('a saga that fails and heals is watched to its end', async () => {
  const sagaId = await sagas.start({ A: { mode: 'first', n: 1 }, B: { mode: 'first', n: 1, kind: 'hang' } })
  await open(sagaId)
  await shows('RUNNING')
  // While it is under way its bar is there, and grows.
  const live = page.locator('[data-lane="B"] [data-live]')
  await live.waitFor()
  const began = await live.boundingBox()
  await until('the bar has grown', async () => {
    const now = await live.boundingBox().catch(() => null)
    return now === null || now.width > (began?.width ?? 0) || undefined
  })
  await shows('COMPLETED')
  const inA = await bars('A')
  expect(inA).toHaveLength(2)
  expect(inA[0]).toContain('Step A, attempt 1 of 3, failed, outcome unknown')
  expect(inA[0]).toContain('fails before its transaction')
  expect(inA[1]).toContain('Step A, attempt 2 of 3, applied')
  expect((await bars('B'))[0]).toContain('no answer within 5000 ms')
  expect(await page.getByText('A and B took more than one attempt.').count()).toBe(1)
  expect(await sagas.rows(sagaId)).toEqual(everywhere)

  await page.reload()
  await shows('COMPLETED')
  expect(await bars('A')).toEqual(inA)
  expect(await rowIds(sagaId)).toEqual((await sagas.logRows(sagaId)).map(({ id }) => id))
})

test('the undo is drawn beneath, newest step first, and the table says the same', async () => {
  const { sagaId } = await sagas.run({ C: refuses })
  await open(sagaId)
  await shows('COMPENSATED')
  const undo = page.getByRole('list', { name: 'Undo, in the order in which it runs' })
  expect(await undo.locator('.lane strong').allInnerTexts()).toEqual(['Undo C', 'Undo B', 'Undo A'])
  const boxes = await Promise.all(
    ['A', 'B', 'C', 'COMPENSATE_C', 'COMPENSATE_B', 'COMPENSATE_A'].map((lane) =>
      page.locator(`[data-lane="${lane}"] button`).first().boundingBox(),
    ),
  )
  const places = boxes.map((box) => box ?? { x: 0, y: 0 })
  // Each further to the right, and further down, than the one before it.
  expect(places.toSorted((one, other) => one.x - other.x)).toEqual(places)
  expect(places.toSorted((one, other) => one.y - other.y)).toEqual(places)

  await page.getByText('The timeline as a table').click()
  const table = page.getByRole('region', { name: 'The timeline as a table' })
  await table.locator('tbody tr').first().waitFor()
  const rows = await table.locator('tbody tr').evaluateAll((all) =>
    all.map((row) =>
      [...row.children]
        .slice(0, 3)
        .map((cell) => cell.textContent)
        .join(' | '),
    ),
  )
  expect(rows.slice(0, 6)).toEqual([
    'Step A | 1 of 3 | applied',
    'Step B | 1 of 3 | applied',
    'Step C | 1 of 3 | refused',
    'Undo of C | 1 of 8 | nothing to undo',
    'Undo of B | 1 of 8 | undone',
    'Undo of A | 1 of 8 | undone',
  ])
  expect(await page.locator('body').innerText()).toContain('****1234')
  expect(await page.locator('body').innerText()).not.toContain('4111')
})

test('what is tried again says when, and which attempt it is', async () => {
  const sagaId = await sagas.start({ C: refuses, B: { mode: 'first', n: 4, on: 'compensate' } })
  await open(sagaId)
  await page.getByText(/^Undo of B failed; attempt \d of 8 in about \d s\.$/).waitFor()
  await shows('COMPENSATED')
  expect(await page.getByTestId('next-attempt').count()).toBe(0)
  expect(await bars('COMPENSATE_B')).toHaveLength(6)
  // Of the four waits, 0.5 s to 4 s, those that are long are folded, and say how long they are.
  expect(await page.locator('.fold-label').count()).toBeGreaterThan(0)
})

test('the keyboard goes from bar to bar, and on into the log', async () => {
  const { sagaId } = await sagas.run({ C: refuses })
  await open(sagaId)
  await shows('COMPENSATED')
  await page.locator('[data-lane="A"] button').first().focus()
  expect(await details()).toContain('Step A, attempt 1 of 3: applied')
  await page.keyboard.press('ArrowRight')
  expect(await details()).toContain('Step B')
  await page.keyboard.press('ArrowDown')
  expect(await details()).toContain('Step C')
  expect(await details()).toContain('Rejected: injected: payment refuses')
  await page.keyboard.press('Home')
  expect(await details()).toContain('Step A')
  await page.keyboard.press('Enter')
  expect(await logBox(sagaId).locator('[data-chosen]').innerText()).toContain('applied')
  // All bars are one stop on the way through the page.
  expect(await page.locator('.timeline-box button[tabindex="0"]').count()).toBe(1)
})

test('the log can be narrowed to what failed, in the address too, and copied', async () => {
  const { sagaId } = await sagas.run({ B: { mode: 'first', n: 2 } })
  await open(sagaId)
  await shows('COMPLETED')
  await page.getByLabel(/^Only what failed/).check()
  expect(await logBox(sagaId).locator('li').count()).toBe(2)
  await page.waitForURL(/failed=only/)
  await page.reload()
  await shows('COMPLETED')
  expect(await logBox(sagaId).locator('li').count()).toBe(2)
  await page.getByLabel(/^Only what failed/).uncheck()

  const clipboard = () => page.evaluate(() => navigator.clipboard.readText())
  await press('Copy saga id')
  await page.getByText('Copied', { exact: true }).waitFor()
  expect(await clipboard()).toBe(sagaId)
  await press('Copy log')
  await until('the log is copied', async () => (await clipboard()).includes('\tB\tfailed\t2\t'))
  await press('Copy as curl')
  await until(
    'the command is copied',
    async () => (await clipboard()) === `curl -s '${sagas.where.api}/saga/${sagaId}'`,
  )
  expect(await page.getByRole('link', { name: 'This saga in Temporal’s Web UI' }).getAttribute('href')).toContain(
    sagaId,
  )
})

test('a saga is cancelled once it was shown what would be undone', async () => {
  const sagaId = await sagas.start({ C: { mode: 'first', n: 2, kind: 'hang' } })
  await open(sagaId)
  await page.locator('[data-lane="C"] [data-live]').waitFor()
  await press('Cancel saga…')
  const dialog = page.getByRole('dialog', { name: 'Cancel this saga?' })
  const steps = dialog.getByRole('listitem')
  await steps.first().waitFor()
  const preview = await steps.allInnerTexts()
  expect(preview.map((text) => text.slice(0, 1))).toEqual(['C', 'B', 'A'])
  expect(preview[0]).toContain('under way')
  expect(preview[1]).toContain('12 Byron Street')
  const focused = page.locator(':focus')
  expect(await focused.getAttribute('id')).toBe(await field('Reason').getAttribute('id'))
  await page.keyboard.press('Escape')
  await dialog.waitFor({ state: 'hidden' })
  expect(await focused.innerText()).toBe('Cancel saga…')
  expect((await sagas.get(sagaId)).status).toBe('RUNNING')

  await press('Cancel saga…')
  await field('Reason').fill('ordered twice')
  await field('Your name').fill('grace')
  await press('Cancel and undo')
  await shows('COMPENSATED')
  expect(await page.getByText('Cancelled: cancelled by grace: ordered twice').count()).toBeGreaterThan(0)
  expect(await sagas.rows(sagaId)).toEqual(nowhere)
})

test('past its point of no return a saga is not to be cancelled, and the page says so', async () => {
  const sagaId = await sagas.start({ C: { mode: 'first', n: 2, kind: 'hang' } })
  await open(sagaId)
  await page.locator('[data-lane="C"] [data-live]').waitFor()
  await press('Cancel saga…')
  const dialog = page.getByRole('dialog', { name: 'Cancel this saga?' })
  // No saga that ships has a pivot. The page hears of it when the attempt under way has ended.
  await query(
    sagas.where.database,
    `UPDATE saga SET steps = jsonb_set(steps, '{1,kind}', '"pivot"') WHERE saga_id = $1`,
    [sagaId],
  )
  const response = await sagas.post(`/saga/${sagaId}/cancel`, { reason: 'too late' })
  expect({ status: response.status, ...(await response.json()) }).toMatchObject({
    ...{ status: 409, detail: `Saga ${sagaId} is past its point of no return; it only goes forward from here.` },
  })
  await dialog.getByText(/past its point of no return|It has moved on meanwhile/).waitFor()
  await press('Close')
  expect(await page.getByRole('button', { name: 'Cancel saga…' }).count()).toBe(0)
  await shows('COMPLETED')
})

test('a cancel that the server refuses is told with its reason', async () => {
  const sagaId = await sagas.start({ C: { mode: 'first', n: 1, kind: 'hang' } })
  const detail = 'It is past its point of no return.'
  const problem = { type: 'about:blank', title: 'Conflict', status: 409, detail }
  await page.route('**/cancel', (route) => route.fulfill({ status: 409, json: problem }))
  await open(sagaId)
  await press('Cancel saga…')
  await field('Reason').fill('too late')
  await press('Cancel and undo')
  await page.getByText(`It can’t be cancelled any more. ${detail}`).waitFor()
  expect(complaints.splice(0)).toEqual([expect.stringContaining('status of 409')])
  await page.unrouteAll()
  await shows('COMPLETED')
})

test('what is stuck is told before a retry, which heals once its cause is gone', async () => {
  const sagaId = stuck.retried
  await needsAttention(sagaId)
  const decide = page.getByRole('region', { name: 'The undo of B (address) is stuck' })
  await decide.getByText('12 Byron Street').waitFor()
  const told = await decide.innerText()
  expect(told).toContain('8 times')
  expect(told).toContain('injected (always): compensate of B fails before its transaction')
  expect(told).toContain('what A (user) did, whose undo waits behind B')
  expect(told).toContain('ends as Partially compensated')
  expect((await bars('COMPENSATE_B')).at(-1)).toContain('waits for a person')

  await putFailures({})
  await field('Reason').fill('the network is back')
  await field('Your name').fill('grace')
  await press('Retry the undo of B')
  await shows('COMPENSATED')
  expect(await page.getByText('Last decided on B: retry by grace: the network is back').count()).toBe(1)
  expect((await bars('COMPENSATE_B')).at(-2)).toContain('attempt 1 of 8 (9 in all), undone')
  expect(await sagas.rows(sagaId)).toEqual(nowhere)
})

test('a retry with another input refuses a secret that is only masked, and what is no JSON', async () => {
  const sagaId = stuck.edited
  await needsAttention(sagaId)
  // It is there once what the step was given is known.
  await page.getByLabel('With another input').check()
  const editor = field('Input of B, as JSON')
  const given = await editor.inputValue()
  expect(JSON.parse(given)).toMatchObject({ address: '12 Byron Street' })
  await field('Reason').fill('moved')
  await field('Your name').fill('grace')
  await editor.fill(given.replace('12 Byron Street', '****reet'))
  await press('Retry the undo of B')
  await page.getByText('It still has ****').waitFor()
  await editor.fill('{')
  await press('Retry the undo of B')
  await page.getByText('This is not JSON').waitFor()
  expect((await sagas.get(sagaId)).status).toBe('NEEDS_ATTENTION')

  await editor.fill(given.replace('12 Byron Street', '13 Byron Street'))
  await press('Retry the undo of B')
  await shows('COMPENSATED')
  expect(await page.getByText('retry by grace: moved (with corrected input)').count()).toBeGreaterThan(0)
})

test('a person says that it is done by hand', async () => {
  const sagaId = stuck.resolved
  await needsAttention(sagaId)
  await query(sagas.where.database, 'DELETE FROM table_b WHERE saga_id = $1', [sagaId])
  await field('Resolve: I have done it by hand').check()
  await field('Reason').fill('removed the address')
  await field('Your name').fill('grace')
  await press('Resolve B')
  await shows('COMPENSATED')
  expect(await page.locator('[data-lane="COMPENSATE_B"]').innerText()).toContain('resolved by a person')
  expect(await sagas.rows(sagaId)).toEqual(nowhere)
})

test('a person leaves it as it is, and the saga says so', async () => {
  const sagaId = stuck.skipped
  await needsAttention(sagaId)
  await field('Skip: leave it as it is').check()
  await field('Reason').fill('kept for the books')
  await field('Your name').fill('grace')
  await press('Skip the undo of A')
  await shows('PARTIALLY_COMPENSATED')
  expect(await page.locator('[data-lane="COMPENSATE_A"]').innerText()).toContain('skipped by a person')
  expect(await bars('COMPENSATE_A')).toContainEqual(
    expect.stringContaining('left as it is by grace: kept for the books'),
  )
})

test('of two people who decide at once the second is told who was first', async () => {
  const sagaId = stuck.contested
  await needsAttention(sagaId)
  const other = await openPage(context, sagas.where.api)
  await needsAttention(sagaId, other.page)
  // The second is on its way while the first is taken.
  let release = () => {}
  const first = new Promise<void>((resolve) => (release = resolve))
  await other.page.route('**/decision', async (route) => {
    await first
    await route.continue()
  })
  for (const [on, name] of [
    [page, 'grace'],
    [other.page, 'alan'],
  ] as const) {
    await field('Reason', on).fill(`says ${name}`)
    await field('Your name', on).fill(name)
  }
  await press('Retry the undo of B', other.page)
  await press('Retry the undo of B')
  await shows('COMPENSATED')
  release()
  const alert = other.page.getByRole('alert')
  await alert.waitFor()
  expect(await alert.innerText()).toContain('Somebody else had decided on B first: retry by grace: says grace')
  expect((await sagas.log(sagaId)).filter((row) => row.includes('decision'))).toEqual(['COMPENSATE_B decision'])
  expect(other.complaints).toEqual([expect.stringContaining('status of 409')])
})

test('behind the point of no return only retry and resolve are offered', async () => {
  const { sagaId } = await sagas.run()
  // No saga that ships has a step there. Nor is the sweep to look for its run while we look at it.
  await query(
    sagas.where.database,
    `UPDATE saga SET fate = 'open', status = 'NEEDS_ATTENTION', ended_at = NULL, progress_at = now() + interval '1 h', steps = jsonb_set(jsonb_set(steps, '{2,status}', '"stuck"'),
       '{2,error}', '{"type":"OutcomeUnknown","message":"no answer"}') WHERE saga_id = $1`,
    [sagaId],
  )
  await needsAttention(sagaId)
  const decide = page.getByRole('region', { name: 'Step C (payment) is stuck' })
  expect(await decide.getByRole('radio').count()).toBe(2)
  expect(await decide.innerText()).toContain('It can’t be skipped')
  await query(
    sagas.where.database,
    `UPDATE saga SET fate = 'completed', status = 'COMPLETED', ended_at = now(), steps = jsonb_set(steps, '{2,status}', '"succeeded"') #- '{2,error}'
     WHERE saga_id = $1`,
    [sagaId],
  )
})

test('a nested saga and its parent lead to each other', async () => {
  const { sagaId: child } = await sagas.run()
  const { sagaId: parent } = await sagas.run()
  // No saga that ships is nested.
  await query(
    sagas.where.database,
    `UPDATE saga SET steps = jsonb_set(steps, '{1,sagaId}', to_jsonb($2::text)) WHERE saga_id = $1`,
    [parent, child],
  )
  await query(sagas.where.database, `UPDATE saga SET parent_id = $2, parent_step = 'B' WHERE saga_id = $1`, [
    child,
    parent,
  ])
  await open(parent)
  await shows('COMPLETED')
  await page.getByRole('link', { name: 'its own saga' }).click()
  await page.getByText(`It is step B of saga ${parent}`).waitFor()
  await page.getByRole('link', { name: parent }).click()
  await page.getByRole('link', { name: child }).waitFor()
  expect(page.url()).toContain(parent)
})

test('a server that is restarted under the open page is taken up again, and nothing is missed', async () => {
  const sagaId = await sagas.start({ B: { mode: 'first', n: 1, kind: 'hang' }, C: refuses })
  await open(sagaId)
  await page.locator('[data-lane="B"] [data-live]').waitFor()
  await system.kill()
  await page.getByText('Connection lost').waitFor()
  // What stands in front of it says 503 meanwhile, behind which an EventSource does not connect again by itself.
  const proxy = createServer((_request, response) => response.writeHead(503).end())
  const asked: string[] = []
  proxy.on('request', ({ url = '' }) => asked.push(url))
  await once(proxy.listen(Number(new URL(sagas.where.api).port), '127.0.0.1'), 'listening')
  await until('the page has met the 503', () => asked.includes(`/saga/${sagaId}`))
  proxy.closeAllConnections()
  await once(proxy.close(), 'close')
  await system.restart()
  await sagas.ended(sagaId)
  await shows('COMPENSATED')
  await page.getByText('Connection lost').waitFor({ state: 'hidden' })
  expect(await rowIds(sagaId)).toEqual((await sagas.logRows(sagaId)).map(({ id }) => id))
  complaints.splice(0)
})

test('an attempt that was killed comes into the open page once the log has it', async () => {
  const sagaId = await sagas.start({ B: { mode: 'first', n: 1, kind: 'hang' } })
  await open(sagaId)
  await shows('COMPLETED')
  const [, row] = await sagas.logRows(sagaId)
  const message = `WorkerLost: its process was gone before it ended; Temporal gave it up at ${row?.createdAt} (added from Temporal's history; changes nothing)`
  await query(
    sagas.where.database,
    `INSERT INTO saga_log (saga_id, service, status, message, entry_id) VALUES ($1, 'B', 'failed', $2, gen_random_uuid())`,
    [sagaId, message],
  )
  await logBox(sagaId).getByText('WorkerLost').waitFor()
  const [lost, hung] = await bars('B')
  expect(lost).toContain('Step B, lost with its process')
  expect(hung).toContain('attempt 1 of 3, failed, outcome unknown')
})

test('a saga that there is not is said to be unknown, and what to do next', async () => {
  await open('nobody')
  await page.getByText('There is no saga nobody.').waitFor()
  expect(await page.getByTestId('saga-status').count()).toBe(0)
  expect(await page.getByRole('link', { name: 'all sagas' }).count()).toBe(1)
  expect(new Set(complaints.splice(0))).toEqual(new Set([expect.stringContaining('status of 404')]))
})

test('hundreds of rows hold, on a phone too, and the log begins at its end', async () => {
  const { sagaId } = await sagas.run({ C: refuses })
  await query(
    sagas.where.database,
    `INSERT INTO saga_log (saga_id, service, status, message, attempt, created_at, entry_id)
     SELECT $1, 'COMPENSATE_A', 'failed', 'OutcomeUnknown: again ' || n, n + 1, now() + n * interval '7 s', gen_random_uuid()
     FROM generate_series(1, 300) AS n`,
    [sagaId],
  )
  await page.setViewportSize({ width: 390, height: 844 })
  await open(sagaId)
  await shows('COMPENSATED')
  await logBox(sagaId).getByText('OutcomeUnknown: again 300').waitFor()
  expect(await logBox(sagaId).evaluate((box) => box.scrollTop + box.clientHeight >= box.scrollHeight - 24)).toBe(true)
  expect(await page.locator('[data-lane="COMPENSATE_A"] button').count()).toBeGreaterThan(300)
  expect(await widthOnPhone(page)).toBe(390)
})

test('who may not decide or cancel is told who may', async () => {
  const tokens = { viewer: 'token-of-vera-0123456789', operator: 'token-of-olga-0123456789' }
  const guarded = await startSystem('saga-page-roles', {
    API_TOKENS: `vera:viewer:${tokens.viewer},olga:operator:${tokens.operator}`,
  })
  try {
    const theirs = new Sagas(guarded.where, { authorization: `Bearer ${tokens.operator}` })
    const running = await theirs.start({ C: { mode: 'first', n: 1, kind: 'hang' } })
    const { sagaId } = await theirs.run()
    await query(
      guarded.where.database,
      `UPDATE saga SET status = 'NEEDS_ATTENTION', fate = 'rollback', ended_at = NULL, progress_at = now() + interval '1 h', compensations = $2 WHERE saga_id = $1`,
      [sagaId, stuckOnB],
    )
    for (const role of ['viewer', 'operator'] as const) {
      const roles = await browser.newContext()
      const { page: seen } = await openPage(roles, `${guarded.where.api}/#/saga/${sagaId}`)
      await field('Token', seen).fill(tokens[role])
      await press('Log in', seen)
      const decide = seen.getByRole('region', { name: 'The undo of B (address) is stuck' })
      await decide.waitFor()
      const isOperator = role === 'operator'
      expect(await decide.getByRole('button').count()).toBe(isOperator ? 1 : 0)
      expect(await decide.getByText('Operators decide; you are logged in as vera, a viewer.').count()).toBe(
        isOperator ? 0 : 1,
      )
      // Who decides is known.
      expect(await field('Your name', seen).count()).toBe(0)
      if (!isOperator) {
        await seen.goto(`${guarded.where.api}/#/saga/${running}`)
        await seen.getByText('****1234').waitFor()
        expect(await seen.getByRole('button', { name: /Cancel/ }).count()).toBe(0)
      }
      await roles.close()
    }
  } finally {
    await guarded.stop()
  }
})

test.each(['light', 'dark'] as const)('axe finds nothing serious, %s', async (colorScheme) => {
  await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' })
  const sagaId = await sagas.start({ C: { mode: 'first', n: 2, kind: 'hang' } })
  await open(sagaId)
  await page.locator('[data-lane="C"] [data-live]').waitFor()
  await press('Cancel saga…')
  await page.getByRole('dialog').getByRole('listitem').first().waitFor()
  expect(await seriousFindingsNow(page)).toEqual([])
  await field('Reason').fill('enough')
  await press('Cancel and undo')
  await shows('COMPENSATED')
  await page.getByText('The timeline as a table').click()
  await page.locator('[data-lane="A"] button').first().focus()
  expect(await seriousFindingsNow(page)).toEqual([])

  const waiting = await sagas.run()
  await query(
    sagas.where.database,
    `UPDATE saga SET status = 'NEEDS_ATTENTION', fate = 'rollback', ended_at = NULL, progress_at = now() + interval '1 h', compensations = $2 WHERE saga_id = $1`,
    [waiting.sagaId, stuckOnB],
  )
  await page.setViewportSize({ width: 390, height: 844 })
  await needsAttention(waiting.sagaId)
  await page.getByLabel('With another input').check()
  expect(await seriousFindingsNow(page)).toEqual([])
  expect(await widthOnPhone(page)).toBe(390)
  await query(
    sagas.where.database,
    `UPDATE saga SET status = 'COMPLETED', fate = 'completed', ended_at = now(), compensations = '[]' WHERE saga_id = $1`,
    [waiting.sagaId],
  )
})

testReplay(() => sagas)

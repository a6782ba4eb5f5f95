import { existsSync, mkdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { chromium } from 'playwright-core'

/**
 * Takes every view of the page, light and dark, 1280 and 390 wide, of a running `npm start` without login:
 *
 *   npm run screenshots                                       into docs/screenshots
 *   npm run screenshots -- --url http://127.0.0.1:3000 --into some/folder
 *
 * It starts a handful of sagas first, one of each end, and a bulk. One that is stuck on B is left so, those on A are decided.
 */
const { values } = parseArgs({
  options: {
    url: { type: 'string' },
    into: { type: 'string', default: 'docs/screenshots' },
    'data-dir': { type: 'string', default: process.env.DATA_DIR ?? '.data' },
  },
})
const { into } = values
const url = values.url ?? JSON.parse(readFileSync(join(values['data-dir'], 'urls.json'), 'utf8')).api

async function post(path, body) {
  const response = await fetch(new URL(path, url), {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  })
  const answer = await response.json()
  if (!response.ok) throw new Error(`POST ${path}: ${answer.detail}`)
  return answer
}

/** A saga's id once it is as it shall be shown. */
async function start(username, failures, status) {
  const input = { username, address: '12 St James’s Square', payment: '4242 4242 4242 4242' }
  const { sagaId } = await post('/saga', { ...input, failures })
  if (status === 'cancelled') await post(`/saga/${sagaId}/cancel`, { reason: 'ordered twice', actor: 'grace' })
  await becomes(sagaId, status === 'cancelled' ? 'COMPENSATED' : status)
  return sagaId
}

async function becomes(sagaId, status) {
  for (const until = Date.now() + 120_000; Date.now() < until; await sleep(200)) {
    const saga = await (await fetch(new URL(`/saga/${sagaId}`, url))).json()
    if (saga.status === status) return
  }
  throw new Error(`Saga ${sagaId} has not become ${status} in 2 minutes; look at ${url}/#/saga/${sagaId}`)
}

const refusedC = { C: { mode: 'always', kind: 'reject' } }
console.log('Starting sagas; the one that gets stuck takes 40 s.')
const [completed, , rolledBack, stuck, , atA] = await Promise.all([
  start('Ada Lovelace', {}, 'COMPLETED'),
  start('Grace Hopper', { A: { mode: 'first', n: 1 }, B: { mode: 'first', n: 2, when: 'after' } }, 'COMPLETED'),
  start('Mary Somerville', { B: { mode: 'always', when: 'after' } }, 'COMPENSATED'),
  start('Charles Babbage', { ...refusedC, B: { mode: 'first', n: 8, on: 'compensate' } }, 'NEEDS_ATTENTION'),
  start('Annabella Byron', { C: { mode: 'first', n: 1, kind: 'hang' } }, 'cancelled'),
  start('Jane Marcet', { ...refusedC, A: { mode: 'first', n: 8, on: 'compensate' } }, 'NEEDS_ATTENTION'),
])
const retry = { filter: { step: 'A' }, action: 'retry', reason: 'the network is back', actor: 'grace' }
const { decisionsId } = await post('/saga/decisions', retry)
await becomes(atA, 'COMPENSATED')

const line = (n) => ({ username: `User ${n}`, address: `${n} St James’s Square`, payment: '4242 4242 4242 4242' })
const lines = Array.from({ length: 500 }, (_, n) => ({ ...line(n + 1), failures: n % 20 === 7 ? refusedC : {} }))
const { bulkId } = await post('/saga/bulk?onInvalid=skip', { sagas: [...lines, { username: 'Nobody' }] })

const views = {
  start: '/',
  list: '/sagas',
  'list-stuck': '/sagas?status=NEEDS_ATTENTION&step=B',
  'saga-completed': `/saga/${completed}`,
  'saga-rolled-back': `/saga/${rolledBack}`,
  'saga-stuck': `/saga/${stuck}`,
  bulks: '/bulk',
  bulk: `/bulk/${bulkId}`,
  'list-of-bulk': `/sagas?bulk=${bulkId}&status=COMPENSATED`,
  decisions: `/decisions/${decisionsId}`,
  log: '/log',
  overview: '/overview?minutes=15',
  failures: '/failures',
}

const paths = [process.env.CHROMIUM_PATH, '/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome']
const executablePath = paths.find((path) => path && existsSync(path))
if (!executablePath) throw new Error('Install Chromium (apt-get install chromium), or set CHROMIUM_PATH to one.')
const browser = await chromium.launch({ executablePath, args: ['--no-sandbox', '--disable-gpu'] })
mkdirSync(into, { recursive: true })
try {
  for (const colorScheme of ['light', 'dark']) {
    for (const width of [1280, 390]) {
      const viewport = { width, height: width > 640 ? 800 : 844 }
      // Without motion a view is as it stays; twice as fine, as on the screens of today.
      const context = await browser.newContext({ colorScheme, viewport, reducedMotion: 'reduce', deviceScaleFactor: 2 })
      for (const [name, address] of Object.entries(views)) {
        const page = await context.newPage()
        await page.goto(`${url}/#${address}`)
        await page.locator('main').waitFor({ state: 'attached' })
        // A view that is live has a stream open, and never comes to rest: what is there by then is taken.
        await page.waitForLoadState('networkidle', { timeout: 3_000 }).catch(() => {})
        await sleep(500)
        await page.screenshot({ path: join(into, `${name}-${colorScheme}-${width}.png`), fullPage: width <= 640 })
        await page.close()
      }
      await context.close()
      console.log(`${colorScheme}, ${width} wide: ${Object.keys(views).length} views`)
    }
  }
} finally {
  await browser.close()
}
console.log(`They are in ${into}.`)

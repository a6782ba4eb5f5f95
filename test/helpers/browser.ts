import { existsSync } from 'node:fs'
import { chromium, type Browser, type Page } from 'playwright-core'

const paths = [process.env['CHROMIUM_PATH'], '/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome']

/** The Chromium of this machine, talking to nobody by itself. */
export function launchChromium(): Promise<Browser> {
  const executablePath = paths.find((path) => path && existsSync(path))
  if (!executablePath) {
    throw new Error(
      'The page is tested in Chromium: install it (apt-get install chromium), or set CHROMIUM_PATH to one.',
    )
  }
  const args = ['--no-sandbox', '--disable-background-networking', '--disable-gpu', '--disable-quic', '--no-first-run']
  return chromium.launch({ executablePath, args })
}

/** A page, and what it has done that a page should not: errors on its console, requests to another host. */
export async function openPage(
  browser: Pick<Browser, 'newPage'>,
  url: string,
): Promise<{ page: Page; complaints: string[] }> {
  const page = await browser.newPage()
  const complaints: string[] = []
  page.on('console', (message) => {
    if (message.type() === 'error' || message.type() === 'warning')
      complaints.push(`${message.type()}: ${message.text()}`)
  })
  page.on('pageerror', (error) => complaints.push(`uncaught: ${error.message}`))
  page.on('request', (request) => {
    if (!request.url().startsWith('data:') && new URL(request.url()).host !== new URL(url).host) {
      complaints.push(`request to ${request.url()}`)
    }
  })
  await page.goto(url)
  return { page, complaints }
}

import { AxeBuilder } from '@axe-core/playwright'
import type { Page } from 'playwright-core'

/** What axe finds on the page, in dark and in light, that is serious or critical. It is in light afterwards. */
export async function seriousFindings(page: Page): Promise<string[]> {
  const found: string[] = []
  for (const colorScheme of ['dark', 'light'] as const) {
    await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' })
    found.push(...(await seriousFindingsNow(page)).map((one) => `${colorScheme}: ${one}`))
  }
  return found
}

/** The same of the page as it is shown now. */
export async function seriousFindingsNow(page: Page): Promise<string[]> {
  // Legacy: else it opens a page of its own, which a context of browser.newPage() does not allow.
  const { violations } = await new AxeBuilder({ page }).setLegacyMode().analyze()
  return violations
    .filter(({ impact }) => impact === 'serious' || impact === 'critical')
    .map(({ id, nodes }) => `${id}: ${nodes.map(({ html, failureSummary }) => `${html} ${failureSummary}`).join()}`)
}

/** Makes it as wide as a phone, 390; how wide its content is then. */
export async function widthOnPhone(page: Page): Promise<number> {
  await page.setViewportSize({ width: 390, height: 844 })
  return page.evaluate(() => document.documentElement.scrollWidth)
}

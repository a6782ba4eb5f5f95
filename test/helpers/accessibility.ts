import { AxeBuilder } from '@axe-core/playwright'
import type { Page } from 'playwright-core'

/** What axe finds on the page, in light and in dark, that is serious or critical. */
export async function seriousFindings(page: Page): Promise<string[]> {
  const found: string[] = []
  for (const colorScheme of ['light', 'dark'] as const) {
    await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' })
    // In one page: it was not opened in a context of its own.
    const { violations } = await new AxeBuilder({ page }).setLegacyMode().analyze()
    for (const { id, impact, nodes } of violations) {
      if (impact !== 'serious' && impact !== 'critical') continue
      found.push(`${colorScheme}: ${id}: ${nodes.map(({ html }) => html).join(' ')}`)
    }
  }
  return found
}

/** Makes it as wide as a phone; how wide its content is then. */
export async function widthOnPhone(page: Page): Promise<number> {
  await page.setViewportSize({ width: 390, height: 844 })
  return page.evaluate(() => document.documentElement.scrollWidth)
}

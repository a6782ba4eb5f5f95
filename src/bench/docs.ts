import { mkdirSync, writeFileSync } from 'node:fs'
import { toChart } from './chart.js'
import { toPage } from './page.js'
import type { Report } from './results.js'

/** Writes docs/performance.md, and the chart in it. */
export function writeDocs(report: Report): void {
  mkdirSync('docs/images', { recursive: true })
  writeFileSync('docs/images/performance.svg', toChart(report))
  writeFileSync('docs/performance.md', toPage(report))
}

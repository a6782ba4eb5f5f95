import {
  besideCase,
  bulkCase,
  IDLE_CASE,
  loadCase,
  logCase,
  number,
  ratioOf,
  spreadOf,
  type ContenderName,
  type Measure,
  type Report,
} from './results.js'
import { figure } from './table.js'

export interface Headline {
  what: string
  value: string
}

/** What stands beside what, in ratios of medians; only what the report has both sides of. */
export function headlinesOf({ plan, results }: Report): Headline[] {
  const of = (name: string, who: ContenderName, measure: Measure = 'throughput') =>
    spreadOf(results, name, who, measure)
  const lines: Headline[] = []
  const add = (what: string, value: number | undefined, unit = '×') => {
    if (value !== undefined) lines.push({ what, value: `${figure(value)}${unit}` })
  }
  const inFlight = plan.inFlight.includes(64) ? 64 : Math.max(...plan.inFlight)
  const [happy, refused] = [loadCase('happy', inFlight), loadCase('refused', inFlight)]
  const alone = loadCase('happy', 1)
  const big = bulkCase('happy', plan.bulk)
  const size = number(plan.bulk)

  const rate = `Throughput, ${inFlight} in flight`
  add(`${rate}: sharing runs beside one workflow a saga`, ratioOf(of(happy, 'grouped'), of(happy, 'single')))
  add(`${rate}, C refuses: the same`, ratioOf(of(refused, 'grouped'), of(refused, 'single')))
  add(
    `${rate}: sharing runs beside the statements alone, by the same door`,
    ratioOf(of(happy, 'grouped'), of(happy, 'limit')),
  )
  add(`${rate}: sharing runs beside Temporal's sample`, ratioOf(of(happy, 'grouped'), of(happy, 'sample')))
  add(`${rate}: one workflow a saga beside Temporal's sample`, ratioOf(of(happy, 'single'), of(happy, 'sample')))
  const latency = 'Median latency'
  add(
    `${latency}, ${inFlight} in flight: sharing runs beside one workflow a saga`,
    ratioOf(of(happy, 'grouped', 'p50'), of(happy, 'single', 'p50')),
  )
  add(`${latency}, one at a time: the same`, ratioOf(of(alone, 'grouped', 'p50'), of(alone, 'single', 'p50')))
  add(
    `${latency}, one at a time: beside a bulk of ${size}, and beside nothing`,
    ratioOf(of(besideCase(plan.bulk), 'single', 'p50'), of(IDLE_CASE, 'single', 'p50')),
  )
  add(`Bulk of ${size}: beside the statements alone`, ratioOf(of(big, 'bulk'), of(big, 'limit')))
  add(`Bulk of ${size}, without \`invokeMany\`: the same`, ratioOf(of(big, 'plain'), of(big, 'limit')))
  add(`Bulk of ${size}: beside Temporal's sample, ${inFlight} in flight`, ratioOf(of(big, 'bulk'), of(happy, 'sample')))
  add(
    `Bulk of ${size}: with the demo's failures beside happy`,
    ratioOf(of(bulkCase('demo', plan.bulk), 'bulk'), of(big, 'bulk')),
  )
  const [few, most] = [plan.bulks.at(1) ?? plan.bulk, Math.max(...plan.bulks)]
  add(
    `Time a saga: in bulks of ${number(most)} beside ${number(few)}`,
    ratioOf(of(bulkCase('happy', few), 'bulk'), of(bulkCase('happy', most), 'bulk')),
  )
  add(
    `CPU a saga: in bulks of ${number(most)} beside ${number(few)}`,
    ratioOf(of(bulkCase('happy', most), 'bulk', 'cpu'), of(bulkCase('happy', few), 'bulk', 'cpu')),
  )
  add(
    `Time a saga, bulk of ${size}: behind ${number(plan.logRows)} log rows beside none`,
    ratioOf(of(logCase(plan.bulk, 0), 'bulk'), of(logCase(plan.bulk, plan.logRows), 'bulk')),
  )
  add(`Bulk of ${size}: acknowledged in`, of(big, 'bulk', 'ack')?.median, ' ms')
  add(`Bulk of ${size}: memory of API and worker, at most`, of(big, 'bulk', 'rss')?.max, ' MB')
  return lines
}

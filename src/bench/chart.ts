import { init, type LineSeriesOption } from 'echarts'
import { bulkCase, loadCase, number, spreadOf, type ContenderName, type Report } from './results.js'
import { figure } from './table.js'

const SIZE = { width: 960, height: 420 }
// It goes into an attribute, whose quotes are not escaped.
const FONT = "system-ui, -apple-system, 'Segoe UI', sans-serif"
/** Told apart by people who see few colours too, and by what shape their points have. */
const LINES = [
  { who: 'limit', name: 'the statements alone', color: '#6b7280', symbol: 'diamond' },
  { who: 'grouped', name: 'sagas share runs', color: '#0369a1', symbol: 'circle' },
  { who: 'single', name: 'one workflow a saga', color: '#b45309', symbol: 'rect' },
  { who: 'sample', name: "Temporal's sample style", color: '#9d174d', symbol: 'triangle' },
] as const
const BULK = '#047857'

/** Happy sagas a second as an SVG: by how many are in flight, and in a bulk beside those. */
export function toChart(report: Report): string {
  const { plan } = report
  const chart = init(null, null, { renderer: 'svg', ssr: true, ...SIZE })
  const bars = barsOf(report)
  chart.setOption({
    animation: false,
    backgroundColor: '#ffffff',
    textStyle: { fontFamily: FONT, color: '#1f2937' },
    title: [
      { text: 'POST /saga, by sagas in flight', left: 64, top: 8, textStyle: { fontSize: 15 } },
      { text: `A bulk of ${number(plan.bulk)}`, left: 620, top: 8, textStyle: { fontSize: 15 } },
    ],
    legend: { top: 384, left: 64, itemGap: 30, data: LINES.map(({ name }) => name) },
    grid: [
      { left: 64, top: 64, width: 440, height: 270 },
      { left: 620, top: 64, width: 310, height: 270 },
    ],
    xAxis: [
      {
        type: 'category',
        gridIndex: 0,
        data: plan.inFlight.map(String),
        name: 'in flight',
        nameLocation: 'middle',
        nameGap: 26,
      },
      {
        type: 'category',
        gridIndex: 1,
        data: bars.map(({ label }) => label),
        axisLabel: { interval: 0, lineHeight: 14 },
      },
    ],
    yAxis: [
      { type: 'log', min: 1, gridIndex: 0, name: 'sagas/s, logarithmic', nameTextStyle: { align: 'left' } },
      { type: 'value', gridIndex: 1, name: 'sagas/s', nameTextStyle: { align: 'left' } },
    ],
    series: [
      ...LINES.map((line) => lineOf(report, line)),
      {
        type: 'bar',
        xAxisIndex: 1,
        yAxisIndex: 1,
        barWidth: '55%',
        label: { show: true, position: 'top', formatter: toLabel },
        data: bars.map(({ value, color }) => ({ value, itemStyle: { color } })),
      },
    ],
  })
  const svg = chart.renderToSVGString()
  chart.dispose()
  return `${svg}\n`
}

function lineOf(report: Report, { who, name, color, symbol }: (typeof LINES)[number]): LineSeriesOption {
  const data = report.plan.inFlight.map((inFlight) => {
    const rates = LINES.map((line) => rateOf(report, inFlight, line.who))
    const rate = rateOf(report, inFlight, who)
    const above = rates.filter((other) => other > rate).length
    // Of two that are close, the number of one stands above and that of the other below.
    return { value: rate || '-', label: { position: above % 2 === 0 ? ('top' as const) : ('bottom' as const) } }
  })
  return { type: 'line', name, symbol, symbolSize: 9, color, data, label: { show: true, color, formatter: toLabel } }
}

/** 0 where it was not measured. */
const rateOf = ({ results }: Report, inFlight: number, who: ContenderName) =>
  spreadOf(results, loadCase('happy', inFlight), who, 'throughput')?.median ?? 0

const toLabel = ({ value }: { value?: unknown }) => figure(Number(value))

/** The most of the sample's rates stands for it: it has no bulk. */
function barsOf(report: Report): { label: string; value: number; color: string }[] {
  const { plan, results } = report
  const name = bulkCase('happy', plan.bulk)
  const rate = (who: ContenderName) => spreadOf(results, name, who, 'throughput')?.median ?? 0
  const sample = plan.inFlight.map((inFlight) => rateOf(report, inFlight, 'sample'))
  return [
    { label: "Temporal's\nsample", value: Math.max(...sample), color: LINES[3].color },
    { label: 'statements\nalone', value: rate('limit'), color: LINES[0].color },
    { label: 'bulk, without\ninvokeMany', value: rate('plain'), color: '#6ee7b7' },
    { label: 'bulk', value: rate('bulk'), color: BULK },
  ]
}

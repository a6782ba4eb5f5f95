import { useNow } from '../use-now'

const time: Intl.DateTimeFormatOptions = {
  hour: '2-digit',
  minute: '2-digit',
  second: '2-digit',
  fractionalSecondDigits: 3,
  hourCycle: 'h23',
}
const today = new Intl.DateTimeFormat(undefined, time)
const otherDay = new Intl.DateTimeFormat(undefined, { day: 'numeric', month: 'short', ...time })

const isToday = (at: Date) => at.toDateString() === new Date().toDateString()

const relative = new Intl.RelativeTimeFormat(undefined, { numeric: 'auto', style: 'short' })
const units = [
  { unit: 'day', s: 86_400 },
  { unit: 'hour', s: 3_600 },
  { unit: 'minute', s: 60 },
  { unit: 'second', s: 1 },
] as const

/** "3 min. ago"; a clock that is behind the server's says "now". */
function ago(at: Date, nowMs: number): string {
  const s = Math.max(0, Math.floor((nowMs - at.getTime()) / 1_000))
  const { unit, s: size } = units.find((one) => s >= one.s) ?? units[3]
  return relative.format(-Math.floor(s / size), unit)
}

/** An instant in the reader's zone; the exact one, in UTC, on hover. */
export function Moment({ iso }: { iso: string }) {
  const at = new Date(iso)
  return (
    <time dateTime={iso} title={iso}>
      {(isToday(at) ? today : otherDay).format(at)}
    </time>
  )
}

/** How long ago an instant was; in the reader's zone and in UTC on hover. */
export function MomentAgo({ iso }: { iso: string }) {
  const at = new Date(iso)
  const nowMs = useNow()
  return (
    <time dateTime={iso} title={`${otherDay.format(at)} (${iso})`}>
      {ago(at, nowMs)}
    </time>
  )
}

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

/** An instant in the reader's zone; the exact one, in UTC, on hover. */
export function Moment({ iso }: { iso: string }) {
  const at = new Date(iso)
  return (
    <time dateTime={iso} title={iso}>
      {(isToday(at) ? today : otherDay).format(at)}
    </time>
  )
}

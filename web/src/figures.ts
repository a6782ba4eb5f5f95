// Figures and times, as people read them.

const whole = new Intl.NumberFormat(undefined, { maximumFractionDigits: 0 })
const percents = new Intl.NumberFormat(undefined, { style: 'percent', maximumFractionDigits: 1 })
const seconds = new Intl.NumberFormat(undefined, { maximumFractionDigits: 1 })

export const numeral = (n: number): string => whole.format(n)

/** "1 saga", "5,000 sagas". */
export const counted = (n: number, word: string): string => `${numeral(n)} ${word}${n === 1 ? '' : 's'}`

export const percent = (share: number): string => percents.format(share)

/** "120 ms", "1.2 s", "2 min 5 s", "1 h 5 min", "3 d 4 h". */
export function lasting(ms: number): string {
  if (ms < 1_000) return `${Math.max(0, Math.round(ms))} ms`
  if (ms < 59_950) return `${seconds.format(ms / 1_000)} s`
  const s = Math.round(ms / 1_000)
  if (s < 3_600) return two(s, 60, 'min', 's')
  const min = Math.round(s / 60)
  if (min < 1_440) return two(min, 60, 'h', 'min')
  return two(Math.round(min / 60), 24, 'd', 'h')
}

function two(n: number, size: number, great: string, small: string): string {
  const rest = n % size
  return `${Math.floor(n / size)} ${great}${rest > 0 ? ` ${rest} ${small}` : ''}`
}

/** How long it took from one instant to another. */
export const duration = (fromIso: string, toIso: string): string => lasting(Date.parse(toIso) - Date.parse(fromIso))

const time: Intl.DateTimeFormatOptions = { hour: '2-digit', minute: '2-digit', hourCycle: 'h23' }

/** "10:41" in the reader's zone, and "10:41:07". */
export const clock = new Intl.DateTimeFormat(undefined, time)
export const clockToTheSecond = new Intl.DateTimeFormat(undefined, { ...time, second: '2-digit' })

import { useEffect, useState } from 'react'

/** The time in ms, ten times a second while something is drawn in it; once a second where the reader wants no motion. */
export function useClock(isMoving: boolean): number {
  const [now, setNow] = useState(Date.now)
  useEffect(() => {
    if (!isMoving) return undefined
    const isCalm = matchMedia('(prefers-reduced-motion: reduce)').matches
    const timer = setInterval(() => setNow(Date.now()), isCalm ? 1_000 : 100)
    return () => clearInterval(timer)
  }, [isMoving])
  return now
}

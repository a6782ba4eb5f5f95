import { useCallback, useState } from 'react'

/** What this tab has started: enough to find it again, and nothing that is secret. */
export interface Started {
  sagaId: string
  username: string
  what: string
}

const KEPT = 5
const PLACE = 'started'

/** The sagas that were started last from this tab, newest first. */
export function useStarted(): [Started[], (one: Started) => void] {
  const [started, setStarted] = useState(read)
  const add = useCallback((one: Started) => {
    const all = [one, ...read().filter(({ sagaId }) => sagaId !== one.sagaId)].slice(0, KEPT)
    sessionStorage.setItem(PLACE, JSON.stringify(all))
    setStarted(all)
  }, [])
  return [started, add]
}

function read(): Started[] {
  try {
    return JSON.parse(sessionStorage.getItem(PLACE) ?? '[]') as Started[]
  } catch {
    return []
  }
}

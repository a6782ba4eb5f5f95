import { useState } from 'react'

const KEY = 'actor'

/** Who says so where there is no login, as long as the tab is open. */
export function useActor(): [string, (actor: string) => void] {
  const [actor, setActor] = useState(() => sessionStorage.getItem(KEY) ?? '')
  return [
    actor,
    (name) => {
      sessionStorage.setItem(KEY, name)
      setActor(name)
    },
  ]
}

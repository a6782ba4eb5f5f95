import { useSyncExternalStore } from 'react'

/** Where a saga is shown: its id is in the address, so that a reload shows it again. */
export const sagaHref = (sagaId: string): string => `#/saga/${encodeURIComponent(sagaId)}`

/** The saga that the address names. */
export function useSagaId(): string | undefined {
  const hash = useSyncExternalStore(subscribe, () => location.hash)
  const encoded = /^#\/saga\/(.+)$/.exec(hash)?.[1]
  if (encoded === undefined) return undefined
  try {
    return decodeURIComponent(encoded)
  } catch {
    return encoded
  }
}

function subscribe(onChange: () => void): () => void {
  addEventListener('hashchange', onChange)
  return () => removeEventListener('hashchange', onChange)
}

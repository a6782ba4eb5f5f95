import { useSyncExternalStore } from 'react'
import { server } from './api'

/** Why the last call of the server got no good answer, for people; undefined where it did. */
export function useServer(): string | undefined {
  return useSyncExternalStore(subscribe, () => server.trouble)
}

function subscribe(onChange: () => void): () => void {
  server.addEventListener('change', onChange)
  return () => server.removeEventListener('change', onChange)
}

import { useSyncExternalStore } from 'react'
import { getLogin, loginNeeded, type Login } from './api'

/**
 * Who is logged in: asked for when the page opens, and again when an answer says that a login is needed. Undefined until the
 * first answer, and while somebody logs out; a server that does not answer is taken for one without login, and says otherwise
 * when it is back.
 */
export function useLogin(): [Login | undefined, (login: Login | undefined) => void] {
  return [useSyncExternalStore(subscribe, () => current), set]
}

let current: Login | undefined
const listeners = new Set<() => void>()

function set(login: Login | undefined): void {
  current = login
  for (const listener of listeners) listener()
}

function subscribe(listener: () => void): () => void {
  listeners.add(listener)
  return () => listeners.delete(listener)
}

loginNeeded.addEventListener('needed', () => set({ login: true }))
getLogin().then(set, () => set({ login: false }))

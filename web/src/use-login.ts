import { useEffect, useState } from 'react'
import { getLogin, loginNeeded, type Login } from './api'

/**
 * Who is logged in: asked for when the page opens, and again when an answer says that a login is needed. Undefined until the
 * first answer; a server that does not answer is taken for one without login, and says otherwise when it is back.
 */
export function useLogin(): [Login | undefined, (login: Login) => void] {
  const [login, setLogin] = useState<Login>()
  useEffect(() => {
    getLogin().then(setLogin, () => setLogin({ login: false }))
    const forget = () => setLogin({ login: true })
    loginNeeded.addEventListener('needed', forget)
    return () => loginNeeded.removeEventListener('needed', forget)
  }, [])
  return [login, setLogin]
}

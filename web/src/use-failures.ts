import { useQuery } from '@tanstack/react-query'
import { getFailures, type Failures, type Login } from './api'
import { may } from './rights'

export interface FailureRights {
  /** Undefined until the first answer. */
  inForce: Failures | undefined
  /** Why whoever is logged in can't have anything fail; undefined where they can. */
  whyNot: string | undefined
  error: Error | null
}

export const failuresKey = ['failures'] as const

/** What fails for everybody, as it is now, and whether it may be changed from here. */
export function useFailures(login: Login): FailureRights {
  const { data, error, failureReason } = useQuery({
    queryKey: failuresKey,
    queryFn: getFailures,
    refetchInterval: 5_000,
  })
  return {
    inForce: data?.inForce,
    whyNot:
      data?.isOn === false
        ? 'Failure injection is off on this server, so nothing fails on purpose. Whoever runs it can turn it on: FAILURE_INJECTION=on npm start.'
        : may(login, 'operator')
          ? undefined
          : `To have something fail needs the role operator; ${login.name} is ${login.role}.`,
    error: data ? null : (error ?? failureReason),
  }
}

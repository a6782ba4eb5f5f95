import { useQuery } from '@tanstack/react-query'
import { getStuck, type Stuck } from './api'

type Group = Stuck['stuck'][number]

export const stuckKey = ['stuck'] as const

/** What waits for a person now, by step and error, most first; undefined until the first answer. */
export function useStuck(): Group[] | undefined {
  return useQuery({ queryKey: stuckKey, queryFn: getStuck, refetchInterval: 2_000 }).data
}

/** How many sagas these are. */
export const sagasIn = (groups: Group[]): number => groups.reduce((sum, { sagas }) => sum + sagas, 0)

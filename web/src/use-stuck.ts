import { useQuery } from '@tanstack/react-query'
import { getStuck, type Stuck } from './api'

/** What waits for a person now, by step and error, most first; undefined until the first answer. */
export function useStuck(): Stuck['stuck'] | undefined {
  return useQuery({ queryKey: ['stuck'], queryFn: getStuck, refetchInterval: 2_000 }).data
}

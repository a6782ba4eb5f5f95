import { useQuery } from '@tanstack/react-query'
import { getCounts, type Counts } from './api'

/** How many sagas there are by status: unfinished now, ended in the last hour. Undefined until the first answer. */
export function useCounts(pollMs = 5_000): Counts | undefined {
  return useQuery({ queryKey: ['overview', '60'], queryFn: getCounts, refetchInterval: pollMs }).data
}

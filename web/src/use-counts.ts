import { useQuery } from '@tanstack/react-query'
import { getOverview, type Overview } from './api'

/** How many sagas there are by status: unfinished now, ended in the last hour. Undefined until the first answer. */
export function useCounts(): Overview | undefined {
  return useQuery({ queryKey: ['overview', 60], queryFn: () => getOverview(60), refetchInterval: 5_000 }).data
}

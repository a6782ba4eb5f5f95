import { keepPreviousData, useQuery, type UseQueryResult } from '@tanstack/react-query'
import { getOverview, type Overview } from './api'

/** How sagas do: how many are unfinished now, and what has started and ended in the last minutes. Read every 5 seconds. */
export function useOverview(minutes = 60): UseQueryResult<Overview> {
  return useQuery({
    queryKey: ['overview', minutes],
    queryFn: () => getOverview(minutes),
    refetchInterval: 5_000,
    placeholderData: keepPreviousData,
  })
}

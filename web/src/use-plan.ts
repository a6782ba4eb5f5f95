import { keepPreviousData, useQuery, type UseQueryResult } from '@tanstack/react-query'
import { getPlan, type LogRow, type SagaPlan } from './api'

/** What a rollback would do now: asked for again with every row that the saga's log gets. */
export function usePlan(sagaId: string, rows: LogRow[], isWanted: boolean): UseQueryResult<SagaPlan> {
  return useQuery({
    queryKey: ['plan', sagaId, String(rows.at(-1)?.id)],
    queryFn: () => getPlan(sagaId),
    enabled: isWanted,
    placeholderData: keepPreviousData,
    // No row may come for hours that would ask for it again.
    refetchInterval: ({ state }) => (state.status === 'error' ? 3_000 : false),
  })
}

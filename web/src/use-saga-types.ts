import { useQuery } from '@tanstack/react-query'
import { getSagaTypes, type SagaTypes } from './api'

export type StepOfType = SagaTypes['types'][number]['steps'][number]

/** The types of sagas that this server knows, with their steps in order; undefined until the first answer. */
export function useSagaTypes(): SagaTypes['types'] | undefined {
  return useQuery({
    queryKey: ['saga-types'],
    queryFn: getSagaTypes,
    staleTime: Infinity,
    retryDelay: 2_000,
    retry: true,
  }).data?.types
}

/** The steps of the saga that this page starts, which are also those that failures can be injected into. */
export function useSteps(): StepOfType[] | undefined {
  return useSagaTypes()?.[0]?.steps
}

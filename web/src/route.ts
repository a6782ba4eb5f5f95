/** Where a saga is shown: its id is in the address, so that a reload shows it again. */
export const sagaHref = (sagaId: string): string => `#/saga/${encodeURIComponent(sagaId)}`

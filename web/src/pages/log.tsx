/** What the address says of the view. */
export const logSearch = (search: Record<string, unknown>): Record<string, unknown> => search

export function LogPage() {
  return <main className="plain" />
}

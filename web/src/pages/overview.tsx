/** What the address says of the view. */
export const overviewSearch = (search: Record<string, unknown>): Record<string, unknown> => search

export function OverviewPage() {
  return <main className="plain" />
}

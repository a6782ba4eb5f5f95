/** What the address says of the view. */
export const listSearch = (search: Record<string, unknown>): Record<string, unknown> => search

export function ListPage() {
  return <main className="plain" />
}

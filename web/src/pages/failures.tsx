export function FailuresPage() {
  return <main className="plain" />
}

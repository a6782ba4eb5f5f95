import type { ReactNode } from 'react'
import type { Kind } from './shape'

/** One entry of a `dl` with the class "facts". */
export function Fact({ name, kind, children }: { name: string; kind?: Kind | undefined; children: ReactNode }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd data-kind={kind}>{children}</dd>
    </div>
  )
}

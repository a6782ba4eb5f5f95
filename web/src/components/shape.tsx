import type { ReactNode } from 'react'

/** Every kind has a shape of its own, so that none depends on its colour. */
export type Kind =
  | 'pending'
  | 'running'
  | 'good'
  | 'bad'
  | 'warning'
  | 'undoing-began'
  | 'undoing'
  | 'undone'
  | 'empty'
  | 'note'

const arc = <path d="M10 2.5a7.5 7.5 0 0 1 7.5 7.5" className="shape-arc" />
const wayBack = 'M6.2 8.2h5.3a2.6 2.6 0 0 1 0 5.2H8.2M8.4 5.9 6 8.2l2.4 2.4'

const shapes: Record<Kind, ReactNode> = {
  pending: <circle cx="10" cy="10" r="7.5" className="shape-line" />,
  running: (
    <>
      <circle cx="10" cy="10" r="7.5" className="shape-ring" />
      {arc}
      <circle cx="10" cy="10" r="2.5" className="shape-fill" />
    </>
  ),
  good: (
    <>
      <circle cx="10" cy="10" r="8.5" className="shape-fill" />
      <path d="m6.4 10.3 2.5 2.5 4.8-5.3" className="shape-mark" />
    </>
  ),
  bad: (
    <>
      <path d="M6.5 1.5h7l5 5v7l-5 5h-7l-5-5v-7z" className="shape-fill" />
      <path d="m7.2 7.2 5.6 5.6m0-5.6-5.6 5.6" className="shape-mark" />
    </>
  ),
  warning: (
    <>
      <path d="M10 1.8 19 17.6H1z" className="shape-fill shape-round" />
      <path d="M10 7.3v4.4m0 2.7v.1" className="shape-mark" />
    </>
  ),
  'undoing-began': (
    <>
      <circle cx="10" cy="10" r="7.5" className="shape-line" />
      <path d={wayBack} className="shape-line" />
    </>
  ),
  undoing: (
    <>
      <circle cx="10" cy="10" r="7.5" className="shape-ring" />
      {arc}
      <path d="m11.5 7-3 3 3 3" className="shape-line" />
    </>
  ),
  undone: (
    <>
      <rect x="1.5" y="1.5" width="17" height="17" rx="5" className="shape-fill" />
      <path d={wayBack} className="shape-mark" />
    </>
  ),
  empty: (
    <>
      <circle cx="10" cy="10" r="7.5" className="shape-line shape-dashed" />
      <path d="M7 10h6" className="shape-line" />
    </>
  ),
  note: <circle cx="10" cy="10" r="3.5" className="shape-fill" />,
}

/** The shape of a status. It says nothing to a screen reader: a word stands beside it. */
export function Shape({ kind }: { kind: Kind }) {
  return (
    <svg className="shape" data-kind={kind} viewBox="0 0 20 20" aria-hidden="true">
      {shapes[kind]}
    </svg>
  )
}

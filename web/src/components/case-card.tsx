import type { Case } from '../cases'
import { Shape, type Kind } from './shape'

interface CaseCardProps {
  one: Case
  isChosen: boolean
  onChoose: () => void
  onStart: () => void
}

/** A ready-made case: one press starts it; the rest of the card takes it into the form. */
export function CaseCard({ one, isChosen, onChoose, onStart }: CaseCardProps) {
  const { id, title, shows, forward, back } = one
  const steps = Object.keys(forward)
  return (
    <li className="case" data-case={id} data-chosen={isChosen || undefined}>
      <div className="case-track" aria-hidden="true">
        {steps.map((step) => (
          <span className="case-step" key={step}>
            {step}
          </span>
        ))}
        {steps.map((step) => (
          <Shapes key={step} kinds={forward[step]} />
        ))}
        {back && steps.map((step) => <Shapes key={`back-${step}`} kinds={back[step]} />)}
      </div>
      <h4>
        <button type="button" aria-pressed={isChosen} onClick={onChoose}>
          <span className="case-id">{id}</span> {title}
        </button>
      </h4>
      <p className="case-shows">{shows}</p>
      <button type="button" className="case-start" onClick={onStart} aria-label={`Start ${id}: ${title}`}>
        Start
      </button>
    </li>
  )
}

function Shapes({ kinds = [] }: { kinds: Kind[] | undefined }) {
  return (
    <span className="case-shapes">
      {kinds.map((kind, index) => (
        <Shape key={index} kind={kind} />
      ))}
    </span>
  )
}

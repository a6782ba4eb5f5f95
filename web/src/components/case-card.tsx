import type { Case } from '../cases'
import { STEPS } from '../failure-choices'
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
  return (
    <li className="case" data-case={id} data-chosen={isChosen || undefined}>
      <div className="case-track" aria-hidden="true">
        {STEPS.map((step) => (
          <span className="case-step" key={step}>
            {step}
          </span>
        ))}
        {forward.map((kinds, index) => (
          <Shapes key={STEPS[index]} kinds={kinds} />
        ))}
        {back?.map((kinds, index) => (
          <Shapes key={`back-${STEPS[index]}`} kinds={kinds} />
        ))}
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

function Shapes({ kinds }: { kinds: Kind[] }) {
  return (
    <span className="case-shapes">
      {kinds.map((kind, index) => (
        <Shape key={index} kind={kind} />
      ))}
    </span>
  )
}

import { useId } from 'react'

interface ChoiceProps {
  group: string
  name: string
  /** What it will do. */
  effect: string
  isChosen: boolean
  onChoose: () => void
}

/** One of several things that a person may decide, with what it will do. */
export function Choice({ group, name, effect, isChosen, onChoose }: ChoiceProps) {
  const id = useId()
  return (
    <div className="choice">
      <input
        type="radio"
        id={id}
        name={group}
        checked={isChosen}
        onChange={onChoose}
        aria-describedby={`${id}-effect`}
      />
      <label htmlFor={id}>{name}</label>
      <p id={`${id}-effect`} className="hint">
        {effect}
      </p>
    </div>
  )
}

import './failure-editor.css'
import {
  choiceOf,
  hintsOf,
  invokeChoices,
  invokeGroups,
  undoChoices,
  undoGroups,
  type Choices,
  type InvokeId,
  type UndoId,
} from '../failure-choices'
import type { StepOfType } from '../use-saga-types'

interface FailureEditorProps {
  steps: StepOfType[]
  choices: Choices
  onChange: (choices: Choices) => void
  /** What the API finds wrong, by step. */
  errors?: Partial<Record<string, string>>
}

/** How each step is to fail: on its way forward, and when it is undone. */
export function FailureEditor({ steps, choices, onChange, errors = {} }: FailureEditorProps) {
  const change = (step: string, some: Partial<ReturnType<typeof choiceOf>>) =>
    onChange({ ...choices, [step]: { ...choiceOf(choices, step), ...some } })
  return (
    <div className="failure-editor">
      {steps.map(({ step, service }) => {
        const choice = choiceOf(choices, step)
        const { invoke, undo } = choice
        const hints = hintsOf(choice)
        const error = errors[step]
        const note = hints.length > 0 || error ? `failures-${step}-note` : undefined
        const shared = { 'aria-describedby': note, 'aria-invalid': error ? true : undefined }
        return (
          <div className="failure-step" key={step}>
            <label htmlFor={`failures-${step}`}>
              {step} {service}
            </label>
            <select
              {...shared}
              id={`failures-${step}`}
              value={invoke}
              onChange={(event) => change(step, { invoke: event.target.value as InvokeId })}
            >
              <option value="never">{invokeChoices.never.label}</option>
              <Groups groups={invokeGroups} labelOf={(id) => invokeChoices[id].label} />
            </select>
            <select
              {...shared}
              aria-label={`Undo of ${step}`}
              value={undo}
              onChange={(event) => change(step, { undo: event.target.value as UndoId })}
            >
              <option value="never">{undoChoices.never.label}</option>
              <Groups groups={undoGroups} labelOf={(id) => undoChoices[id].label} />
            </select>
            {note && (
              <div className="failure-note" id={note}>
                {error && <p className="error-text">{error}</p>}
                {hints.map((hint) => (
                  <p className="hint" key={hint}>
                    {hint}
                  </p>
                ))}
              </div>
            )}
          </div>
        )
      })}
    </div>
  )
}

function Groups<Id extends string>({
  groups,
  labelOf,
}: {
  groups: { label: string; ids: Id[] }[]
  labelOf: (id: Id) => string
}) {
  return groups.map(({ label, ids }) => (
    <optgroup key={label} label={label}>
      {ids.map((id) => (
        <option key={id} value={id}>
          {labelOf(id)}
        </option>
      ))}
    </optgroup>
  ))
}

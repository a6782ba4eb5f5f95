import { useId, type ReactNode } from 'react'

/** What ties a control to its words. */
interface ControlProps {
  id: string
  'aria-describedby': string | undefined
  'aria-invalid': true | undefined
}

interface FieldProps {
  label: string
  hint?: string | undefined
  error?: string | undefined
  renderControl: (props: ControlProps) => ReactNode
}

/** A control with its label, its hint, and what is wrong with it. */
export function Field({ label, hint, error, renderControl }: FieldProps) {
  const id = useId()
  return (
    <div className="field">
      <label htmlFor={id}>{label}</label>
      {renderControl({
        id,
        'aria-describedby': hint || error ? `${id}-note` : undefined,
        'aria-invalid': error ? true : undefined,
      })}
      {(hint || error) && (
        <div id={`${id}-note`}>
          {error && <p className="error-text">{error}</p>}
          {hint && <p className="hint">{hint}</p>}
        </div>
      )}
    </div>
  )
}

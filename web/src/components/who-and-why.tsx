import { Field } from './field'

interface TextProps {
  value: string
  onChange: (value: string) => void
  hint: string
  error?: string | undefined
}

/** Why somebody decides or cancels, as it will stand in the log. */
export function ReasonField({ value, onChange, hint, error }: TextProps) {
  return (
    <Field
      label="Reason"
      hint={hint}
      error={error}
      renderControl={(props) => (
        <input
          {...props}
          value={value}
          onChange={({ target }) => onChange(target.value)}
          required
          maxLength={500}
          autoComplete="off"
        />
      )}
    />
  )
}

/** Who it is, where no login says so. */
export function NameField({ value, onChange, hint, error, required }: TextProps & { required?: boolean }) {
  return (
    <Field
      label="Your name"
      hint={hint}
      error={error}
      renderControl={(props) => (
        <input
          {...props}
          value={value}
          onChange={({ target }) => onChange(target.value)}
          required={required}
          maxLength={100}
          autoComplete="name"
        />
      )}
    />
  )
}

import { useRef } from 'react'
import { useCopy } from '../use-copy'

interface CopyProps {
  name?: string
  /** For screen readers, where the name alone does not say what is copied. */
  label?: string | undefined
  /** Made when it is asked for. */
  text: () => string
  onRefused?: () => void
}

/** A button that copies a text, and says so in its own place. */
export function Copy({ name = 'Copy', label, text, onRefused }: CopyProps) {
  const { said, copy } = useCopy()
  return (
    <button
      type="button"
      className="quiet copy"
      aria-label={label}
      onClick={() => void copy(text()).then((isCopied) => isCopied || onRefused?.())}
    >
      <span aria-live="polite">{said ?? name}</span>
    </button>
  )
}

/** An id to be read and copied. Where nothing can be copied it is marked, so that the keyboard can. */
export function CopyId({ id, name = 'saga id' }: { id: string; name?: string }) {
  const text = useRef<HTMLElement>(null)
  return (
    <span className="copy-id">
      <code ref={text}>{id}</code>
      <Copy
        label={`Copy ${name}`}
        text={() => id}
        onRefused={() => text.current && getSelection()?.selectAllChildren(text.current)}
      />
    </span>
  )
}

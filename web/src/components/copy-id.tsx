import { useEffect, useRef, useState } from 'react'

/** An id to be read and copied. */
export function CopyId({ id, name = 'saga id' }: { id: string; name?: string }) {
  const text = useRef<HTMLElement>(null)
  const [isCopied, setCopied] = useState(false)

  useEffect(() => {
    if (!isCopied) return undefined
    const timer = setTimeout(() => setCopied(false), 2_000)
    return () => clearTimeout(timer)
  }, [isCopied])

  // Without https, or when the browser says no, the id is marked so that the keyboard can copy it.
  async function copy() {
    try {
      await navigator.clipboard.writeText(id)
      setCopied(true)
    } catch {
      if (text.current) getSelection()?.selectAllChildren(text.current)
    }
  }

  return (
    <span className="copy-id">
      <code ref={text}>{id}</code>
      <button type="button" className="quiet" onClick={() => void copy()} aria-label={`Copy ${name}`}>
        <span aria-live="polite">{isCopied ? 'Copied' : 'Copy'}</span>
      </button>
    </span>
  )
}

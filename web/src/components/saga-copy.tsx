import { useEffect, useRef, useState } from 'react'

/** Copies a text that is not on show. Where the browser says no, the text comes up to be copied by hand. */
export function SagaCopy({ label, text }: { label: string; text: () => string }) {
  const [isCopied, setCopied] = useState(false)
  const [shown, setShown] = useState<string>()
  const field = useRef<HTMLTextAreaElement>(null)

  useEffect(() => {
    if (!isCopied) return undefined
    const timer = setTimeout(() => setCopied(false), 2_000)
    return () => clearTimeout(timer)
  }, [isCopied])

  useEffect(() => {
    if (shown !== undefined) field.current?.select()
  }, [shown])

  async function copy() {
    const now = text()
    try {
      await navigator.clipboard.writeText(now)
      setCopied(true)
    } catch {
      setShown(now)
    }
  }

  return (
    <>
      <button type="button" className="quiet" onClick={() => void copy()}>
        <span aria-live="polite">{isCopied ? 'Copied' : label}</span>
      </button>
      {shown !== undefined && <textarea ref={field} readOnly rows={4} value={shown} aria-label={label} />}
    </>
  )
}

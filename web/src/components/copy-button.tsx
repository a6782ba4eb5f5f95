import { useEffect, useState } from 'react'

/** Copies a text that stands beside it. Where the browser says no, it says so. */
export function CopyButton({ text, label }: { text: string; label: string }) {
  const [word, setWord] = useState('Copy')

  useEffect(() => {
    if (word === 'Copy') return undefined
    const timer = setTimeout(() => setWord('Copy'), 2_000)
    return () => clearTimeout(timer)
  }, [word])

  async function copy() {
    try {
      await navigator.clipboard.writeText(text)
      setWord('Copied')
    } catch {
      setWord('No access')
    }
  }

  return (
    <button type="button" className="quiet copy-button" onClick={() => void copy()} aria-label={label}>
      <span aria-live="polite">{word}</span>
    </button>
  )
}

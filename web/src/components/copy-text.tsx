import { useEffect, useState } from 'react'

/** A button that copies a text, which is made when it is asked for. `label`: where its name alone does not say which. */
export function CopyText({ name, label, text }: { name: string; label?: string; text: () => string }) {
  const [said, setSaid] = useState<string>()

  useEffect(() => {
    if (said === undefined) return undefined
    const timer = setTimeout(() => setSaid(undefined), 2_000)
    return () => clearTimeout(timer)
  }, [said])

  return (
    <button
      type="button"
      className="quiet"
      aria-label={label}
      onClick={() => void copy(text()).then((isCopied) => setSaid(isCopied ? 'Copied' : 'Can’t copy here'))}
    >
      <span aria-live="polite">{said ?? name}</span>
    </button>
  )
}

async function copy(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text)
    return true
  } catch {
    // Without https, or where the browser says no: the old way, by a selection.
    const area = document.createElement('textarea')
    area.value = text
    document.body.append(area)
    area.select()
    const isCopied = document.execCommand('copy')
    area.remove()
    return isCopied
  }
}

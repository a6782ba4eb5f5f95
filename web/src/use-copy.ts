import { useEffect, useRef, useState } from 'react'

const SAID_MS = 2_000

/** Copies a text, and for two seconds says how that went: "Copied", or that this browser lets nothing be copied. */
export function useCopy(): { said: string | undefined; copy: (text: string) => Promise<boolean> } {
  const [said, setSaid] = useState<string>()
  const timer = useRef<ReturnType<typeof setTimeout>>(undefined)
  useEffect(() => () => clearTimeout(timer.current), [])

  return {
    said,
    async copy(text) {
      const isCopied = await toClipboard(text)
      clearTimeout(timer.current)
      timer.current = setTimeout(() => setSaid(undefined), SAID_MS)
      setSaid(isCopied ? 'Copied' : 'Can’t copy here')
      return isCopied
    },
  }
}

async function toClipboard(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text)
    return true
  } catch {
    // Without https there is no clipboard, and a browser may say no: then the old way, by a selection.
    return bySelection(text)
  }
}

function bySelection(text: string): boolean {
  const focused = document.activeElement
  const area = document.createElement('textarea')
  area.value = text
  area.className = 'for-readers'
  document.body.append(area)
  area.focus({ preventScroll: true })
  area.select()
  const isCopied = document.execCommand('copy')
  area.remove()
  if (focused instanceof HTMLElement) focused.focus({ preventScroll: true })
  return isCopied
}

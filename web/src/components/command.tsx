import { Copy } from './copy'
import './command.css'

/** What can be pasted into a shell. */
export function Command({ name, text }: { name: string; text: string }) {
  return (
    <figure className="command">
      <figcaption>
        <span>{name}</span>
        <Copy label={`Copy: ${name}`} text={() => text} />
      </figcaption>
      <pre>
        <code>{text}</code>
      </pre>
    </figure>
  )
}

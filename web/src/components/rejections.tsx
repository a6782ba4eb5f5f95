import type { Rejection } from '../api'
import { sayWrong } from '../bulk-words'
import { numeral } from '../figures'
import './rejections.css'

/** Lines that were no saga's input, each with what is wrong. */
export function Rejections({ of }: { of: Rejection[] }) {
  return (
    <ol className="rejections">
      {of.map(({ line, errors }) => (
        <li key={line}>
          <span>Line {numeral(line)}</span>
          <span>{errors.map(sayWrong).join('; ')}</span>
        </li>
      ))}
    </ol>
  )
}

import { useMutation } from '@tanstack/react-query'
import { useNavigate } from '@tanstack/react-router'
import { useId, useRef, useState, type SubmitEvent } from 'react'
import { ApiError, ServerAway, startBulk, type Problem, type Rejection } from '../api'
import { counted } from '../figures'
import { ASK_AGAIN, newKey } from '../use-start'
import { Field } from './field'
import { Rejections } from './rejections'

const MOST_BYTES = 32 * 1024 * 1024

const exampleLine = (n: number) =>
  JSON.stringify({ username: `Example ${n}`, address: `${n} St James’s Square, London`, payment: `Visa ${4_000 + n}` })
const examples = Array.from({ length: 100 }, (_, i) => exampleLine(i + 1)).join('\n')

interface Wrong {
  detail: string
  lines: Rejection[]
}

/** Sends a file, or lines that were pasted, and goes where the bulk can be watched. */
export function BulkSend() {
  const navigate = useNavigate()
  const skipId = useId()
  const chooser = useRef<HTMLInputElement>(null)
  const [file, setFile] = useState<File>()
  const [text, setText] = useState('')
  const [skips, setSkips] = useState(false)
  const [wrong, setWrong] = useState<Wrong>()
  // The same as long as nothing is changed, so that a lost answer can be asked for again.
  const key = useRef(newKey())
  const { mutate, isPending, failureCount } = useMutation({
    mutationFn: async () => startBulk(file ? await read(file) : text, skips, key.current),
    retry: (failures, error) => error instanceof ServerAway && failures < ASK_AGAIN.times,
    retryDelay: ASK_AGAIN.afterMs,
  })
  const lines = text.split('\n').filter((line) => line.trim() !== '').length

  function change(set: () => void) {
    set()
    setWrong(undefined)
    key.current = newKey()
  }

  function send(event: SubmitEvent) {
    event.preventDefault()
    if (isPending) return
    const detail = whyNot()
    setWrong(detail === undefined ? undefined : { detail, lines: [] })
    if (detail !== undefined) return
    // Told here, and so only while the page is there.
    mutate(undefined, {
      onSuccess: ({ bulkId }) => void navigate({ to: '/bulk/$bulkId', params: { bulkId } }),
      onError: (error) => setWrong(explain(error)),
    })
  }

  function whyNot(): string | undefined {
    if (!file && lines === 0) return 'Choose a file, or paste lines.'
    const size = file?.size ?? new Blob([text]).size
    if (size > MOST_BYTES)
      return `It has ${(size / 1024 / 1024).toFixed(1)} MiB, and a bulk at most 32. Send it in parts.`
    return undefined
  }

  return (
    <form className="bulk-send" onSubmit={send} noValidate aria-labelledby="bulk-send-title">
      <h3 id="bulk-send-title">Start one</h3>
      <p className="hint">A saga a line, as JSON (NDJSON): what POST /saga takes. At most 10,000, and 32 MiB.</p>
      <Field
        label="File"
        renderControl={(props) => (
          <input
            {...props}
            ref={chooser}
            type="file"
            accept=".ndjson,.jsonl,.txt,application/x-ndjson"
            onChange={({ target }) => change(() => setFile(target.files?.[0]))}
          />
        )}
      />
      {file ? (
        <button
          type="button"
          className="quiet"
          onClick={() =>
            change(() => {
              if (chooser.current) chooser.current.value = ''
              setFile(undefined)
            })
          }
        >
          Paste lines instead
        </button>
      ) : (
        <>
          <Field
            label="Or lines"
            hint={lines > 0 ? counted(lines, 'line') : undefined}
            renderControl={(props) => (
              <textarea
                {...props}
                rows={6}
                value={text}
                onChange={({ target }) => change(() => setText(target.value))}
                placeholder={`${exampleLine(1)}\n${exampleLine(2)}`}
                spellCheck={false}
                autoComplete="off"
              />
            )}
          />
          {text === '' && (
            <button type="button" className="quiet" onClick={() => change(() => setText(examples))}>
              Put in 100 examples
            </button>
          )}
        </>
      )}
      <div className="choice">
        <input
          type="checkbox"
          id={skipId}
          checked={skips}
          onChange={({ target }) => change(() => setSkips(target.checked))}
          aria-describedby={`${skipId}-effect`}
        />
        <label htmlFor={skipId}>Leave out lines that are not right</label>
        <p id={`${skipId}-effect`} className="hint">
          They are counted and told. Otherwise one line that is not right refuses all, and nothing is started.
        </p>
      </div>
      <button type="submit" className="primary" aria-busy={isPending}>
        {isPending
          ? 'Sending…'
          : file
            ? `Start the sagas of ${file.name}`
            : lines > 0
              ? `Start ${counted(lines, 'saga')}`
              : 'Start sagas'}
      </button>
      <p className="hint" role="status">
        {isPending &&
          failureCount > 0 &&
          'No answer yet. Asking again with the same key, so that nothing is started twice…'}
      </p>
      <div role="alert">{wrong && <p className="error-text">{wrong.detail}</p>}</div>
      {wrong && wrong.lines.length > 0 && (
        <section aria-label="Lines that are not right">
          <Rejections of={wrong.lines} />
        </section>
      )}
    </form>
  )
}

class Unreadable extends Error {}

/** All of it, for a file that changes while it is sent would look like a server that is away. */
async function read(file: File): Promise<Blob> {
  const bytes = await file.arrayBuffer().catch(() => {
    throw new Unreadable(`${file.name} can’t be read; it may have changed or gone. Choose it again.`)
  })
  return new Blob([bytes])
}

function explain(error: Error): Wrong {
  if (error instanceof Unreadable) return { detail: error.message, lines: [] }
  if (!(error instanceof ApiError)) {
    return {
      detail: 'No answer came. Press Start again when the server is back: nothing will be started twice.',
      lines: [],
    }
  }
  const { detail, errors = [] } = error.problem
  return { detail, lines: linesOf(errors) }
}

/** What is wrong, together for each line. */
function linesOf(errors: NonNullable<Problem['errors']>): Rejection[] {
  const lines = new Map<number, Rejection>()
  for (const { line, path, message } of errors) {
    if (line === undefined) continue
    const known = lines.get(line) ?? { line, errors: [] }
    known.errors.push({ path, message })
    lines.set(line, known)
  }
  return [...lines.values()]
}

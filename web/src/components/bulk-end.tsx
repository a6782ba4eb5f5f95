import { useRef, useState, type SubmitEvent } from 'react'
import { ApiError, endBulk, messageOf, type Bulk, type Login } from '../api'
import { counted } from '../figures'
import { may } from '../rights'
import { useActor } from '../use-actor'
import { NameField, ReasonField } from './who-and-why'

type How = 'cancel' | 'compensate'

interface EndProps {
  bulk: Bulk
  login: Login
  /** Told how it stands then. */
  onAsked: (bulk: Bulk) => void
}

/** Cancels the rest of a bulk, or undoes what has completed, once the exact number has been said. */
export function BulkEnd({ bulk, login, onAsked }: EndProps) {
  if (bulk.running === 0 && bulk.completed === 0) return null
  if (!may(login, 'operator')) {
    return (
      <p className="quiet-text">
        Operators may cancel the rest, or undo what has completed; you are logged in as a {login.role}.
      </p>
    )
  }
  return (
    <div className="bulk-end">
      {bulk.running > 0 && <EndOne how="cancel" {...{ bulk, login, onAsked }} />}
      {bulk.completed > 0 &&
        (bulk.status === 'RUNNING' ? (
          <p className="hint">What has completed can be undone once it has ended.</p>
        ) : (
          <EndOne how="compensate" {...{ bulk, login, onAsked }} />
        ))}
    </div>
  )
}

const ways = {
  cancel: {
    button: 'Cancel the rest…',
    title: 'Cancel the rest of this bulk?',
    says: (n: string) =>
      `${n} would be cancelled: what was done is undone, and what has not begun never begins. What has completed stays.`,
    act: (n: string) => `Cancel ${n}`,
    back: 'Let it go on',
    of: (bulk: Bulk) => bulk.running,
  },
  compensate: {
    button: 'Undo what has completed…',
    title: 'Undo what has completed?',
    says: (n: string) => `${n} would be undone, the newest step of each first. To have them again takes a new bulk.`,
    act: (n: string) => `Undo ${n}`,
    back: 'Leave it as it is',
    of: (bulk: Bulk) => bulk.completed,
  },
} as const

function EndOne({ how, ...props }: EndProps & { how: How }) {
  const dialog = useRef<HTMLDialogElement>(null)
  const [isOpen, setOpen] = useState(false)
  const titleId = `bulk-${how}-title`
  return (
    <>
      <button
        type="button"
        onClick={() => {
          setOpen(true)
          dialog.current?.showModal()
        }}
      >
        {ways[how].button}
      </button>
      <dialog ref={dialog} className="cancel-dialog" aria-labelledby={titleId} onClose={() => setOpen(false)}>
        {isOpen && <EndForm {...{ ...props, how, titleId }} onClose={() => dialog.current?.close()} />}
      </dialog>
    </>
  )
}

type FormProps = EndProps & { how: How; titleId: string; onClose: () => void }

function EndForm({ bulk, login, how, titleId, onClose, onAsked }: FormProps) {
  const [reason, setReason] = useState('')
  const [actor, setActor] = useActor()
  const [error, setError] = useState<string>()
  const [isSent, setSent] = useState(false)
  const way = ways[how]
  /** As the server has counted, where it found more than the page knew of. */
  const [found, setFound] = useState<number>()
  const number = found ?? way.of(bulk)
  const sagas = counted(number, 'saga')

  async function end(event: SubmitEvent) {
    event.preventDefault()
    setError(undefined)
    setSent(true)
    try {
      const who = !login.login && actor.trim() !== '' && { actor }
      const asked = await endAtMost(number, (expected) => endBulk(bulk.bulkId, how, { reason, expected, ...who }))
      onClose()
      onAsked(asked)
    } catch (error) {
      setSent(false)
      setError(messageOf(error))
      setFound(matchingOf(error))
    }
  }

  return (
    <form onSubmit={(event) => void end(event)}>
      <h2 id={titleId}>{way.title}</h2>
      {number === 0 ? (
        <p role="status">There is none left. Close this to see how it stands.</p>
      ) : (
        <>
          <p>{way.says(sagas)}</p>
          <ReasonField value={reason} onChange={setReason} hint="It stands in the log of each saga." autoFocus />
          {!login.login && (
            <NameField
              value={actor}
              onChange={setActor}
              hint="There is no login here; left empty the log says anonymous."
            />
          )}
        </>
      )}
      {error !== undefined && (
        <p className="error-text" role="alert">
          {error}
        </p>
      )}
      <div className="dialog-foot">
        <button type="button" onClick={onClose}>
          {number === 0 ? 'Close' : way.back}
        </button>
        {number > 0 && (
          <button type="submit" className="primary" disabled={isSent}>
            {isSent ? 'Asking…' : way.act(sagas)}
          </button>
        )}
      </div>
    </form>
  )
}

/** How many it would be, where it was refused for another number. */
const matchingOf = (error: unknown): number | undefined =>
  error instanceof ApiError ? error.problem.matching : undefined

/** How often it is asked again while sagas end under the call. */
const TRIES = 20

/** Who has agreed to a number has agreed to less: of a bulk that runs some have ended before the call is there. */
async function endAtMost(agreed: number, end: (expected: number) => Promise<Bulk>): Promise<Bulk> {
  let expected = agreed
  for (let tries = 1; ; tries++) {
    try {
      return await end(expected)
    } catch (error) {
      const now = matchingOf(error)
      if (now === undefined || now === 0 || now > agreed || tries === TRIES) throw error
      expected = now
    }
  }
}

import { useState } from 'react'
import { endBulk, type Bulk, type Login } from '../api'
import { atMost, matchingOf } from '../at-most'
import { counted } from '../figures'
import { may } from '../rights'
import { ConfirmForm, DialogButton } from './confirm'

type How = 'cancel' | 'compensate'

interface EndProps {
  bulk: Bulk
  login: Login
  /** Told how it stands then. */
  onAsked: (bulk: Bulk) => void
}

/** Cancels the rest of a bulk, or undoes what has completed, once the exact number has been said. */
export function BulkEnd({ bulk, login, onAsked }: EndProps) {
  const canBeUndone = bulk.status !== 'RUNNING'
  if (!may(login, 'operator')) {
    if (bulk.cancellable === 0 && bulk.completed === 0) return null
    return (
      <p className="quiet-text">
        Operators may cancel the rest, or undo what has completed; you are logged in as a {login.role}.
      </p>
    )
  }
  return (
    <div className="bulk-end">
      <EndOne how="cancel" isOffered={bulk.cancellable > 0} {...{ bulk, login, onAsked }} />
      <EndOne how="compensate" isOffered={bulk.completed > 0 && canBeUndone} {...{ bulk, login, onAsked }} />
      {bulk.completed > 0 && !canBeUndone && (
        <p className="hint">What has completed can be undone once it has ended.</p>
      )}
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
    of: (bulk: Bulk) => bulk.cancellable,
    none: 'There is none left. Close this to see how it stands.',
  },
  compensate: {
    button: 'Undo what has completed…',
    title: 'Undo what has completed?',
    says: (n: string) => `${n} would be undone, the newest step of each first. To have them again takes a new bulk.`,
    act: (n: string) => `Undo ${n}`,
    back: 'Leave it as it is',
    of: (bulk: Bulk) => bulk.completed,
    none: 'None of them can be undone: they have been undone meanwhile, or are past their point of no return.',
  },
} as const

type FormProps = EndProps & { how: How; titleId: string; close: () => void }

const EndOne = ({ isOffered, ...props }: EndProps & { how: How; isOffered: boolean }) => (
  <DialogButton label={ways[props.how].button} isOffered={isOffered}>
    {(dialog) => <EndForm {...props} {...dialog} />}
  </DialogButton>
)

function EndForm({ bulk, login, how, onAsked, ...dialog }: FormProps) {
  const way = ways[how]
  /** As the server has counted, where it found more than the page knew of. */
  const [found, setFound] = useState<number>()
  const number = found ?? way.of(bulk)
  const sagas = counted(number, 'saga')

  async function end(who: { reason: string; actor?: string }) {
    try {
      onAsked(await atMost(number, (expected) => endBulk(bulk.bulkId, how, { ...who, expected })))
    } catch (error) {
      setFound(matchingOf(error))
      throw error
    }
  }

  return (
    <ConfirmForm
      {...dialog}
      title={way.title}
      act={number > 0 ? way.act(sagas) : undefined}
      back={way.back}
      reasonHint="It stands in the log of each saga."
      hasLogin={login.login}
      onConfirm={end}
    >
      {number > 0 ? <p>{way.says(sagas)}</p> : <p role="status">{way.none}</p>}
    </ConfirmForm>
  )
}

import { useId, useLayoutEffect, useRef, useState, type ReactNode, type SubmitEvent } from 'react'
import { messageOf } from '../api'
import { useActor } from '../use-actor'
import { NameField, ReasonField } from './who-and-why'

interface Dialog {
  titleId: string
  close: () => void
}

interface ButtonProps {
  label: string
  isDisabled?: boolean
  /** Whether there is anything to ask for. What is open stays all the same, for somebody reads it. */
  isOffered: boolean
  /** What is in the dialog lives as long as it is open. */
  children: (dialog: Dialog) => ReactNode
}

/** A button that opens a dialog. */
export function DialogButton({ label, isDisabled, isOffered, children }: ButtonProps) {
  const [isOpen, setOpen] = useState(false)
  const titleId = useId()
  const close = () => setOpen(false)
  if (!isOffered && !isOpen) return null
  return (
    <>
      <button type="button" disabled={isDisabled} onClick={() => setOpen(true)}>
        {label}
      </button>
      {isOpen && (
        <Modal titleId={titleId} onClose={close}>
          {children({ titleId, close })}
        </Modal>
      )}
    </>
  )
}

function Modal({ titleId, onClose, children }: { titleId: string; onClose: () => void; children: ReactNode }) {
  const ref = useRef<HTMLDialogElement>(null)
  useLayoutEffect(() => {
    const dialog = ref.current
    dialog?.showModal()
    // Closed, and not only gone, it gives the focus back to the button.
    return () => dialog?.close()
  }, [])
  return (
    <dialog ref={ref} className="confirm-dialog" aria-labelledby={titleId} onClose={onClose}>
      {children}
    </dialog>
  )
}

interface FormProps extends Dialog {
  title: string
  /** What is done when it is confirmed, on its button; undefined where nothing is left to be done. */
  act: string | undefined
  /** What the other button says then. */
  back: string
  reasonHint: string
  hasLogin: boolean
  /** What it throws is shown; else the dialog closes. */
  onConfirm: (who: { reason: string; actor?: string }) => Promise<void>
  children: ReactNode
}

/** Says what is about to be done, and does it once somebody has said why. */
export function ConfirmForm({
  titleId,
  title,
  act,
  back,
  reasonHint,
  hasLogin,
  onConfirm,
  close,
  children,
}: FormProps) {
  const [reason, setReason] = useState('')
  const [actor, setActor] = useActor()
  const [error, setError] = useState<string>()
  const [isSent, setSent] = useState(false)

  async function confirm(event: SubmitEvent) {
    event.preventDefault()
    setError(undefined)
    setSent(true)
    try {
      await onConfirm({ reason, ...(!hasLogin && actor.trim() !== '' && { actor }) })
      close()
    } catch (error) {
      setSent(false)
      setError(messageOf(error))
    }
  }

  return (
    <form onSubmit={(event) => void confirm(event)}>
      <h2 id={titleId}>{title}</h2>
      {children}
      {act !== undefined && (
        <>
          <ReasonField value={reason} onChange={setReason} hint={reasonHint} />
          {!hasLogin && (
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
        <button type="button" onClick={close}>
          {act === undefined ? 'Close' : back}
        </button>
        {act !== undefined && (
          <button type="submit" className="primary" disabled={isSent}>
            {isSent ? 'Asking…' : act}
          </button>
        )}
      </div>
    </form>
  )
}

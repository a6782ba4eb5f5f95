import { useMutation } from '@tanstack/react-query'
import { useRef, useState, type RefObject } from 'react'
import { flushSync } from 'react-dom'
import { ApiError, ServerAway, startSaga, type CreateUserRequest, type SagaAccepted } from './api'

export const fields = [
  { name: 'username', label: 'Username', limit: 100 },
  { name: 'address', label: 'Address', limit: 500 },
  { name: 'payment', label: 'Payment', limit: 100 },
] as const

export const isField = (name: string): boolean => fields.some((one) => one.name === name)

/** What is wrong: by field name or step, and of the whole. */
export interface Wrong {
  at: Record<string, string>
  detail?: string | undefined
}

/** How a start whose answer was lost is asked for again, with the same key. */
export const ASK_AGAIN = { times: 4, afterMs: 2_000 }

interface StartOptions {
  /** Where the fields are that may be at fault. */
  form: RefObject<HTMLElement | null>
  /** Told also where the page has been left meanwhile. */
  onAccepted: (saga: SagaAccepted, body: CreateUserRequest) => void
  /** Told only while the page is there. */
  onStarted: (saga: SagaAccepted) => void
}

/**
 * Starts sagas. Where no answer comes it asks again with the same key, so that none is started twice; so does the next
 * press, as long as nothing was changed.
 */
export function useStart({ form, onAccepted, onStarted }: StartOptions) {
  const [wrong, setWrong] = useState<Wrong>({ at: {} })
  const unanswered = useRef({ text: '', key: '' })
  const { mutate, isPending, failureCount } = useMutation({
    mutationFn: ({ body, key }: { body: CreateUserRequest; key: string }) => startSaga(body, key),
    retry: (failures, error) => error instanceof ServerAway && failures < ASK_AGAIN.times,
    retryDelay: ASK_AGAIN.afterMs,
    onSuccess: (saga, { body }) => onAccepted(saga, body),
  })

  function start(body: CreateUserRequest) {
    if (isPending) return
    const text = JSON.stringify(body)
    if (unanswered.current.text !== text) unanswered.current = { text, key: newKey() }
    setWrong({ at: {} })
    mutate(
      { body, key: unanswered.current.key },
      {
        onSuccess(saga) {
          unanswered.current = { text: '', key: '' }
          onStarted(saga)
        },
        onError(error) {
          // Rendered at once, so that the first field at fault is there to take the focus.
          flushSync(() => setWrong(explain(error)))
          const { current } = form
          current?.querySelector<HTMLElement>('[aria-invalid]')?.focus()
          current?.querySelector('[role=alert]')?.scrollIntoView({ block: 'nearest' })
        },
      },
    )
  }

  const settle = (isSettled: (name: string) => boolean) =>
    setWrong(({ at }) => ({ at: Object.fromEntries(Object.entries(at).filter(([name]) => !isSettled(name))) }))

  return { start, wrong, settle, isStarting: isPending, isAskingAgain: isPending && failureCount > 0 }
}

function explain(error: Error): Wrong {
  if (!(error instanceof ApiError)) {
    return {
      at: {},
      detail: 'No answer came. Press Start again when the server is back: it won’t be started twice.',
    }
  }
  const { detail, errors = [] } = error.problem
  // "/username" is a field, "/failures/A/n" belongs to the choice for A; what has no place here is told below the form.
  const placed = errors.flatMap(({ path, message }) => {
    const [, first = '', second = ''] = path.split('/')
    if (first === 'failures') return second === '' ? [] : [[second, message] as const]
    const field = fields.find((one) => one.name === first)
    return field ? [[first, `${field.label} ${message}.`] as const] : []
  })
  return {
    at: Object.fromEntries(placed),
    detail: placed.length === errors.length && placed.length > 0 ? undefined : detail,
  }
}

/** For Idempotency-Key. crypto.randomUUID is there on https and localhost only. */
export const newKey = () =>
  Array.from(crypto.getRandomValues(new Uint32Array(4)), (word) => word.toString(36)).join('-')

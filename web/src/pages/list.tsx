import { Link, useNavigate, useSearch } from '@tanstack/react-router'
import { useCallback, useEffect, useId, useMemo, useRef, useState } from 'react'
import type { SagaStatus } from '../api'
import { DecideMany } from '../components/decide-many'
import { SagaTable } from '../components/saga-table'
import { Shape } from '../components/shape'
import { numeral } from '../figures'
import { shownSaga } from '../saga-words'
import { useOverview } from '../use-overview'
import type { SagaFilter, SagaList } from '../use-saga-list'
import { useStuck } from '../use-stuck'
import './list.css'

/** How long a search waits for the next letter. */
const TYPING_MS = 250

/** What is unfinished, and first what waits for a person; then what has ended. */
const unfinished = ['NEEDS_ATTENTION', 'RUNNING', 'COMPENSATING'] as const
const ended = ['COMPLETED', 'COMPENSATED', 'PARTIALLY_COMPENSATED'] as const
const statuses: readonly SagaStatus[] = [...unfinished, ...ended]

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i

/** What the address says of the view: `status` is one or several, with commas. */
export function listSearch({ status, step, q, bulk }: Record<string, unknown>): SagaFilter {
  const chosen = typeof status === 'string' ? statuses.filter((one) => status.split(',').includes(one)) : []
  return {
    ...(chosen.length > 0 && { status: chosen.join() }),
    ...(typeof step === 'string' && step && { step: step.slice(0, 255) }),
    ...(typeof q === 'string' && q && { q: q.slice(0, 255) }),
    ...(typeof bulk === 'string' && UUID.test(bulk) && { bulk }),
  }
}

/** All sagas, live; filtered as the address says, and decided on many at once. */
export function ListPage() {
  const { status, step, q, bulk } = listSearch(useSearch({ from: '/sagas' }))
  // Made anew, for the router leaves in it what has no meaning here.
  const filter = useMemo(() => listSearch({ status, step, q, bulk }), [status, step, q, bulk])
  const stepId = useId()
  const navigate = useNavigate({ from: '/sagas' })
  const [steps, setSteps] = useState<string[]>([])
  const learn = useCallback((more: string[]) => {
    setSteps((known) =>
      more.every((one) => known.includes(one)) ? known : [...new Set([...known, ...more])].toSorted(),
    )
  }, [])

  const change = useCallback(
    (changed: { [name in keyof SagaFilter]: string | undefined }, { replace = false } = {}) =>
      void navigate({ search: listSearch({ ...filter, ...changed }), replace, resetScroll: false }),
    [navigate, filter],
  )
  return (
    <main className="list">
      <h2>Sagas</h2>
      <StatusChips status={status} onChange={(next) => change({ status: next })} />
      <div className="list-fields">
        <Search q={q ?? ''} onChange={(q) => change({ q }, { replace: true })} />
        <div>
          <label htmlFor={stepId}>Step</label>
          <select id={stepId} value={step ?? ''} onChange={({ target }) => change({ step: target.value })}>
            <option value="">any</option>
            {[...new Set([...steps, ...(step === undefined ? [] : [step])])].map((name) => (
              <option key={name} value={name}>
                {name} failed or stuck
              </option>
            ))}
          </select>
        </div>
        {status !== undefined && (
          <button type="button" onClick={() => change({ status: '' })}>
            Any status
          </button>
        )}
        <p className="hint keys">
          <kbd>/</kbd> search <kbd>j</kbd> <kbd>k</kbd> move <kbd>Enter</kbd> open
        </p>
      </div>
      {bulk !== undefined && <OfBulk bulkId={bulk} onAny={() => change({ bulk: '' })} />}
      {status === 'NEEDS_ATTENTION' &&
        (bulk !== undefined || q !== undefined ? (
          <p className="hint of-part-decide">
            One decision for many is for all sagas that are stuck on a step, and this list shows only some of them. To
            decide for many at once, take {[q && 'the search', bulk && 'the bulk'].filter(Boolean).join(' and ')} out of
            the filter; or open the sagas below one by one.
          </p>
        ) : step === undefined ? (
          <StuckSteps />
        ) : (
          <DecideMany key={step} step={step} />
        ))}
      <SagaTable
        filter={filter}
        onSteps={learn}
        renderEmpty={(list) => (
          <Empty list={list} filter={filter} onClear={() => change({ status: '', step: '', q: '', bulk: '' })} />
        )}
      />
    </main>
  )
}

function StatusChips({ status = '', onChange }: { status: string | undefined; onChange: (status: string) => void }) {
  const counts = useOverview().data
  const chosen = status ? status.split(',') : []
  const toggle = (one: SagaStatus) =>
    onChange((chosen.includes(one) ? chosen.filter((other) => other !== one) : [...chosen, one]).join())

  const renderChip = (one: SagaStatus, count: number | undefined, when = '') => {
    const { word, kind } = shownSaga({ status: one })
    return (
      <button
        key={one}
        type="button"
        aria-pressed={chosen.includes(one)}
        data-kind={kind}
        data-waits={(one === 'NEEDS_ATTENTION' && count) || undefined}
        onClick={() => toggle(one)}
      >
        <Shape kind={kind} />
        {word}
        {count !== undefined && (
          <span className="count">
            {' '}
            {numeral(count)}
            {when && <small> {when}</small>}
          </span>
        )}
      </button>
    )
  }
  return (
    <div className="chips" role="group" aria-label="Status">
      {unfinished.map((one) => renderChip(one, counts?.unfinished[one]))}
      {ended.map((one) => renderChip(one, counts?.ended[one], 'last hour'))}
    </div>
  )
}

/** Whose sagas alone are shown, and the way to all others. */
function OfBulk({ bulkId, onAny }: { bulkId: string; onAny: () => void }) {
  return (
    <p className="of-bulk">
      <span>
        Only sagas of{' '}
        <Link to="/bulk/$bulkId" params={{ bulkId }}>
          bulk <code>{bulkId}</code>
        </Link>
      </span>
      <button type="button" onClick={onAny}>
        Any bulk
      </button>
    </p>
  )
}

function Search({ q, onChange }: { q: string; onChange: (q: string) => void }) {
  const [text, setText] = useState(q)
  const id = useId()
  const input = useRef<HTMLInputElement>(null)
  const written = useRef(q)

  // The address may be changed by other hands, as by going back; what is being written is not.
  useEffect(() => {
    if (q === written.current) return
    written.current = q
    setText(q)
  }, [q])

  useEffect(() => {
    if (text === written.current) return undefined
    const timer = setTimeout(() => {
      written.current = text
      onChange(text)
    }, TYPING_MS)
    return () => clearTimeout(timer)
  }, [text, onChange])

  useEffect(() => {
    function focus(event: KeyboardEvent) {
      const isWriting = event.target instanceof HTMLElement && event.target.closest('input, select, textarea')
      if (event.key !== '/' || event.ctrlKey || event.metaKey || event.altKey || isWriting) return
      event.preventDefault()
      input.current?.select()
    }
    document.addEventListener('keydown', focus)
    return () => document.removeEventListener('keydown', focus)
  }, [])

  return (
    <div className="search">
      <label htmlFor={id}>Search</label>
      <input
        id={id}
        ref={input}
        type="search"
        value={text}
        onChange={({ target }) => setText(target.value)}
        onKeyDown={({ key }) => {
          if (key === 'Escape') setText('')
        }}
        maxLength={255}
        placeholder="Id or username begins with…"
        autoComplete="off"
        spellCheck={false}
      />
    </div>
  )
}

/** What waits for a person, each with the way to decide for all of it. */
function StuckSteps() {
  const stuck = useStuck()
  const bySteps = useMemo(() => {
    const sums = new Map<string, number>()
    for (const { step, sagas } of stuck ?? []) sums.set(step, (sums.get(step) ?? 0) + sagas)
    return [...sums]
  }, [stuck])
  if (bySteps.length === 0) return null
  return (
    <p className="stuck-steps">
      Decide many at once: choose what they are stuck on.
      {bySteps.map(([step, sagas]) => (
        <Link key={step} to="/sagas" search={{ status: 'NEEDS_ATTENTION', step }}>
          {step} <span className="count">{numeral(sagas)}</span>
        </Link>
      ))}
    </p>
  )
}

/** In the place of the list: it is read, it can't be read, there is nothing yet, or nothing that fits. */
function Empty({ list, filter, onClear }: { list: SagaList; filter: SagaFilter; onClear: () => void }) {
  if (list.isReading) {
    return list.trouble ? (
      <div className="blank" role="alert">
        <p>
          <strong>The sagas can’t be read.</strong> {list.trouble} Trying again every 2 seconds.
        </p>
      </div>
    ) : (
      <p className="blank" role="status">
        Reading the sagas…
      </p>
    )
  }
  if (Object.keys(filter).length > 0) {
    return (
      <div className="blank" role="status">
        <p>
          <strong>No saga fits this filter.</strong> One that will appears here by itself.
        </p>
        <button type="button" onClick={onClear}>
          Clear the filter
        </button>
      </div>
    )
  }
  return (
    <div className="blank" role="status">
      <p>
        <strong>There is no saga yet.</strong> <Link to="/">Start one</Link>, and it appears here; or from a terminal:
      </p>
      <pre>
        <code>{`curl ${location.origin}/saga -H 'content-type: application/json' \\
  -d '{"username":"ada","address":"12 St James’s Square","payment":"Visa 4242"}'`}</code>
      </pre>
    </div>
  )
}

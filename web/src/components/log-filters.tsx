import { useEffect, useId, useRef, useState } from 'react'
import type { SagaTypes } from '../api'
import type { LogSearch } from '../use-log-tail'
import { useSagaTypes } from '../use-saga-types'

const statuses = [
  ...['started', 'completed', 'compensated', 'recovered'],
  ...['success', 'failed', 'stuck', 'decision'],
  ...['triggered', 'skipped', 'verified', 'residue'],
]

type Name = keyof LogSearch

interface LogFiltersProps {
  search: LogSearch
  /** An empty value takes the filter away. */
  onChange: (name: Name, value: string) => void
  onClear: () => void
}

/** Which rows of the log are shown. */
export function LogFilters({ search, onChange, onClear }: LogFiltersProps) {
  const isFailed = search.status === 'failed'
  const services = servicesOf(useSagaTypes() ?? [])
  return (
    <search className="log-filters">
      <SagaId value={search.saga ?? ''} onChange={(value) => onChange('saga', value)} />
      <Choice label="Service" value={search.service} all={services} onChange={(value) => onChange('service', value)} />
      <Choice label="Status" value={search.status} all={statuses} onChange={(value) => onChange('status', value)} />
      <button
        type="button"
        className="toggle"
        aria-pressed={isFailed}
        onClick={() => onChange('status', isFailed ? '' : 'failed')}
      >
        Failed only
      </button>
      {Object.keys(search).length > 0 && (
        <button type="button" className="quiet" onClick={onClear}>
          Clear filters
        </button>
      )}
    </search>
  )
}

/** What the log's rows are about: the saga, each step forward, the rollback, each step back. */
function servicesOf(types: SagaTypes['types']): string[] {
  const steps = [...new Set(types.flatMap((type) => type.steps.map(({ step }) => step)))]
  return ['SAGA', ...steps, 'ROLLBACK', ...steps.map((step) => `COMPENSATE_${step}`)]
}

const TYPING_MS = 300

/** Goes into the address when typing has paused; what comes from the address goes into the field. */
function SagaId({ value, onChange }: { value: string; onChange: (value: string) => void }) {
  const [text, setText] = useState(value)
  const told = useRef(value)
  const id = useId()

  useEffect(() => {
    if (value === told.current) return
    told.current = value
    setText(value)
  }, [value])

  useEffect(() => {
    const next = text.trim()
    if (next === told.current) return undefined
    const timer = setTimeout(() => {
      told.current = next
      onChange(next)
    }, TYPING_MS)
    return () => clearTimeout(timer)
    // oxlint-disable-next-line react/exhaustive-deps -- told once a change of the text
  }, [text])

  return (
    <div className="log-filter log-filter-saga">
      <label htmlFor={id}>Saga id</label>
      <input
        id={id}
        type="search"
        value={text}
        onChange={(event) => setText(event.target.value)}
        placeholder="all sagas"
        maxLength={255}
        autoComplete="off"
        spellCheck={false}
      />
    </div>
  )
}

interface ChoiceProps {
  label: string
  value: string | undefined
  all: string[]
  onChange: (value: string) => void
}

function Choice({ label, value = '', all, onChange }: ChoiceProps) {
  const id = useId()
  // An address may name one that is not among ours, as of a saga of another kind.
  const options = value === '' || all.includes(value) ? all : [...all, value]
  return (
    <div className="log-filter">
      <label htmlFor={id}>{label}</label>
      <select id={id} value={value} onChange={(event) => onChange(event.target.value)}>
        <option value="">all</option>
        {options.map((one) => (
          <option key={one} value={one}>
            {one}
          </option>
        ))}
      </select>
    </div>
  )
}

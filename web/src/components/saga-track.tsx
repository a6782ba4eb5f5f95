import type { LogRow, Saga, SagaCompensation, SagaStep } from '../api'
import { counted, duration, logKind, outcomeWord, shownCompensation, shownStep, type Shown } from '../saga-words'
import { Shape } from './shape'

/**
 * The steps in their order, and beneath them the way back: each compensation under its step, read in the order in which
 * they run. The way turns at the step whose compensation comes first.
 */
export function SagaTrack({ saga, rows }: { saga: Pick<Saga, 'status' | 'steps' | 'compensations'>; rows: LogRow[] }) {
  const { status, steps, compensations } = saga
  const columns = { gridTemplateColumns: `repeat(${steps.length}, minmax(0, 1fr))` }
  const columnOf = (name: string) => steps.findIndex(({ step }) => step === name) + 1
  return (
    <div className="track">
      <ol className="lane" style={columns} aria-label="Steps">
        {steps.map((step) => (
          <Station
            key={step.step}
            name={step.step}
            service={step.service}
            shown={shownStep(step, { status })}
            status={step.status}
            facts={stepFacts(step)}
            error={step.error}
            attempts={rows.filter((row) => row.service === step.step && row.attempt !== null)}
            isTurn={step.step === compensations[0]?.step}
          />
        ))}
      </ol>
      {compensations.length > 0 ? (
        <ol className="lane lane-back" style={columns} aria-label="Undo, in the order in which it runs">
          {compensations.map((one) => (
            <Station
              key={one.step}
              name={one.step}
              column={columnOf(one.step)}
              shown={shownCompensation(one)}
              status={one.status}
              facts={compensationFacts(
                one,
                rows.filter((row) => row.service === `COMPENSATE_${one.step}`),
              )}
              error={one.error}
              attempts={rows.filter((row) => row.service === `COMPENSATE_${one.step}` && row.attempt !== null)}
            />
          ))}
        </ol>
      ) : (
        <p className="lane-note">
          {status === 'COMPLETED'
            ? 'Nothing had to be undone.'
            : status === 'COMPENSATED'
              ? 'There was nothing to undo.'
              : 'Should a step fail for good, the way back appears here: what was done is undone, newest first.'}
        </p>
      )}
    </div>
  )
}

interface StationProps {
  name: string
  service?: string
  column?: number
  shown: Shown
  status: string
  facts: string[]
  error: SagaStep['error']
  attempts: LogRow[]
  isTurn?: boolean
}

function Station({ name, service, column, shown, status, facts, error, attempts, isTurn }: StationProps) {
  const hasFailures = attempts.some((row) => row.status !== 'success' && row.status !== 'skipped')
  return (
    <li
      className="station"
      data-step={name}
      data-status={status}
      data-kind={shown.kind}
      data-turn={isTurn || undefined}
      style={column === undefined ? undefined : { gridColumn: column }}
    >
      <Shape kind={shown.kind} key={shown.kind} />
      <div className="station-text">
        <h3>
          {service ? name : `Undo ${name}`} {service && <span className="service">{service}</span>}
        </h3>
        <p className="word">{shown.word}</p>
        {facts.length > 0 && (
          <p className="facts">
            {facts.map((fact) => (
              <span key={fact}>{fact}</span>
            ))}
          </p>
        )}
        {hasFailures ? (
          <ol className="attempts">
            {alike(attempts).map((rows) => (
              <li key={rows[0].id}>
                {rows.map((row) => (
                  <span key={row.id} className="attempt" data-kind={logKind(row)}>
                    <Shape kind={logKind(row)} />
                    {row.attempt}
                  </span>
                ))}
                <span className="message">{rows[0].message}</span>
              </li>
            ))}
          </ol>
        ) : (
          error && <p className="error-text">{`${error.type}: ${error.message}`}</p>
        )}
      </div>
    </li>
  )
}

/** Attempts one after another that ended in the same way stand together, so that their message is read once. */
function alike(rows: LogRow[]): [LogRow, ...LogRow[]][] {
  const groups: [LogRow, ...LogRow[]][] = []
  for (const row of rows) {
    const last = groups.at(-1)
    if (last?.[0].message === row.message && last[0].status === row.status) last.push(row)
    else groups.push([row])
  }
  return groups
}

function stepFacts({ outcome, attempts, startedAt, endedAt, status }: SagaStep): string[] {
  return [
    ...(outcome ? [outcomeWord(outcome)] : []),
    ...(attempts > 0 ? [counted(attempts, 'attempt')] : []),
    ...(startedAt && endedAt && status !== 'running' ? [duration(startedAt, endedAt)] : []),
  ]
}

function compensationFacts({ attempts, actor, reason }: SagaCompensation, rows: LogRow[]): string[] {
  return [
    ...(attempts > 0 ? [counted(attempts, 'attempt')] : []),
    ...(rows.some(({ status }) => status === 'verified') ? ['nothing left'] : []),
    ...(actor ? [`${actor}: ${reason ?? ''}`] : []),
  ]
}

import { LogTable } from '../components/log-table'
import { SagaTrack } from '../components/saga-track'
import { StartForm } from '../components/start-form'
import { sagaHref } from '../route'
import type { useLogs } from '../use-logs'
import { SagaPage } from './saga'

/** The form, the saga on show, and the log of all of them. */
export function HomePage({ sagaId, logs }: { sagaId: string | undefined; logs: ReturnType<typeof useLogs> }) {
  return (
    <main>
      <StartForm
        onStarted={(started) => (location.hash = sagaHref(started))}
        isServerAway={logs.trouble !== undefined}
      />
      <div className="beside">
        {sagaId === undefined ? <NoSaga /> : <SagaPage key={sagaId} sagaId={sagaId} onRow={logs.add} />}
        <LogTable logs={logs} sagaId={sagaId} />
      </div>
    </main>
  )
}

const notStarted = ['user', 'address', 'payment'].map((service, i) => ({
  step: 'ABC'.charAt(i),
  service,
  status: 'pending' as const,
  attempts: 0,
}))

function NoSaga() {
  return (
    <section className="saga" aria-labelledby="saga-title">
      <h2 id="saga-title">No saga on show</h2>
      <p className="tell">Start one to watch it here, or choose one from the log below.</p>
      <SagaTrack saga={{ status: 'RUNNING', steps: notStarted, compensations: [] }} rows={[]} />
    </section>
  )
}

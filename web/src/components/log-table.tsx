import type { LogRow } from '../api'
import { sagaHref } from '../route'
import { logKind } from '../saga-words'
import type { LogsNow } from '../use-logs'
import { Moment } from './moment'
import { Shape } from './shape'

/** The saga log of all sagas, newest first. Rows of the saga on show are marked. */
export function LogTable({ logs, sagaId }: { logs: LogsNow; sagaId: string | undefined }) {
  const { rows, firstId, trouble } = logs
  return (
    <section className="log" aria-labelledby="log-title">
      <header>
        <h2 id="log-title">Saga log</h2>
        <p className="hint">The newest rows of all sagas. Choose a saga’s id to see that saga.</p>
      </header>
      {rows === undefined ? (
        <p className="blank" role="status">
          {trouble ? `The log can’t be read: ${trouble} Trying again every 2 seconds.` : 'Reading the log…'}
        </p>
      ) : rows.length === 0 ? (
        <p className="blank">The log is empty. Start a saga, and everything that happens to it is written here.</p>
      ) : (
        // The roles are the elements' own; said again because narrow screens lay the rows out as blocks.
        <table role="table" aria-labelledby="log-title">
          <thead role="rowgroup">
            <tr role="row">
              {['Time', 'Saga id', 'Service', 'Status', 'Message', 'Attempt'].map((name) => (
                <th key={name} role="columnheader" scope="col">
                  {name}
                </th>
              ))}
            </tr>
          </thead>
          <tbody role="rowgroup">
            {rows.map((row) => (
              <Row key={row.id} row={row} isNew={row.id > firstId} isOnShow={row.sagaId === sagaId} />
            ))}
          </tbody>
        </table>
      )}
    </section>
  )
}

function Row({ row, isNew, isOnShow }: { row: LogRow; isNew: boolean; isOnShow: boolean }) {
  const { sagaId, service, status, message, attempt, createdAt } = row
  const kind = logKind(row)
  return (
    <tr
      role="row"
      data-saga-id={sagaId}
      data-service={service}
      data-status={status}
      data-new={isNew || undefined}
      data-on-show={isOnShow || undefined}
    >
      <td role="cell" className="log-time">
        <Moment iso={createdAt} />
      </td>
      <td role="cell" className="log-saga">
        <a href={sagaHref(sagaId)} title={sagaId}>
          {sagaId}
        </a>
      </td>
      <td role="cell" className="log-service">
        {service}
      </td>
      <td role="cell" className="log-status" data-kind={kind}>
        <Shape kind={kind} />
        {status}
      </td>
      <td role="cell" className="log-message">
        {message}
      </td>
      <td role="cell" className="log-attempt">
        {attempt}
      </td>
    </tr>
  )
}

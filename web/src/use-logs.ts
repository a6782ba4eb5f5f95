import { useCallback, useEffect, useState } from 'react'
import { getLogs, messageOf, type LogRow } from './api'

const POLL_MS = 2_000

export interface LogsNow {
  /** Newest first; undefined until the first answer. */
  rows: LogRow[] | undefined
  /** Rows with a greater id came while the page was open. */
  firstId: number
  /** Why the last read failed; undefined where it did not. */
  trouble: string | undefined
}

/**
 * The newest log rows of all sagas, read every two seconds while the page is visible. `add` puts in a row that came by
 * another way (the watched saga's events), so that the table never lags behind the rest of the page.
 */
export function useLogs(): LogsNow & { add: (row: LogRow) => void } {
  const [logs, setLogs] = useState<LogsNow>({ rows: undefined, firstId: 0, trouble: undefined })

  useEffect(() => {
    let timer: ReturnType<typeof setTimeout> | undefined
    let isReading = false
    let isGone = false

    async function read() {
      if (isReading || document.hidden) return
      isReading = true
      clearTimeout(timer)
      try {
        const rows = await getLogs()
        // Rows that were added while the answer was on its way are newer than all of it.
        setLogs((was) => ({
          rows: [...newerThan(rows[0], was.rows), ...rows],
          firstId: was.rows ? was.firstId : (rows[0]?.id ?? 0),
          trouble: undefined,
        }))
      } catch (error) {
        setLogs((was) => ({ ...was, trouble: messageOf(error) }))
      }
      isReading = false
      if (!isGone) timer = setTimeout(() => void read(), POLL_MS)
    }

    const onVisible = () => void read()
    document.addEventListener('visibilitychange', onVisible)
    void read()
    return () => {
      isGone = true
      clearTimeout(timer)
      document.removeEventListener('visibilitychange', onVisible)
    }
  }, [])

  // Older rows are not for this table: between them and the oldest shown others may be missing.
  const add = useCallback((row: LogRow) => {
    setLogs((was) =>
      was.rows && newerThan(was.rows[0], [row]).length > 0 ? { ...was, rows: [row, ...was.rows] } : was,
    )
  }, [])

  return { ...logs, add }
}

const newerThan = (newest: LogRow | undefined, rows: LogRow[] = []): LogRow[] =>
  rows.filter(({ id }) => id > (newest?.id ?? 0))

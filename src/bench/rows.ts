import type { Client as Postgres } from 'pg'
import type { Kind } from './results.js'

export interface Ended {
  sagaId: string
  status: string
}

/** How many of so many sagas of a kind are to be compensated; undefined: with the demo's failures by chance one fails three times in a row. */
const COMPENSATED: Record<Kind, (sagas: number, refusedOf: number) => number | undefined> = {
  happy: () => 0,
  refused: (sagas, refusedOf) => Math.floor(sagas / refusedOf),
  demo: () => undefined,
}

/**
 * Throws unless these sagas have ended as those of their kind do (`refusedOf`: each so many-th refused), each with one row in
 * each of the three tables where it has completed and none where not, and, where there is a log, with its beginning and its
 * end in it, once each.
 */
export async function checkRows(
  database: Postgres,
  sagas: Ended[],
  { kind, refusedOf = 1, hasLog = true }: { kind: Kind; refusedOf?: number; hasLog?: boolean },
): Promise<void> {
  const open = sagas.find(({ status }) => status !== 'COMPLETED' && status !== 'COMPENSATED')
  if (open) throw new Error(`Saga ${open.sagaId} is ${open.status}`)
  const compensated = sagas.filter(({ status }) => status === 'COMPENSATED').length
  const wanted = COMPENSATED[kind](sagas.length, refusedOf) ?? compensated
  if (compensated !== wanted) throw new Error(`Of ${sagas.length} sagas ${compensated} are compensated, not ${wanted}`)
  const { rows } = await database.query<{
    sagaId: string
    status: string
    a: number
    b: number
    c: number
    log: string
  }>(
    `WITH ended AS (
       SELECT * FROM unnest($1::text[], $2::text[]) AS one (saga_id, status)
     ), found AS (
       SELECT saga_id AS "sagaId", status,
         (SELECT count(*)::integer FROM table_a WHERE table_a.saga_id = ended.saga_id) AS a,
         (SELECT count(*)::integer FROM table_b WHERE table_b.saga_id = ended.saga_id) AS b,
         (SELECT count(*)::integer FROM table_c WHERE table_c.saga_id = ended.saga_id) AS c,
         (SELECT coalesce(string_agg(saga_log.status, ', ' ORDER BY id), '') FROM saga_log
          WHERE saga_log.saga_id = ended.saga_id AND service = 'SAGA') AS log
       FROM ended
     )
     SELECT * FROM found
     WHERE a <> (status = 'COMPLETED')::integer OR b <> a OR c <> a OR ($3 AND log <> 'started, ' || lower(status))
     LIMIT 1`,
    [sagas.map(({ sagaId }) => sagaId), sagas.map(({ status }) => status), hasLog],
  )
  const [found] = rows
  if (!found) return
  const { sagaId, status, a, b, c, log } = found
  throw new Error(
    `Saga ${sagaId} is ${status} with ${a}, ${b}, ${c} rows in table_a, table_b, table_c; its log: ${log}`,
  )
}

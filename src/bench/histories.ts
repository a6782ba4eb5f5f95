import type { Client as Temporal, WorkflowExecutionInfo } from '@temporalio/client'
import type { Client as Postgres } from 'pg'
import type { Measured } from './results.js'

/** A workflow, and how many sagas it has carried. */
export interface Carrier {
  id: string
  sagas: number
}

/** Workflows that are looked at in each batch. */
const CARRIERS = 10

/** Some of the workflows that have carried these sagas: each its own, or one that many shared. */
export async function carriersOf(database: Postgres, sagaIds: string[]): Promise<Carrier[]> {
  const { rows } = await database.query<Carrier>(
    `SELECT coalesce(carried_by, saga_id) AS id, count(*)::integer AS sagas FROM saga
     WHERE saga_id = ANY ($1) GROUP BY 1 LIMIT ${CARRIERS}`,
    [sagaIds],
  )
  return rows
}

/** What of history a saga has: that of these workflows, by the sagas that they have carried. */
export async function historyOf(temporal: Temporal, all: Carrier[]): Promise<Measured> {
  const carriers = all.slice(0, CARRIERS)
  const runs = await Promise.all(carriers.map(({ id }) => temporal.workflow.getHandle(id).describe()))
  return perSaga(runs, carriers)
}

/** The same of workflows that have gone on as new, and have children with ids behind their own: by all those runs. */
export async function historyOfAll(temporal: Temporal, carriers: Carrier[]): Promise<Measured> {
  const runs = await Promise.all(
    carriers.map(async ({ id }) => {
      const last = await temporal.workflow.getHandle(id).describe()
      const all: Run[] = [last]
      for await (const run of temporal.workflow.list({ query: `WorkflowId STARTS_WITH '${id}'` })) {
        if (run.runId !== last.runId) all.push(run)
      }
      return all
    }),
  )
  return perSaga(runs.flat(), carriers)
}

type Run = Pick<WorkflowExecutionInfo, 'historyLength' | 'historySize'>

function perSaga(runs: Run[], carriers: Carrier[]): Measured {
  const sagas = carriers.reduce((sum, one) => sum + one.sagas, 0)
  const sum = (values: number[]) => values.reduce((before, value) => before + value, 0)
  return {
    events: sum(runs.map(({ historyLength }) => historyLength)) / sagas,
    bytes: sum(runs.map(({ historySize = NaN }) => historySize)) / sagas,
  }
}

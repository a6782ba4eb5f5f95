import { expect, test } from '@jest/globals'
import { query } from './shared.js'
import type { Sagas } from './sagas.js'

interface EndedRow {
  sagaId: string
  type: string
  fate: string
  status: string
  input: unknown
  steps: { step: string; kind?: string }[]
  compensations: { step: string; status: string }[]
}

/**
 * What holds of every saga that a file has started, once all have ended: row, log, barrier and effects tell the same story.
 * `effects`: how many effects of each step stand, in any order.
 */
export function testEnded(sagas: () => Sagas, effects: (sagaId: string) => Promise<number[]>): void {
  test('of every saga row, log, barrier and effects agree', async () => {
    const { where, started } = sagas()
    const rows = await query<EndedRow>(
      where.database,
      `SELECT saga_id AS "sagaId", type, fate, status, input, steps, compensations FROM saga WHERE saga_id = ANY($1)`,
      [started],
    )
    expect(rows.map(({ sagaId }) => sagaId).toSorted()).toEqual([...new Set(started)].toSorted())
    for (const row of rows) await checkEnded(sagas(), row, await effects(row.sagaId))
  })
}

async function checkEnded(sagas: Sagas, row: EndedRow, effects: number[]): Promise<void> {
  const { sagaId, type, fate, status, input, steps, compensations } = row
  const [log, logRows] = [await sagas.log(sagaId), await sagas.logRows(sagaId)]
  const end = logRows.findIndex(({ service, status }) => service === 'SAGA' && /^comp/.test(status))
  const count = (pattern: RegExp) => log.filter((entry) => pattern.test(entry)).length
  const isCompleted = fate === 'completed'
  const barrier = await query<{ step: string }>(
    sagas.where.database,
    `SELECT step FROM saga_barrier WHERE saga_id = $1 AND op = 'compensate'`,
    [sagaId],
  )
  // Behind the pivot nothing is called before it is applied.
  const declared = steps.filter(({ kind }) => kind !== 'retriable').map(({ step }) => step)
  const byHand = compensations.filter((one) => one.status === 'resolved' || one.status === 'skipped')
  const settled = new Set([...barrier.map(({ step }) => step), ...byHand.map(({ step }) => step)])
  const compensated = log.flatMap((entry) => /^COMPENSATE_(.+) success/.exec(entry)?.[1] ?? [])
  const story = {
    sagaId,
    input,
    endings: count(/^SAGA (completed|compensated)$/),
    // What a lost run had under way may end later.
    behind: logRows.slice(end + 1).filter(({ message }) => !message?.includes('changes nothing')),
    started: count(/^SAGA started$/) <= 1,
    rollbacks: count(/^ROLLBACK /),
    effects: [...new Set(effects)],
    // Compensated each once, newest first.
    compensated,
    // Refused from now on, whatever is still on its way.
    unsettled: isCompleted ? [] : declared.filter((step) => !settled.has(step)),
    status,
  }
  // Only this saga calls its steps in another order than it declares them.
  const order = type === 'backwardsSaga' ? declared : declared.toReversed()
  expect(story).toEqual({
    sagaId,
    input: null,
    endings: 1,
    behind: [],
    started: true,
    rollbacks: isCompleted ? 0 : 1,
    effects: [isCompleted ? 1 : 0],
    compensated: order.filter((step) => compensated.includes(step)),
    unsettled: [],
    status: isCompleted ? 'COMPLETED' : byHand.some((one) => one.status === 'skipped') ? status : 'COMPENSATED',
  })
}

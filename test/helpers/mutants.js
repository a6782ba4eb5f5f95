/**
 * What `npm run mutants` does to the engine. Each mutant breaks one rule: its changes are `[file, text, replacement]`, and the
 * text must be in that file exactly once. `test` and `matrix` name the tests and the matrix cases that must turn red.
 */
export const mutants = [
  {
    name: 'undo registered after the action',
    test: ['test/engine/kinds.test.ts', 'steps side by side are undone'],
    matrix: ['test/matrix/order.test.ts', 'stock: error before commit; undo works; cancel at wrapping'],
    changes: [
      ['src/saga/workflow/way-forward.ts', 'this.stack.register(step)', ''],
      [
        'src/saga/workflow/way-forward.ts',
        'this.#ended(step, { applied: true })',
        'this.stack.register(step)\n        this.#ended(step, { applied: true })',
      ],
    ],
  },
  {
    name: 'rollback over the stack alone',
    test: ['test/workflows/crashes.test.ts', 'cancelled while its worker is down'],
    matrix: ['test/matrix/create-user.test.ts', '^A: crash after commit; undo works; cancel at A$'],
    changes: [
      ['src/saga/node/projection.ts', '(attempts > 0 || isKnown(step))', 'false'],
      ['src/saga/node/projection.ts', '...unknown.toReversed()', '...[]'],
    ],
  },
  {
    name: 'barrier off',
    test: ['test/workflows/create-user.test.ts', 'TC-07|kept result'],
    matrix: ['test/matrix/create-user.test.ts', '^A: duplicate delivery; undo works'],
    changes: [['src/saga/node/barrier.ts', 'if (rowCount === 0) return kept(tx, call)', '']],
  },
  {
    name: 'compensation errors swallowed',
    test: ['test/workflows/create-user.test.ts', 'an undo that fails'],
    matrix: ['test/matrix/create-user.test.ts', '^A: error after commit, each time; undo fails twice$'],
    changes: [
      [
        'src/saga/node/activities.ts',
        'await as.compensate({ ...key, ...(order.input !== undefined && { input: order.input }) })',
        "await as.compensate(key).catch(() => 'done' as const)",
      ],
    ],
  },
  {
    name: 'cancellable undo',
    test: ['test/http/cancel.test.ts', 'a cancel by the temporal CLI undoes the saga'],
    matrix: ['test/matrix/create-user.test.ts', '^A: error before commit; undo works; cancel of the run at A'],
    changes: [
      [
        'src/saga/workflow/roll-back.ts',
        'return CancellationScope.nonCancellable(',
        'return CancellationScope.cancellable(',
      ],
      [
        'src/saga/workflow/run-saga.ts',
        'ending = await CancellationScope.nonCancellable(',
        'ending = await CancellationScope.cancellable(',
      ],
    ],
  },
  {
    name: 'claim without compare-and-set',
    test: ['test/http/cancel.test.ts', 'of 40 sagas'],
    matrix: ['test/matrix/create-user.test.ts', '^A: error before commit; undo works; cancel at the completion'],
    changes: [
      ['src/saga/node/saga-row.ts', 'WHERE saga_id = $1 AND xmin = $2', 'WHERE saga_id = $1 AND $2::text <> $1'],
    ],
  },
  {
    name: 'recovery under a new id',
    test: ['test/engine/recovery.test.ts', 'is taken up as often as it is terminated'],
    matrix: ['test/matrix/create-user.test.ts', 'terminate at B'],
    changes: [
      [
        'src/saga/node/saga-starter.ts',
        "this.client.workflow.start('recoverSaga', {\n        workflowId: sagaId,",
        "this.client.workflow.start('recoverSaga', {\n        workflowId: `${sagaId}-recovery`,",
      ],
    ],
  },
]

/** `text` with a change made to it. Throws if the file does not have the text to replace exactly once. */
export function mutated(text, [file, from, to]) {
  const found = text.split(from).length - 1
  if (found !== 1) throw new Error(`${file} has this ${found} times and not once, so there is no mutant:\n${from}`)
  return text.replace(from, () => to)
}

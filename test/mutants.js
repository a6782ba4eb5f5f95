import { execFileSync, spawnSync } from 'node:child_process'
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'

/**
 * Whether the tests would notice: each mutant breaks one rule of the engine in a copy of this project, and the tests named
 * with it must turn red; so must the cases named with it of the matrix that the kit for users' own sagas generates.
 *
 *   npm run mutants                          all of them, two minutes each
 *   npm run mutants -- barrier               those whose name has "barrier" in it
 *   npm run mutants -- barrier matrix        the same, in the matrix alone (or: tests)
 *
 * Ends with 1 where a mutant lives, or where the text that it changes is no longer there.
 */
const mutants = [
  {
    name: 'undo registered after the action',
    test: ['test/engine/kinds.test.ts', 'steps side by side are undone'],
    matrix: ['test/matrix/order.test.ts', 'stock: error before commit; undo works; cancel at wrapping'],
    changes: [
      ['src/saga/workflow/way-forward.ts', '      this.stack.register(step)\n', ''],
      [
        'src/saga/workflow/way-forward.ts',
        '      applied = true\n',
        '      applied = true\n      this.stack.register(step)\n',
      ],
    ],
  },
  {
    name: 'rollback over the stack alone',
    test: ['test/workflows/crashes.test.ts', 'cancelled while its worker is down'],
    matrix: ['test/matrix/create-user.test.ts', '^A: crash after commit; undo works; cancel at A$'],
    changes: [
      [
        'src/saga/node/projection.ts',
        '({ step, attempts }) => (attempts > 0 || isKnown(step)) && !reached.includes(step)',
        '() => false',
      ],
      ['src/saga/node/projection.ts', '    ...unknown.toReversed().map(', '    ...[].map('],
    ],
  },
  {
    name: 'barrier off',
    test: ['test/workflows/create-user.test.ts', 'TC-07|kept result'],
    matrix: ['test/matrix/create-user.test.ts', '^A: duplicate delivery; undo works'],
    changes: [['src/saga/node/barrier.ts', '  if (rowCount === 0) return kept(tx, call)\n', '']],
  },
  {
    name: 'compensation errors swallowed',
    test: ['test/workflows/create-user.test.ts', 'an undo that fails'],
    matrix: ['test/matrix/create-user.test.ts', '^A: error after commit, each time; undo fails twice$'],
    changes: [
      [
        'src/saga/node/activities.ts',
        'const verdict = await as.compensate({ ...key, ...(order.input !== undefined && { input: order.input }) })',
        "const verdict = await as.compensate(key).catch(() => 'done' as const)",
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
        'return CancellationScope.nonCancellable(async () => {',
        'return CancellationScope.cancellable(async () => {',
      ],
      [
        'src/saga/workflow/run-saga.ts',
        'const ending = await CancellationScope.nonCancellable(async () => {',
        'const ending = await CancellationScope.cancellable(async () => {',
      ],
    ],
  },
  {
    name: 'claim without compare-and-set',
    test: ['test/http/cancel.test.ts', 'of 40 sagas'],
    matrix: ['test/matrix/create-user.test.ts', '^A: error before commit; undo works; cancel at the completion'],
    changes: [
      [
        'src/saga/node/saga-row.ts',
        'WHERE saga_id = $1 AND xmin = $2 RETURNING',
        'WHERE saga_id = $1 AND $2::text <> $1 RETURNING',
      ],
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

function mutate(folder, changes) {
  for (const [file, from, to] of changes) {
    const path = join(folder, file)
    const text = readFileSync(path, 'utf8')
    if (text.split(from).length !== 2)
      throw new Error(`${file} does not have this once, so there is no mutant:\n${from}`)
    writeFileSync(
      path,
      text.replace(from, () => to),
    )
  }
}

/** The tests, or the cases of the matrix, that turned red in a copy of the project with these changes. */
function redTests({ changes, ...suites }, suite) {
  const [path, pattern] = suites[suite]
  const folder = mkdtempSync(join(tmpdir(), 'saga-mutant-'))
  try {
    const tracked = execFileSync('git', ['ls-files', '-z'], { encoding: 'utf8' }).split('\0').filter(Boolean)
    for (const file of tracked) cpSync(file, join(folder, file))
    symlinkSync(resolve('node_modules'), join(folder, 'node_modules'))
    mutate(folder, changes)
    const report = join(folder, 'report.json')
    const titles = suite === 'test' && pattern ? ['-t', pattern] : []
    const args = ['test', '--', path, ...titles, '--json', `--outputFile=${report}`]
    const env = { ...process.env, ...(suite === 'matrix' && { MATRIX: pattern }) }
    // SIGTERM lets the run stop what it has started.
    const { stdout, stderr } = spawnSync('npm', args, { cwd: folder, env, encoding: 'utf8', timeout: 600_000 })
    if (!existsSync(report)) throw new Error(`The tests did not run:\n${stdout.slice(-2_000)}${stderr.slice(-2_000)}`)
    const { testResults } = JSON.parse(readFileSync(report, 'utf8'))
    return testResults.flatMap(({ assertionResults }) =>
      assertionResults.filter(({ status }) => status === 'failed').map(({ title }) => title),
    )
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

const wanted = mutants
  .flatMap((mutant) => [
    { mutant, suite: 'test', title: `${mutant.name}, by the tests` },
    { mutant, suite: 'matrix', title: `${mutant.name}, by the matrix` },
  ])
  .filter(({ title }) => process.argv.slice(2).every((word) => title.includes(word)))
let living = 0
for (const { mutant, suite, title } of wanted) {
  const red = redTests(mutant, suite)
  if (red.length === 0) living += 1
  console.log(`${red.length > 0 ? 'killed' : 'LIVES '}  ${title}`)
  for (const name of red) console.log(`          ${name}`)
}
console.log(`${wanted.length - living} of ${wanted.length} killed`)
process.exitCode = living === 0 && wanted.length > 0 ? 0 : 1

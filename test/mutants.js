import { execFileSync, spawnSync } from 'node:child_process'
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'

/**
 * Whether the tests would notice: each mutant breaks one rule of the engine in a copy of this project, and the tests named
 * with it must turn red.
 *
 *   npm run mutants                  all of them, a minute each
 *   npm run mutants -- barrier       those whose name has "barrier" in it
 *
 * Ends with 1 where a mutant lives, or where the text that it changes is no longer there.
 */
const mutants = [
  {
    name: 'undo registered after the action',
    test: ['test/engine/kinds.test.ts', 'steps side by side are undone'],
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
    changes: [['src/saga/node/barrier.ts', '  if (rowCount === 0) return kept(tx, call)\n', '']],
  },
  {
    name: 'compensation errors swallowed',
    test: ['test/workflows/create-user.test.ts', 'an undo that fails'],
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
    changes: [
      [
        'src/saga/node/saga-store.ts',
        "      if (record.fate === 'rollback') return { go: 'rollback', cause: causeOf(record) }\n",
        '',
      ],
      [
        'src/saga/node/saga-store.ts',
        "      if (record.cancel && !isPastPivot(record)) return { go: 'rollback', cause: cancelCause(record.cancel) }\n",
        '',
      ],
    ],
  },
  {
    name: 'recovery under a new id',
    test: ['test/engine/recovery.test.ts', 'is taken up as often as it is terminated'],
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

/** The tests that turned red in a copy of the project with these changes. */
function redTests({ changes, test: [path, pattern] }) {
  const folder = mkdtempSync(join(tmpdir(), 'saga-mutant-'))
  try {
    const tracked = execFileSync('git', ['ls-files', '-z'], { encoding: 'utf8' }).split('\0').filter(Boolean)
    for (const file of tracked) cpSync(file, join(folder, file))
    symlinkSync(resolve('node_modules'), join(folder, 'node_modules'))
    mutate(folder, changes)
    const report = join(folder, 'report.json')
    const args = ['test', '--', path, ...(pattern ? ['-t', pattern] : []), '--json', `--outputFile=${report}`]
    // SIGTERM lets the run stop what it has started.
    const { stdout, stderr } = spawnSync('npm', args, { cwd: folder, encoding: 'utf8', timeout: 300_000 })
    if (!existsSync(report)) throw new Error(`The tests did not run:\n${stdout.slice(-2_000)}${stderr.slice(-2_000)}`)
    const { testResults } = JSON.parse(readFileSync(report, 'utf8'))
    return testResults.flatMap(({ assertionResults }) =>
      assertionResults.filter(({ status }) => status === 'failed').map(({ title }) => title),
    )
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

const wanted = mutants.filter(({ name }) => process.argv.slice(2).every((word) => name.includes(word)))
let living = 0
for (const mutant of wanted) {
  const red = redTests(mutant)
  if (red.length === 0) living += 1
  console.log(`${red.length > 0 ? 'killed' : 'LIVES '}  ${mutant.name}`)
  for (const title of red) console.log(`          ${title}`)
}
console.log(`${wanted.length - living} of ${wanted.length} mutants killed`)
process.exitCode = living === 0 && wanted.length > 0 ? 0 : 1

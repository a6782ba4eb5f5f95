import { execFileSync, spawnSync } from 'node:child_process'
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { mutants, mutated } from './helpers/mutants.js'

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
function mutate(folder, changes) {
  for (const change of changes) {
    const path = join(folder, change[0])
    writeFileSync(path, mutated(readFileSync(path, 'utf8'), change))
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

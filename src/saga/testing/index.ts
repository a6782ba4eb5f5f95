import { fileURLToPath } from 'node:url'
import { casesOf } from './cases.js'
import { MatrixRun } from './matrix-run.js'
import type { CaseReport, DefinedMatrix, Matrix, MatrixOptions, MatrixPlace } from './matrix.js'

export { casesOf, type Case } from './cases.js'
export type { CaseReport, DefinedMatrix, Matrix, MatrixOptions, MatrixPlace } from './matrix.js'

/**
 * Says what a matrix is made of; the default export of a module of its own, in JavaScript that Node can run, for the kit's
 * workers are processes that import it.
 */
export function defineMatrix(matrix: Matrix): DefinedMatrix {
  return { ...matrix, workerProgram: fileURLToPath(new URL('./worker.js', import.meta.url)) }
}

/**
 * Runs a saga through every case of its matrix (see casesOf), on real workers that are really killed, and checks each as it
 * ends, and all of them once more when the last one has: no effect may come late, and every history must replay. Tells each case
 * in a line as it ends. Returns a report a case, in the order of the cases. A case that can't be driven has failed, and the
 * others go on; throws only where the matrix can't begin.
 */
export async function runMatrix(module: URL, place: MatrixPlace, options: MatrixOptions = {}): Promise<CaseReport[]> {
  const { only = '' } = options
  const { default: matrix } = (await import(module.href)) as { default: DefinedMatrix }
  for (const participant of matrix.participants) {
    if (!participant.verify)
      throw new Error(`Participant ${participant.name} has no verify, so the matrix can't see what it has done`)
  }
  const cases = casesOf(matrix.saga.steps).filter(({ name }) =>
    typeof only === 'string' ? name.includes(only) : only.test(name),
  )
  if (cases.length === 0) throw new Error(`No case of ${matrix.saga.type} is named like ${only}`)
  const run = await MatrixRun.start(module, matrix, place, options)
  try {
    return await run.all(cases)
  } finally {
    await run.stop()
  }
}

/** Throws one error that tells of every report with problems, and how to run its case again; else does nothing. */
export function assertMatrix(reports: CaseReport[]): void {
  const wrong = reports.filter(({ problems }) => problems.length > 0)
  if (wrong.length === 0) return
  throw new Error(`${wrong.length} of ${reports.length} cases went wrong\n\n${wrong.map(told).join('\n\n')}`)
}

/** A report in words. */
export function told({ name, problems, account }: CaseReport): string {
  return [
    `✗ ${name}`,
    ...problems.map((one) => `    ${one}`),
    account,
    `    alone: only: ${JSON.stringify(name)}`,
  ].join('\n')
}

/** For a matrix's `tell`: of hundreds of cases those that went wrong. */
export function failuresOnly(line: string): void {
  if (line.startsWith('✗')) process.stderr.write(`${line}\n`)
}

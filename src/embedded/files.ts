import { renameSync, writeFileSync } from 'node:fs'

/** Writes a file that is there whole or not at all, whenever the process or the machine stops. Readable by its owner only. */
export function writeWhole(file: string, text: string): void {
  const unfinished = `${file}.${process.pid}`
  writeFileSync(unfinished, text, { mode: 0o600, flush: true })
  renameSync(unfinished, file)
}

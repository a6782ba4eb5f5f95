import { createHash } from 'node:crypto'
import { chmodSync, existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { canReach, SHARED_FOLDER, type User } from './postgres-binaries.js'
import { StartError } from './start-error.js'

/**
 * The folder for a server's password and data, made where it is missing: `dataDir` itself or, where root starts the
 * server and the user `postgres` cannot reach that (it lies under /root), one under /var/lib/durable-sagas. That one is
 * noted in `dataDir`, in the file `moved-to`, and stays in use from then on.
 */
export function findPostgresHome(dataDir: string, user: User | undefined): string {
  mkdirSync(dataDir, { recursive: true, mode: 0o700 })
  if (!user) return dataDir
  chmodSync(dataDir, 0o711)
  const note = join(dataDir, 'moved-to')
  const noted = existsSync(note) ? readFileSync(note, 'utf8').trim() : undefined
  if (noted && isOurs(noted, dataDir)) return noted
  if (!noted && canReach(dataDir, user)) return dataDir

  const home = join(SHARED_FOLDER, createHash('sha256').update(dataDir).digest('hex').slice(0, 16))
  // Its note is gone, so its data folder was removed, to begin anew. The last such is kept, for whoever did not mean it.
  if (existsSync(home)) {
    rmSync(`${home}.old`, { recursive: true, force: true })
    renameSync(home, `${home}.old`)
  }
  mkdirSync(home, { recursive: true })
  chmodSync(SHARED_FOLDER, 0o755)
  chmodSync(home, 0o711)
  if (!canReach(home, user))
    throw new StartError(
      `The user "postgres" can reach neither ${dataDir} nor ${home}; set DATA_DIR to a folder that it can.`,
    )
  writeFileSync(join(home, 'belongs-to'), dataDir)
  writeFileSync(note, home)
  return home
}

/** Whether a noted folder is still there and is not that of another data folder, of which this one is a copy. */
function isOurs(home: string, dataDir: string): boolean {
  const belongs = join(home, 'belongs-to')
  if (!existsSync(belongs)) return false
  const owner = readFileSync(belongs, 'utf8').trim()
  if (owner !== dataDir && existsSync(join(owner, 'moved-to'))) return false
  writeFileSync(belongs, dataDir)
  return true
}

import { randomUUID } from 'node:crypto'
import { chmodSync, existsSync, mkdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { writeWhole } from './files.js'
import { canReach, SHARED_FOLDER, type User } from './postgres-binaries.js'
import { StartError } from '../system/start-error.js'

/**
 * The folder for a server's password and data, made where it is missing: `dataDir` itself or, where root starts the
 * server and the user `postgres` cannot reach that (it lies under /root), one under /var/lib/durable-sagas. That one is
 * noted in `dataDir`, in the file `moved-to`, stays in use from then on, and is never removed from here.
 */
export function findPostgresHome(dataDir: string, user: User | undefined): string {
  mkdirSync(dataDir, { recursive: true, mode: 0o700 })
  if (!user) return dataDir
  chmodSync(dataDir, 0o711)
  const noted = readNote(dataDir)
  if (noted && isOurs(noted, dataDir)) return noted
  if (!noted && canReach(dataDir, user)) return dataDir

  const home = join(SHARED_FOLDER, randomUUID())
  mkdirSync(home, { recursive: true })
  chmodSync(SHARED_FOLDER, 0o755)
  chmodSync(home, 0o711)
  if (!canReach(home, user)) {
    throw new StartError(
      `The user "postgres" can reach neither ${dataDir} nor ${home}; set DATA_DIR to a folder that it can.`,
    )
  }
  writeWhole(join(home, 'belongs-to'), dataDir)
  writeWhole(join(dataDir, 'moved-to'), home)
  return home
}

/** Whether a noted folder is there, and is not that of another data folder of which this one is a copy. */
function isOurs(home: string, dataDir: string): boolean {
  const belongs = join(home, 'belongs-to')
  if (!existsSync(belongs)) return false
  const owner = readFileSync(belongs, 'utf8')
  if (owner !== dataDir && readNote(owner) === home) return false
  writeWhole(belongs, dataDir)
  return true
}

function readNote(dataDir: string): string | undefined {
  const note = join(dataDir, 'moved-to')
  return existsSync(note) ? readFileSync(note, 'utf8') : undefined
}

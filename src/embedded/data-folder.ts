import { chmodSync, linkSync, mkdirSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { dataPaths, holderOf, latestClaim, type Part, readUrls, type Urls } from '../system/running-system.js'
import { writeWhole } from './files.js'
import { type Ending, endProcess, identify, type ProcessRecord, readRecord, removeRecord } from '../system/processes.js'
import { STOP_POSTGRES } from './postgres.js'
import { StartError } from '../system/start-error.js'
import { STOP_TEMPORAL } from './temporal.js'

/** In the order in which they are stopped; the app closes its sagas' calls first, 12 s at most, then the rest may go. */
export const ENDINGS: Record<Part, Ending> = {
  app: [
    ['SIGTERM', 12_500],
    ['SIGKILL', 1_000],
  ],
  temporal: STOP_TEMPORAL,
  postgres: STOP_POSTGRES,
}

/** Makes the folder, closed to others as far as the user `postgres`, who reaches through it, allows. */
export function makeDataFolder(dataDir: string): void {
  const { root, run, logs, temporal } = dataPaths(dataDir)
  const user = process.getuid?.()
  try {
    for (const folder of [root, run, logs, temporal]) mkdirSync(folder, { recursive: true, mode: 0o700 })
    const paths = [
      root,
      ...[root, run, logs, temporal].flatMap((folder) => readdirSync(folder).map((name) => join(folder, name))),
    ]
    const strange = user === 0 ? undefined : paths.find((path) => statSync(path).uid !== user)
    if (strange) throw new Error(`${strange} belongs to another user`)
    chmodSync(root, user === 0 ? 0o711 : 0o700)
  } catch (error) {
    throw new StartError(`The data folder ${root} cannot be used (${(error as Error).message}); DATA_DIR moves it.`)
  }
}

/**
 * Takes the folder for this process, until it ends. Throws a StartError that says who holds it. Of two processes that ask
 * at the same instant one gets it; one that was killed holds it no longer.
 *
 * Each claim is a numbered file that comes into being whole (a link); the highest number counts, for as long as the process
 * it names runs. So nobody ever removes a claim that somebody else may just have made.
 */
export function takeDataFolder(dataDir: string): void {
  const { run, root } = dataPaths(dataDir)
  const own = join(run, `claim-of-${process.pid}`)
  writeFileSync(own, JSON.stringify(identify(process.pid)), { mode: 0o600 })
  try {
    for (;;) {
      const { number, holder } = latestClaim(run)
      if (holder) {
        const api = readUrls(dataDir)?.api
        throw new StartError(
          `The data folder ${root} is in use by pid ${holder.pid}${api ? `, which serves ${api}` : ', which is starting'}; DATA_DIR names another one.`,
        )
      }
      try {
        linkSync(own, join(run, `claim-${number + 1}`))
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === 'EEXIST') continue
        throw error
      }
      // Somebody may have taken this number, ended, and been followed, all since we looked.
      if (latestClaim(run).number === number + 1) {
        rmSync(join(run, `claim-${number}`), { force: true })
        return
      }
      rmSync(join(run, `claim-${number + 1}`), { force: true })
    }
  } finally {
    rmSync(own, { force: true })
  }
}

/** Says where everything is, to whoever reads `urls.json`. */
export function writeUrls(dataDir: string, urls: Urls): void {
  writeWhole(dataPaths(dataDir).urls, `${JSON.stringify(urls, undefined, 2)}\n`)
}

/** Forgets what `writeUrls` said. */
export function removeUrls(dataDir: string): void {
  rmSync(dataPaths(dataDir).urls, { force: true })
}

/** The parts of this data folder that run, by the notes of whoever started them, in the order in which to stop them. */
export function runningParts(dataDir: string): { part: Part; record: ProcessRecord }[] {
  const parts = Object.keys(ENDINGS) as Part[]
  return parts.flatMap((part) => {
    const record = readRecord(dataPaths(dataDir).record(part))
    return record ? [{ part, record }] : []
  })
}

/**
 * Stops what a supervisor that was killed has left of this data folder: Temporal, then PostgreSQL. For its orphan, the app,
 * to call at its own end. Does nothing while a supervisor holds the folder: cleaning up is then its business.
 */
export async function stopLeftovers(dataDir: string): Promise<void> {
  if (holderOf(dataDir)) return
  await stopParts(dataDir, (part) => part !== 'app')
  removeUrls(dataDir)
}

/** Stops the parts of this data folder that run, one after the other, and forgets them. */
export async function stopParts(dataDir: string, wanted: (part: Part) => boolean = () => true): Promise<void> {
  for (const { part, record } of runningParts(dataDir)) {
    if (!wanted(part)) continue
    await endProcess(record, ENDINGS[part])
    removeRecord(dataPaths(dataDir).record(part))
  }
}

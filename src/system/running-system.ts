import { readdirSync, readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { type ProcessRecord, readRecord } from './processes.js'

/** Where everything is while `npm start` runs; `urls.json` in the data folder. */
export interface Urls {
  api: string
  /** Such as "127.0.0.1:7233". */
  temporal: string
  temporalUi: string
  /** With user and password. */
  database: string
  /** The binary that runs the server. */
  temporalCli: string
  /** Where the CLI has payloads decrypted; left out without PAYLOAD_KEYS. */
  codec?: string
}

export type Part = 'app' | 'temporal' | 'postgres'

/** The paths inside a data folder, all absolute. */
export function dataPaths(dataDir: string) {
  const root = resolve(dataDir)
  return {
    root,
    postgres: join(root, 'postgres'),
    temporal: join(root, 'temporal'),
    temporalDb: join(root, 'temporal', 'temporal.db'),
    urls: join(root, 'urls.json'),
    run: join(root, 'run'),
    logs: join(root, 'logs'),
    log: (part: Part) => join(root, 'logs', `${part}.log`),
    /** Notes a part's process, see `readRecord`. */
    record: (part: Part) => join(root, 'run', `${part}.json`),
  }
}

/** The process that holds the folder, if one does. */
export function holderOf(dataDir: string): ProcessRecord | undefined {
  return latestClaim(dataPaths(dataDir).run).holder
}

/** Where everything is, or undefined where nothing runs on this data folder (or does not run yet). */
export function readUrls(dataDir: string): Urls | undefined {
  if (!holderOf(dataDir)) return undefined
  try {
    return JSON.parse(readFileSync(dataPaths(dataDir).urls, 'utf8')) as Urls
  } catch {
    return undefined
  }
}

/** The claim that counts, that with the highest number, and the process that it names, if that still runs. */
export function latestClaim(run: string): { number: number; holder?: ProcessRecord } {
  const numbers = listFolder(run).map((name) => Number(/^claim-(\d+)$/.exec(name)?.[1] ?? 0))
  const number = Math.max(0, ...numbers)
  const holder = number ? readRecord(join(run, `claim-${number}`)) : undefined
  return holder ? { number, holder } : { number }
}

function listFolder(folder: string): string[] {
  try {
    return readdirSync(folder)
  } catch {
    return []
  }
}

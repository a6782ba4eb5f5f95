import { readdirSync } from 'node:fs'
import { basename, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { runner } from 'node-pg-migrate'
import { Client } from 'pg'

/** The files of the saga's database, where all participants may be too, or of the own database of the service of that letter. */
interface Files {
  directory: string
  ignorePattern: string
  remedy: string
}

const sagaFiles: Files = {
  directory: fileURLToPath(new URL('../sql', import.meta.url)),
  ignorePattern: String.raw`\..*`,
  remedy: 'npm run migrate',
}

function filesOf(service: string | undefined): Files {
  if (service === undefined) return sagaFiles
  return {
    directory: join(sagaFiles.directory, 'service'),
    // Files with another letter behind their number are another service's.
    ignorePattern: String.raw`\..*|\d+_(?!${service}_)[A-Z]_.*`,
    remedy: `npm run migrate -- ${service}`,
  }
}

/**
 * Brings the database up to date (of `service`: the own one of the service of that letter), and returns the names of what
 * was applied. Any number of processes may call it at once: the later ones wait on an advisory lock and find nothing to
 * do. All new files apply in one transaction, or none.
 */
export async function migrate(databaseUrl: string, service?: string): Promise<string[]> {
  const { directory, ignorePattern, remedy } = filesOf(service)
  const present = await appliedMigrations(databaseUrl)
  const wanted = migrationsOf(service)
  if (present.length > 0 && !present.some((name) => wanted.includes(name))) {
    throw new SchemaError(
      `The database is another program's (it has ${present[0]}); \`${remedy}\` wants one of its own.`,
    )
  }
  const applied = await runner({
    databaseUrl,
    dir: directory,
    ignorePattern,
    direction: 'up',
    migrationsTable: 'schema_migration',
    advisoryLockMode: 'wait',
    singleTransaction: true,
    log: () => {},
  })
  return applied.map((migration) => migration.name)
}

/** Throws a SchemaError that names the remedy where the database lacks a migration of this version. */
export async function requireCurrentSchema(databaseUrl: string, service?: string): Promise<void> {
  const wanted = migrationsOf(service)
  const present = new Set(await appliedMigrations(databaseUrl))
  const missing = wanted.filter((name) => !present.has(name))
  if (missing.length > 0) {
    throw new SchemaError(
      `The database lacks ${missing.length} of ${wanted.length} migrations (the first is ${missing[0]}.sql). ` +
        `Run \`${filesOf(service).remedy}\` with this DATABASE_URL, then start again.`,
    )
  }
}

function migrationsOf(service: string | undefined): string[] {
  const { directory, ignorePattern } = filesOf(service)
  return readdirSync(directory)
    .filter((file) => file.endsWith('.sql') && !new RegExp(`^(${ignorePattern})$`).test(file))
    .map((file) => basename(file, '.sql'))
}

async function appliedMigrations(databaseUrl: string): Promise<string[]> {
  const client = new Client({ connectionString: databaseUrl, connectionTimeoutMillis: 3_000, query_timeout: 4_000 })
  client.on('error', () => {}) // the statement under way rejects
  try {
    await client.connect()
    const { rows: tables } = await client.query(`SELECT to_regclass('schema_migration') AS name`)
    const { rows } = tables[0].name ? await client.query('SELECT name FROM schema_migration') : { rows: [] }
    return rows.map(({ name }) => name)
  } finally {
    await client.end()
  }
}

export class SchemaError extends Error {}

import { readdirSync } from 'node:fs'
import { basename, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { runner } from 'node-pg-migrate'
import { Client } from 'pg'

const directory = fileURLToPath(new URL('../sql', import.meta.url))

/**
 * Brings the database up to date, and returns the names of what was applied. Any number of processes may call it at
 * once: the later ones wait on an advisory lock and find nothing to do. All new files apply in one transaction, or none.
 */
export async function migrate(databaseUrl: string): Promise<string[]> {
  const applied = await runner({
    databaseUrl,
    dir: directory,
    direction: 'up',
    migrationsTable: 'schema_migration',
    advisoryLockMode: 'wait',
    singleTransaction: true,
    log: () => {},
  })
  return applied.map((migration) => migration.name)
}

/** Throws a SchemaError that names the remedy where the database lacks a migration of this version. */
export async function requireCurrentSchema(databaseUrl: string): Promise<void> {
  const wanted = readdirSync(directory)
    .filter((file) => file.endsWith('.sql'))
    .map((file) => basename(file, '.sql'))
  const present = new Set(await appliedMigrations(databaseUrl))
  const missing = wanted.filter((name) => !present.has(name))
  if (missing.length > 0) {
    throw new SchemaError(
      `The database lacks ${missing.length} of ${wanted.length} migrations (the first is ${join('sql', `${missing[0]}.sql`)}). ` +
        'Run `npm run migrate` with this DATABASE_URL, then start again.',
    )
  }
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

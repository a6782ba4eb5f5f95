import { readFileSync } from 'node:fs'
import { Client, type QueryResultRow } from 'pg'
import '../../src/saga/node/db.js'

/** Where a system is: its API, and what it runs on. */
export interface Where {
  api: string
  database: string
  namespace: string
}

/** What the whole test run shares. */
export interface Shared {
  folder: string
  postgres: string
  temporal: string
  temporalUi: string
  temporalCli: string
  /** API + worker with the demo's settings, for every test that needs no other. */
  system: Where
}

/** As global-setup.js has written it. */
export function readShared(): Shared {
  return JSON.parse(readFileSync(process.env['SAGA_TEST_SHARED'] ?? '', 'utf8'))
}

/** One statement on a connection of its own. */
export async function query<Row extends QueryResultRow>(
  database: string,
  statement: string,
  values: unknown[] = [],
): Promise<Row[]> {
  const client = new Client({ connectionString: database })
  await client.connect()
  try {
    return (await client.query<Row>(statement, values)).rows
  } finally {
    await client.end()
  }
}

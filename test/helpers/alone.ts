import { Client } from 'pg'
import { readShared } from './shared.js'

/**
 * Runs what wants the machine for itself, one after the other in whichever test file: beside each other they would take the
 * time that their calls have from one another.
 */
export async function alone<T>(work: () => Promise<T>): Promise<T> {
  const client = new Client({ connectionString: readShared().postgres })
  await client.connect()
  try {
    await client.query(`SELECT pg_advisory_lock(hashtext('alone'))`)
    return await work()
  } finally {
    await client.end()
  }
}

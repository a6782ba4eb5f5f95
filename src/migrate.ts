import { loadServiceConfig } from './config.js'
import { migrate } from './migrations.js'
import { letterFrom } from './services/index.js'

/** `npm run migrate`: the saga's database. `npm run migrate -- A`: the own one of service A. */
try {
  const [service] = process.argv.slice(2)
  const { databaseUrl } = loadServiceConfig(0)
  const applied = await migrate(databaseUrl, service === undefined ? undefined : letterFrom(service))
  console.log(applied.length === 0 ? 'The database is up to date.' : `Applied ${applied.join(', ')}.`)
} catch (error) {
  console.error(`Migrating failed: ${(error as Error).message}`)
  process.exitCode = 1
}

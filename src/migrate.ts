import { loadConfig } from './config.js'
import { migrate } from './migrations.js'

try {
  const applied = await migrate(loadConfig().databaseUrl)
  console.log(applied.length === 0 ? 'The database is up to date.' : `Applied ${applied.join(', ')}.`)
} catch (error) {
  console.error(`Migrating failed: ${(error as Error).message}`)
  process.exitCode = 1
}

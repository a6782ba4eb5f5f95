import { startServiceSystem } from '../helpers/services.js'
import { testPostgresDown } from '../workflows/postgres-down.js'

// The saga's database and those of the services are on one PostgreSQL, so that all are away at once.
testPostgresDown(async (env) => {
  const started = await startServiceSystem('services-postgres-down', { postgres: env['DATABASE_URL'] ?? '', env })
  return { ...started, databaseOfB: started.services.B.database }
})

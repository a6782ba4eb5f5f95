import { chmodSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from '@jest/globals'
import { startPostgres } from '../../src/embedded/postgres.js'
import { migrate } from '../../src/migrations.js'
import { ada, everywhere, type Sagas } from '../helpers/sagas.js'
import { query } from '../helpers/shared.js'
import { until } from '../helpers/until.js'

/** A PostgreSQL that a test may kill, and its folder. */
export function makeOwnPostgres() {
  const folder = mkdtempSync(join(tmpdir(), 'saga-test-pg-'))
  // Reachable for the user that PostgreSQL runs as where this one is root.
  chmodSync(folder, 0o711)
  mkdirSync(join(folder, 'logs'))
  const start = (port: number) =>
    startPostgres({ dataDir: join(folder, 'postgres'), port, logFile: join(folder, 'logs', 'postgres.log') })
  return { folder, start }
}

/** A try of B, which hangs, is to end behind the outage, however slowly PostgreSQL comes back. */
const slow = { SAGA_STEP_TIMEOUT_MS: '15000' }

/** TC-09 of the demo's plan. `startSystem` starts one with that environment, on the PostgreSQL that it names. */
export function testPostgresDown(
  startSystem: (
    env: Record<string, string>,
  ) => Promise<{ sagas: Sagas; databaseOfB: string; stop: () => Promise<void> }>,
): void {
  // Also where the test fails on its way.
  const ends: (() => Promise<void>)[] = []
  afterAll(async () => {
    for (const end of ends.toReversed()) await end()
  })

  test('TC-09: PostgreSQL is killed in the middle and started again: the saga ends right, and the log says so', async () => {
    const { folder, start } = makeOwnPostgres()
    let postgres = await start(0)
    ends.push(async () => {
      await postgres.stop()
      for (const made of [folder, postgres.home]) rmSync(made, { recursive: true, force: true })
    })
    await migrate(postgres.url)
    const { sagas, databaseOfB, stop } = await startSystem({ DATABASE_URL: postgres.url, ...slow })
    ends.push(stop)

    const waiting = sagas.post('/saga?wait=60', { ...ada, failures: { B: { mode: 'first', n: 1, kind: 'hang' } } })
    const [{ sagaId }] = await until('A has succeeded', async () => {
      const rows = await query<{ sagaId: string }>(
        postgres.url,
        `SELECT saga_id AS "sagaId" FROM saga_log WHERE service = 'A' AND status = 'success'`,
      )
      return rows.length > 0 && (rows as [{ sagaId: string }])
    })
    await until(
      'B is under way',
      async () => (await query(databaseOfB, `SELECT FROM failure_call WHERE step = 'B'`)).length > 0,
    )
    process.kill(postgres.pid, 'SIGKILL')
    await postgres.exited
    const killedAt = Date.now()
    const refused = await sagas.post('/saga', ada)
    expect({ status: refused.status, retryAfter: refused.headers.get('retry-after') }).toEqual({
      status: 503,
      retryAfter: expect.stringMatching(/^\d+$/),
    })
    // Long enough for several attempts to connect again, of which each must leave nothing behind.
    await until('the outage has lasted', () => Date.now() - killedAt > 3_000)
    postgres = await start(postgres.port)

    const answer = await waiting
    expect({ status: answer.status, saga: await answer.json() }).toMatchObject({
      status: 200,
      saga: { sagaId, status: 'COMPLETED' },
    })
    expect(await sagas.rows(sagaId)).toEqual(everywhere)
    expect(await sagas.log(sagaId)).toEqual([
      'SAGA started',
      ...['A success 1', 'B failed 1', 'B success 2', 'C success 1'],
      'SAGA completed',
    ])
    await until('the API is ready again', async () => (await sagas.request('/health/ready')).ok)
    expect(await sagas.run()).toMatchObject({ status: 'COMPLETED' })
    const feeds = `SELECT count(*)::int AS feeds FROM pg_stat_activity WHERE application_name = 'saga-feed'`
    expect(await query(postgres.url, feeds)).toEqual([{ feeds: 1 }])
  })
}

import { readdirSync, readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { afterAll, expect, test } from '@jest/globals'
import { Client } from '@temporalio/client'
import { NativeConnection } from '@temporalio/worker'
import { pino } from 'pino'
import { makePool, type Pool } from '../../src/saga/node/db.js'
import { startParticipantServer } from '../../src/saga/node/participant-server.js'
import { requireSagaSchema } from '../../src/saga/node/saga-schema.js'
import { startSagaWorker } from '../../src/saga/node/saga-worker.js'
import { effectService, takenAsItComes } from '../helpers/engine.js'
import { query, readShared } from '../helpers/shared.js'
import { until } from '../helpers/until.js'

const sql = resolve('sql')
const textOf = (file: string) => readFileSync(resolve(sql, file), 'utf8')
/** The engine's: those whose owner is in src/saga. */
const files = readdirSync(sql)
  .filter((file) => file.endsWith('.sql') && /^-- Owner: .*\(src\/saga\//.test(textOf(file)))
  .toSorted()

const pools: Pool[] = []
afterAll(() => Promise.all(pools.map((pool) => pool.end())))

/** A database with nothing in it. */
async function makeEmptyDatabase(name: string): Promise<{ databaseUrl: string; pool: Pool }> {
  const { postgres } = readShared()
  await query(postgres, `CREATE DATABASE "${name}"`)
  const databaseUrl = Object.assign(new URL(postgres), { pathname: `/${name}` }).href
  const pool = makePool(databaseUrl, { max: 2, name })
  pools.push(pool)
  return { databaseUrl, pool }
}

/** The files that the error names. */
const lacking = async (pool: Pool): Promise<string[]> => {
  const message = await requireSagaSchema(pool).then(
    () => '',
    (error: Error) => error.message,
  )
  return message.match(/\d{4}_\w+\.sql/g) ?? []
}

test("each of the engine's files that a database lacks is named, whatever tool has applied the others", async () => {
  const { pool } = await makeEmptyDatabase('schema-by-file')
  for (const [i, file] of files.entries()) {
    expect(await lacking(pool)).toEqual(files.slice(i))
    await pool.query(textOf(file))
  }
  expect(await lacking(pool)).toEqual([])
})

test('a worker does not start on a database that lacks files, and leaves no connection to it', async () => {
  const { databaseUrl, pool } = await makeEmptyDatabase('schema-worker')
  for (const file of files.filter((one) => one < '0011')) await pool.query(textOf(file))
  const connection = await NativeConnection.connect({ address: readShared().temporal })
  const starting = startSagaWorker({
    ...{ connection, client: new Client({ connection }), taskQueue: 'schema-worker', databaseUrl },
    workflows: { workflowsPath: resolve('test/engine/sagas.ts') },
    participants: [effectService('flight')],
    sagas: [takenAsItComes('tripSaga')],
    ...{ stepTimeoutMs: 1_000, deadlineMs: 1_000, failureInjection: false, logger: pino({ level: 'silent' }) },
  })
  await expect(starting).rejects.toThrow(
    'The database lacks sql/0011_saga_lists.sql, sql/0012_saga_decisions.sql, sql/0013_saga_mirror.sql, ' +
      'sql/0014_saga_by_failed_step.sql, sql/0015_overview.sql, sql/0016_saga_bulk.sql',
  )
  await connection.close()
  await until('its connections are closed', async () => {
    const { rows } = await pool.query(
      `SELECT FROM pg_stat_activity WHERE datname = 'schema-worker' AND pid <> pg_backend_pid() AND application_name LIKE 'saga-%'`,
    )
    return rows.length === 0
  })
})

test('of a database that is out of reach nothing is said', async () => {
  const pool = makePool('postgres://nobody@127.0.0.1:1/nothing', { max: 1, name: 'schema-away' })
  pools.push(pool)
  await expect(requireSagaSchema(pool)).resolves.toBeUndefined()
})

test("a participant's server does not start on a database without its barrier", async () => {
  const { databaseUrl, pool } = await makeEmptyDatabase('schema-participant')
  const start = (failureInjection: boolean) =>
    startParticipantServer({
      ...{ participant: effectService('flight'), databaseUrl, host: '127.0.0.1', port: 0, failureInjection },
      logger: pino({ level: 'silent' }),
    })
  const [first, fourth] = ['service/0001_saga_barrier.sql', 'service/0004_saga_barrier_forbidden.sql']
  await expect(start(false)).rejects.toThrow(`The database lacks sql/${first}, sql/${fourth} of the saga engine.`)
  await pool.query(textOf(first))
  await expect(start(false)).rejects.toThrow(`The database lacks sql/${fourth} of the saga engine.`)
  await pool.query(textOf(fourth))
  await expect(start(true)).rejects.toThrow('The database lacks sql/service/0002_failure_call.sql of the saga engine.')
  await (await start(false)).stop()
})

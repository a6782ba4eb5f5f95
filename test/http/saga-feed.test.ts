import { afterAll, expect, test } from '@jest/globals'
import { pino } from 'pino'
import { Changes, SagaFeed } from '../../src/http/saga-feed.js'
import { query } from '../helpers/shared.js'
import { makeDatabase } from '../helpers/system.js'
import { until } from '../helpers/until.js'

// It connects to nothing until it is started.
const feed = new SagaFeed('', pino({ enabled: false }))

test('whoever leaves twice, as at the end of a stream whose reader has gone, takes nobody along who came meanwhile', () => {
  const left = new Changes(feed, 'a')
  left.close()
  const stays = new Changes(feed, 'a')
  left.close()
  expect(feed.watchers.size).toBe(1)
  stays.close()
  expect(feed.watchers.size).toBe(0)
})

const stopped: number[] = []
afterAll(() => stopped.forEach((pid) => process.kill(pid, 'SIGCONT')))

test('readers are woken, and told of changes again, after the connection has fallen silent without an end', async () => {
  const database = await makeDatabase('silent-feed')
  const feed = new SagaFeed(database, pino({ enabled: false }))
  await feed.start()
  const backends = async () => {
    const rows = await query<{ pid: number }>(
      database,
      `SELECT pid FROM pg_stat_activity WHERE application_name = 'saga-feed' AND datname = current_database()`,
    )
    return rows.map(({ pid }) => pid)
  }
  const [silent = 0] = await backends()
  const told: (string | undefined)[] = []
  feed.subscribe('a', (standing) => told.push(standing?.status))
  process.kill(silent, 'SIGSTOP')
  stopped.push(silent)
  await until('it listens on another connection', async () => (await backends()).some((pid) => pid !== silent))
  await until('readers are woken', () => told.length > 0)
  await query(database, `SELECT pg_notify('saga_changed', 'open RUNNING a')`)
  await until('they are told of a change', () => told.includes('RUNNING'))
  expect(told.at(-1)).toBe('RUNNING')
  await feed.stop()
})

import { afterAll, beforeEach, expect, test } from '@jest/globals'
import { Client } from 'pg'
import { checkRows } from '../../src/bench/rows.js'
import { makeDatabase } from '../helpers/system.js'

const database = new Client({ connectionString: await makeDatabase('bench-rows') })
await database.connect()
afterAll(() => database.end())

/** One saga that has completed and one that was compensated, as they ought to be. */
beforeEach(() =>
  database.query(
    `TRUNCATE saga_log, table_a, table_b, table_c;
     INSERT INTO table_a (username, saga_id) VALUES ('ada', 'done');
     INSERT INTO table_b (user_id, address, saga_id) SELECT id, 'London', saga_id FROM table_a;
     INSERT INTO table_c (user_id, payment_method, saga_id) SELECT id, 'card', saga_id FROM table_a;
     INSERT INTO saga_log (saga_id, service, status, message) VALUES
       ('done', 'SAGA', 'started', ''), ('done', 'SAGA', 'completed', ''),
       ('undone', 'SAGA', 'started', ''), ('undone', 'SAGA', 'compensated', '')`,
  ),
)

const done = { sagaId: 'done', status: 'COMPLETED' }
const undone = { sagaId: 'undone', status: 'COMPENSATED' }

test.each([
  ['happy', [done], 1],
  ['refused', [undone], 1],
  ['refused', [done, undone], 2],
  ['demo', [done, undone], 1],
] as const)('sagas pass that have left what they ought to: %s', async (kind, sagas, refusedOf) => {
  await expect(checkRows(database, [...sagas], { kind, refusedOf })).resolves.toBeUndefined()
})

test.each([
  ['a row is missing', `DELETE FROM table_c`, 'Saga done is COMPLETED with 1, 1, 0 rows'],
  [
    'a row is left',
    `INSERT INTO table_a (username, saga_id) VALUES ('x', 'undone')`,
    'Saga undone is COMPENSATED with 1, 0, 0',
  ],
  [
    'an end is told twice',
    `INSERT INTO saga_log (saga_id, service, status, message) VALUES ('done', 'SAGA', 'completed', '')`,
    'its log: started, completed, completed',
  ],
])('the bench fails where %s', async (_, change, message) => {
  await database.query(change)
  await expect(checkRows(database, [done, undone], { kind: 'demo' })).rejects.toThrow(message)
})

test('the bench fails where a saga has ended as it ought not to, or not at all', async () => {
  await expect(checkRows(database, [done, undone], { kind: 'happy' })).rejects.toThrow('1 are compensated, not 0')
  const stuck = { sagaId: 'done', status: 'NEEDS_ATTENTION' }
  await expect(checkRows(database, [stuck], { kind: 'demo' })).rejects.toThrow('Saga done is NEEDS_ATTENTION')
})

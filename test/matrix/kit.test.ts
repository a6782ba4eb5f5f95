import { expect, test } from '@jest/globals'
import { runMatrix } from '../../src/saga/testing/index.js'
import { alone } from '../helpers/alone.js'
import { query, readShared } from '../helpers/shared.js'
import { makeDatabase, makeNamespace } from '../helpers/system.js'

// Two cases, one of which can't be driven: its cancel is refused by the database. Run when the file is read: the turn of
// those that want the machine for themselves may be a long time coming.
const namespace = 'matrix-kit'
await makeNamespace(namespace)
const databaseUrl = await makeDatabase(namespace)
await query(
  databaseUrl,
  `CREATE TABLE effect (id bigint GENERATED ALWAYS AS IDENTITY, saga_id text, service text);
   CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no cancelling today'; END $$;
   CREATE TRIGGER refuse BEFORE UPDATE OF cancel ON saga FOR EACH ROW WHEN (NEW.cancel IS NOT NULL) EXECUTE FUNCTION refuse()`,
)
const lines: string[] = []
const reports = await alone(() =>
  runMatrix(
    new URL('./order.js', import.meta.url),
    { databaseUrl, temporalAddress: readShared().temporal, namespace },
    {
      only: /^charge: (error before commit|error after commit; cancel at charge)$/,
      atOnce: { plain: 2 },
      caseMs: 60_000,
      tell: (line) => lines.push(line),
    },
  ),
)

test('a case that can not be driven has failed with its reason, and the others go on', () => {
  expect(reports).toMatchObject([
    { name: 'charge: error before commit', problems: [] },
    { name: 'charge: error after commit; cancel at charge', problems: ['no cancelling today'] },
  ])
})

test('each case is told as it ends, with how many have', () => {
  expect(lines.map((line) => line.replace(/\d\/2/, 'n/2')).toSorted()).toEqual([
    '✓ n/2 charge: error before commit',
    '✗ n/2 charge: error after commit; cancel at charge: no cancelling today',
  ])
  expect(lines.map((line) => line.match(/\d\/2/)?.[0])).toEqual(['1/2', '2/2'])
})

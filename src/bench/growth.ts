import { bulk } from './bulk.js'
import { startOurs, type Contender } from './contenders.js'
import { fill } from './fill.js'
import { logCase } from './results.js'
import { alternating, type Part } from './rounds.js'

/** The same bulk where nothing was before, and behind a long log. */
export const growth: Part = async (servers, plan, record) => {
  const fresh = await startOurs('single', servers, 'short-log')
  const grown = await startOurs('single', servers, 'long-log')
  await servers.output.during(`Writing ${plan.logRows} log rows`, () => fill(grown.database, plan.logRows))
  for (const one of [fresh, grown]) await bulk(one, 'happy', Math.ceil(plan.bulk / 10))
  const race = [
    { contender: fresh, logRows: 0 },
    { contender: grown, logRows: plan.logRows },
  ]
  await alternating(servers, plan, 'Behind a log', [race], async ({ contender, logRows }) => {
    if (logRows === 0) await empty(contender)
    record(logCase(plan.bulk, logRows), 'bulk', await bulk(contender, 'happy', plan.bulk))
  })
  await Promise.all([fresh, grown].map((contender) => contender.stop()))
}

const empty = ({ database }: Contender) =>
  database.query('TRUNCATE saga_log, saga, saga_bulk, saga_barrier, table_a, table_b, table_c CASCADE')

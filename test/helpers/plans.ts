import { expect } from '@jest/globals'
import type { Client } from 'pg'
import type { Queryable } from '../../src/saga/node/db.js'

interface Node {
  'Node Type': string
  'Relation Name'?: string
  'Index Name'?: string
  'Actual Rows': number
  'Actual Loops': number
  'Rows Removed by Filter'?: number
  'Rows Removed by Index Recheck'?: number
  Plans?: Node[]
}

export interface Reading {
  /** The nodes that read the table or an index of it, as "Index Scan saga_newest". */
  scans: string[]
  /** How many of the table's rows they read. What a bitmap reads is a few bytes a row, and not counted. */
  rows: number
}

/** How PostgreSQL goes about what `read` asks it, with the very statement and values: by an index, and reading no table whole. */
export async function explain(database: Client, read: (db: Queryable) => Promise<unknown>): Promise<Reading> {
  const scans: string[] = []
  let rows = 0
  const visit = (node: Node): void => {
    const { 'Node Type': type, 'Relation Name': relation, 'Index Name': index } = node
    if (relation !== undefined || index !== undefined) scans.push(`${type} ${index ?? relation}`)
    if (relation !== undefined) {
      const dropped = (node['Rows Removed by Filter'] ?? 0) + (node['Rows Removed by Index Recheck'] ?? 0)
      rows += (node['Actual Rows'] + dropped) * node['Actual Loops']
    }
    node.Plans?.forEach(visit)
  }
  const query = async (text: string, values: unknown[]) => {
    const answer = await database.query(`EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) ${text}`, values)
    visit(answer.rows[0]['QUERY PLAN'][0].Plan)
    return database.query(text, values)
  }
  await read({ query } as unknown as Queryable)
  expect(scans.join()).toMatch(/Index/)
  expect(scans.join()).not.toMatch(/Seq Scan/)
  return { scans, rows }
}

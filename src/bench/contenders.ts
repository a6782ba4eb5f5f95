import type { Client as Postgres } from 'pg'
import { Client as Temporal, Connection } from '@temporalio/client'
import type { FailuresInput } from '../saga/failure.js'
import { ask, kept } from './http.js'
import type { Pids } from './processes.js'
import { REFUSED_OF_BULK, type ContenderName, type Kind } from './results.js'
import type { Ended } from './rows.js'
import type { BenchServers, Home } from './servers.js'

/** One that makes sagas, as a process of its own with a database and a namespace of its own. */
export interface Contender {
  name: ContenderName
  url: string
  database: Postgres
  pids: Pids
  kinds: Kind[]
  /** To be called before sagas of another kind are made. */
  prepare(kind: Kind): Promise<void>
  /** Makes one saga, and resolves once it has ended. */
  one(kind: Kind): Promise<Ended>
  /** What of these sagas its tables and its log tell. */
  keeps: 'nothing' | 'rows' | 'rows and log'
  /** Where their histories are, if anywhere. */
  temporal?: Temporal
  stop(): Promise<unknown>
}

const input = { username: 'Jane Doe', address: '1 Long Street, Springfield', payment: '4111111111111111' }

/** An injected refusal: kept by the barrier as a real one, with its call counted in PostgreSQL. */
const refusal: { failures: FailuresInput } = { failures: { C: { mode: 'always', kind: 'reject' } } }

/** The body for a bulk of so many sagas. */
export function linesOf(kind: Kind, sagas: number): Buffer {
  const line = (i: number) => ({ ...input, ...(kind === 'refused' && (i + 1) % REFUSED_OF_BULK === 0 && refusal) })
  return Buffer.from(Array.from({ length: sagas }, (_, i) => JSON.stringify(line(i))).join('\n'))
}

const SETTINGS = { single: {}, grouped: { SAGA_GROUPING: 'auto' } }

/** This system, as `npm start` runs it. */
export async function startOurs(
  name: 'single' | 'grouped' | 'plain',
  servers: BenchServers,
  homeName: string = name,
): Promise<Contender> {
  const home = await servers.makeHome(homeName)
  const server =
    name === 'plain'
      ? await servers.start(home, './app-without-invoke-many.js')
      : await servers.start(home, '../embedded/app.js', SETTINGS[name])
  const demo = await ask<object>('GET', `${server.url}/failures`, { status: 200 })
  const bodies = { happy: input, refused: { ...input, ...refusal }, demo: input }
  return {
    ...common(servers, home, server),
    name,
    kinds: ['happy', 'refused', 'demo'],
    async prepare(kind) {
      kept.destroy()
      const body = JSON.stringify(kind === 'demo' ? demo : {})
      await ask('PUT', `${server.url}/failures`, { body, status: 200 })
    },
    one: (kind) =>
      ask('POST', `${server.url}/saga?wait=60`, { body: JSON.stringify(bodies[kind]), status: 200, agent: kept }),
    keeps: 'rows and log',
    temporal: await temporalOf(servers, home),
  }
}

/** The same saga in the style of Temporal's sample; and `bare`, one workflow a saga whose local activities do nothing. */
export async function startSample(servers: BenchServers): Promise<{ sample: Contender; bare: Contender }> {
  const home = await servers.makeHome('sample')
  const server = await servers.start(home, './sample.js')
  const both = { ...common(servers, home, server), temporal: await temporalOf(servers, home) }
  const at = (path: string) => ({ one: refusable(server.url + path), kinds: refusableKinds })
  return {
    sample: { ...both, ...at('/saga'), name: 'sample', keeps: 'rows' },
    bare: { ...both, ...at('/bare'), name: 'bare', keeps: 'nothing' },
  }
}

/** The statements alone. */
export async function startLimit(servers: BenchServers, homeName = 'limit'): Promise<Contender> {
  const home = await servers.makeHome(homeName)
  const server = await servers.start(home, './limit.js')
  return {
    ...common(servers, home, server),
    name: 'limit',
    kinds: refusableKinds,
    one: refusable(`${server.url}/saga`),
    keeps: 'rows and log',
  }
}

/** So many sagas by the statements alone, from one loop: beside a bulk. */
export function manyOf(limit: Contender, kind: Kind, sagas: number): Promise<Ended[]> {
  const body = JSON.stringify({ ...input, sagas, refusedOf: kind === 'refused' ? REFUSED_OF_BULK : 0 })
  return ask('POST', `${limit.url}/many`, { body, status: 200 })
}

const refusableKinds: Kind[] = ['happy', 'refused']

const refusable = (url: string) => (kind: Kind) =>
  ask<Ended>('POST', url, {
    body: JSON.stringify({ ...input, refuse: kind === 'refused' }),
    status: 200,
    agent: kept,
  })

type Server = Awaited<ReturnType<BenchServers['start']>>

function common({ postgres, temporal }: BenchServers, { database }: Home, server: Server) {
  const pids = { worker: server.pid, temporal: temporal.pid, postgres: postgres.pid }
  const prepare = () => Promise.resolve(kept.destroy())
  return { url: server.url, database, pids, prepare, stop: () => server.stop() }
}

async function temporalOf({ temporal, stops }: BenchServers, { name }: Home): Promise<Temporal> {
  const connection = await Connection.connect({ address: temporal.address })
  stops.unshift(() => connection.close())
  return new Temporal({ connection, namespace: name })
}

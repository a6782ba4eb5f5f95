import { migrate } from '../../src/migrations.js'
import { Sagas } from './sagas.js'
import { query, readShared, type Where } from './shared.js'
import { listeningAt, startProgram, startSystem, type Program, type System } from './system.js'
import { until } from './until.js'

export type Letter = 'A' | 'B' | 'C'
const letters: Letter[] = ['A', 'B', 'C']

export interface ServiceProcess {
  url: string
  database: string
  pid(): number
  output(): string
  /** Ends it as a crash would. */
  kill(): Promise<void>
  /** Starts it again, on the same port, once it is gone. Callers wait for it by themselves. */
  restart(): Promise<void>
  /** Settles when the process that runs now is gone. */
  exited(): Promise<unknown>
  stop(): Promise<{ code: number | null }>
}

/** A database for one service alone, on `postgres` where one is given, else on the one that all tests share. */
export async function makeServiceDatabase(
  name: string,
  letter: Letter,
  postgres = readShared().postgres,
): Promise<string> {
  await query(postgres, `CREATE DATABASE "${name}"`)
  const url = Object.assign(new URL(postgres), { pathname: `/${name}` }).href
  await migrate(url, letter)
  return url
}

/** `npm run service -- A` on a free port. */
export async function startService(
  name: string,
  letter: Letter,
  database: string,
  env: Record<string, string> = {},
): Promise<ServiceProcess> {
  const outputs: (() => string)[] = []
  const start = (port: string): Program => {
    const program = startProgram(`service.js`, name, { DATABASE_URL: database, PORT: port, ...env }, [letter])
    outputs.push(() => program.output())
    return program
  }
  let program = start('0')
  const url = await listeningAt(program)
  return {
    url,
    database,
    pid: () => program.pid,
    output: () => outputs.map((one) => one()).join(''),
    exited: () => program.exited,
    async kill() {
      await program.kill('SIGKILL')
    },
    async restart() {
      await program.exited
      program = start(new URL(url).port)
    },
    stop: () => program.kill('SIGTERM'),
  }
}

export interface ServiceSystem {
  sagas: ServiceSagas
  system: System
  services: Record<Letter, ServiceProcess>
  stop: () => Promise<void>
}

/** A system whose services A, B and C are processes of their own, each with a database of its own. */
export async function startServiceSystem(
  name: string,
  { postgres, env = {} }: { postgres?: string; env?: Record<string, string> } = {},
): Promise<ServiceSystem> {
  const start = async (letter: Letter) => {
    const own = `${name}-${letter.toLowerCase()}`
    return startService(own, letter, await makeServiceDatabase(own, letter, postgres))
  }
  const [A, B, C] = await Promise.all([start('A'), start('B'), start('C')])
  const services = { A, B, C }
  const urls = Object.fromEntries(letters.map((letter) => [`SERVICE_${letter}_URL`, services[letter].url]))
  const system = await startSystem(name, { ...urls, ...env })
  return {
    sagas: new ServiceSagas(system.where, services),
    system,
    services,
    async stop() {
      await system.stop()
      await Promise.all(letters.map((letter) => services[letter].stop()))
    },
  }
}

/** Sagas whose effects stand in three databases. */
export class ServiceSagas extends Sagas {
  constructor(
    where: Where,
    private readonly services: Record<Letter, { database: string }>,
  ) {
    super(where)
  }

  override async rows(sagaId: string): Promise<{ a: number; b: number; c: number }> {
    const { A, B, C } = this.services
    const select = (database: string, column: string, table: string) =>
      query<{ userId: string }>(database, `SELECT ${column} AS "userId" FROM ${table} WHERE saga_id = $1`, [sagaId])
    const [a, b, c] = await Promise.all([
      select(A.database, 'id', 'table_a'),
      select(B.database, 'user_id', 'table_b'),
      select(C.database, 'user_id', 'table_c'),
    ])
    const ofUser = (rows: { userId: string }[]) => rows.filter(({ userId }) => a.some((one) => one.userId === userId))
    return { a: a.length, b: ofUser(b).length, c: ofUser(c).length }
  }
}

/** Starts a service again whenever it is gone, until the returned function is called. */
export function keepRunning(service: ServiceProcess): () => Promise<void> {
  const done = new AbortController()
  const kept = (async () => {
    for (;;) {
      const isOver = await Promise.race([
        service.exited().then(() => false),
        new Promise<boolean>((resolve) => done.signal.addEventListener('abort', () => resolve(true))),
      ])
      if (isOver || done.signal.aborted) return
      await service.restart()
    }
  })()
  return async () => {
    done.abort()
    await kept
  }
}

/** Waits until the process has logged what is looked for. */
export async function hasLogged(service: Pick<ServiceProcess, 'output'>, ...texts: string[]): Promise<void> {
  await until(`a line says ${texts.join(' and ')}`, () =>
    service
      .output()
      .split('\n')
      .some((line) => texts.every((text) => line.includes(text))),
  )
}

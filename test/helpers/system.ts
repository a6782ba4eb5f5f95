import { execFile, spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, openSync, readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { promisify } from 'node:util'
import { startApp } from '../../src/embedded/app-process.js'
import { query, readShared, type Where } from './shared.js'
import { until } from './until.js'

export interface System {
  where: Where
  /** Of API + worker, as they run now. */
  pid(): number
  /** Ends API + worker as a crash would. */
  kill(): Promise<void>
  /** Settles when they have ended, by whatever hand. */
  ended(): Promise<unknown>
  /** Starts them again, on the same port; `changed`: with these settings in place of their own, from then on. */
  restart(changed?: Record<string, string>): Promise<void>
  stop(): Promise<void>
  /** What API + worker have logged. */
  log(): string
}

/** A database of its own, from the migrated template. */
export async function makeDatabase(name: string): Promise<string> {
  const { postgres } = readShared()
  await query(postgres, `CREATE DATABASE "${name}" TEMPLATE saga_template`)
  const url = new URL(postgres)
  url.pathname = `/${name}`
  return url.href
}

/** A Temporal namespace of its own: a task queue of its own, as good as a server. A server that is busy is asked again. */
export async function makeNamespace(name: string): Promise<void> {
  const { temporal, temporalCli } = readShared()
  const make = ['operator', 'namespace', 'create', '--address', temporal, '-n', name]
  await until(`namespace ${name} is made`, () =>
    promisify(execFile)(temporalCli, make).then(
      () => true,
      ({ stderr }: { stderr: string }) => /already exists/i.test(stderr),
    ),
  )
}

/** API + worker in one process, as `npm start` runs them, with a database and a namespace that nobody else uses. */
export async function startSystem(name: string, env: Record<string, string> = {}): Promise<System> {
  const { folder, temporal, temporalUi } = readShared()
  const database = env['DATABASE_URL'] ?? (await makeDatabase(name))
  await makeNamespace(name)
  const logFile = join(folder, 'logs', `${name}.log`)
  const settings = { ...env }
  const start = (port: string) =>
    startApp({
      path: resolve('dist/embedded/app.js'),
      env: {
        ...process.env,
        DATABASE_URL: database,
        TEMPORAL_ADDRESS: temporal,
        TEMPORAL_NAMESPACE: name,
        TEMPORAL_UI_URL: temporalUi,
        PORT: port,
        NODE_ENV: 'test',
        ...settings,
      },
      logFile,
      recordFile: join(folder, `${name}.json`),
      signal: AbortSignal.timeout(60_000),
    })
  let app = await start('0')
  const port = new URL(app.url).port
  return {
    where: { api: app.url, database, namespace: name },
    pid: () => app.pid,
    async kill() {
      process.kill(app.pid, 'SIGKILL')
      await app.exited
    },
    ended: () => app.exited,
    async restart(changed = {}) {
      await app.exited
      Object.assign(settings, changed)
      app = await start(port)
    },
    stop: () => app.stop(),
    log: () => readFileSync(logFile, 'utf8'),
  }
}

export interface Program {
  pid: number
  output(): string
  kill(signal?: NodeJS.Signals): Promise<{ code: number | null }>
  exited: Promise<{ code: number | null }>
}

/** One of the programs of package.json on its own, with nothing but these variables. */
export function startProgram(script: string, name: string, env: Record<string, string>, args: string[] = []): Program {
  const folder = join(readShared().folder, 'programs')
  mkdirSync(folder, { recursive: true })
  const logFile = join(folder, `${name}-${Date.now()}.log`)
  const log = openSync(logFile, 'a')
  const { PATH = '', HOME = '' } = process.env
  const child: ChildProcess = spawn(process.execPath, [resolve('dist', script), ...args], {
    env: { PATH, HOME, ...env },
    stdio: ['ignore', log, log],
  })
  const exited = once(child, 'exit').then(([code]) => ({ code }))
  return {
    pid: child.pid ?? 0,
    output: () => readFileSync(logFile, 'utf8'),
    exited,
    kill: (signal = 'SIGKILL') => {
      child.kill(signal)
      return exited
    },
  }
}

/** What `npm run worker` and `npm run api` need of a system. */
export async function makeProgramEnv(name: string): Promise<Record<string, string>> {
  const { temporal } = readShared()
  const database = await makeDatabase(name)
  await makeNamespace(name)
  return { DATABASE_URL: database, TEMPORAL_ADDRESS: temporal, TEMPORAL_NAMESPACE: name }
}

/** Where a program that logs `{"url": …}` listens. */
export async function listeningAt(program: Program): Promise<string> {
  const found = await until('the API listens', () => /"url":"([^"]+)"/.exec(program.output())?.[1])
  return found
}

import { execFileSync } from 'node:child_process'
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs'
import { createServer, type AddressInfo } from 'node:net'
import { once } from 'node:events'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from '@jest/globals'
import { runningParts, stopParts } from '../../src/embedded/data-folder.js'
import { dataPaths, type Part, type Urls } from '../../src/system/running-system.js'
import { identify, isRunning, type ProcessRecord } from '../../src/system/processes.js'
import { everywhere, nowhere, Sagas } from '../helpers/sagas.js'
import { query, readShared } from '../helpers/shared.js'
import { type Program, startProgram } from '../helpers/system.js'
import { until } from '../helpers/until.js'

// `npm start` itself, on folders and ports of its own. The tests of a running system share one, and start it where the
// one before has left none.
const SLOW_MS = 300_000
const folders: string[] = []
const programs: Program[] = []
const folder = makeFolder()
let current: Program | undefined

afterAll(async () => {
  for (const program of programs) await program.kill('SIGKILL')
  for (const one of folders) {
    await stopParts(one)
    const note = join(one, 'postgres', 'moved-to')
    if (existsSync(note)) rmSync(readFileSync(note, 'utf8'), { recursive: true, force: true })
    rmSync(one, { recursive: true, force: true, maxRetries: 5 })
  }
})

/** A data folder that the user `postgres` can reach, too. */
function makeFolder(): string {
  const made = mkdtempSync(join(tmpdir(), 'saga-start-'))
  chmodSync(made, 0o711)
  folders.push(made)
  return made
}

function start(dataDir: string, env: Record<string, string> = {}): Program {
  const program = startProgram('start.js', 'start', {
    DATA_DIR: dataDir,
    PORT: '0',
    POSTGRES_PORT: '0',
    TEMPORAL_PORT: '0',
    TEMPORAL_UI_PORT: '0',
    TEMPORAL_CLI: readShared().temporalCli,
    ...env,
  })
  programs.push(program)
  return program
}

/** Waits for a line of its output; throws the output where it ends without. */
async function said(program: Program, line: string | RegExp): Promise<string> {
  let over = false
  void program.exited.then(() => (over = true))
  return await until(
    `npm start says ${line}`,
    () => {
      const wasOver = over
      const found = lines(program).find((one) => (typeof line === 'string' ? one.includes(line) : line.test(one)))
      if (found === undefined && wasOver) throw new Error(`It ended without saying ${line}:\n${program.output()}`)
      return found
    },
    { timeoutMs: 200_000 },
  )
}

function lines(program: Program): string[] {
  return program
    .output()
    .split('\n')
    .filter((line) => line.trim() !== '')
}

/** The shared system, up and ready. */
async function running(): Promise<{ program: Program; urls: Urls; sagas: Sagas }> {
  if (!current) {
    current = start(folder)
    await said(current, /^Ready in/)
  }
  const urls = readUrls()
  return { program: current, urls, sagas: new Sagas({ api: urls.api, database: urls.database, namespace: 'default' }) }
}

function readUrls(): Urls {
  return JSON.parse(readFileSync(dataPaths(folder).urls, 'utf8')) as Urls
}

/** The processes of the shared system, by its own notes. */
function processes(): Record<Part, ProcessRecord> {
  const found = Object.fromEntries(runningParts(folder).map(({ part, record }) => [part, record]))
  expect(Object.keys(found).toSorted()).toEqual(['app', 'postgres', 'temporal'])
  return found as Record<Part, ProcessRecord>
}

/** The supervisor too, whose death by `kill -9` the next start must survive. */
function supervisor(program: Program): ProcessRecord {
  const record = identify(program.pid)
  if (!record) throw new Error(`npm start is not running:\n${program.output()}`)
  return record
}

/** Of this machine's processes. */
function commandLines(): string[] {
  return execFileSync('ps', ['-A', '-ww', '-o', 'args='], { encoding: 'utf8' }).split('\n')
}

/** Command lines that name a data folder. */
function namers(dataDir: string): string[] {
  return commandLines().filter((args) => args.includes(dataDir))
}

async function allGone(records: ProcessRecord[]): Promise<void> {
  await until('none of its processes runs', () => !records.some(isRunning))
  await until('no process names its folder', () => namers(folder).length === 0)
}

async function ready(sagas: Sagas): Promise<void> {
  const look = async () => {
    const answer = await sagas.request('/health/ready').catch(() => undefined)
    return answer?.ok
  }
  await until('the API is ready', look, { timeoutMs: 120_000 })
}

test(
  'npm start comes up, says where everything is, and runs a saga',
  async () => {
    const { urls, sagas } = await running()
    const local = (scheme: string) => expect.stringMatching(`^${scheme}127\\.0\\.0\\.1:\\d+$`)
    expect(urls).toEqual({
      api: local('http://'),
      temporal: local(''),
      temporalUi: local('http://'),
      database: expect.stringMatching(/^postgres:\/\/postgres:\w+@127\.0\.0\.1:\d+\/saga$/),
      temporalCli: readShared().temporalCli,
    })
    expect(statSync(dataPaths(folder).urls).mode & 0o777).toBe(0o600)
    // Nobody else reads or lists what is in it; root's PostgreSQL, which is another user, reaches through.
    expect(statSync(folder).mode & 0o777).toBe(process.getuid?.() === 0 ? 0o711 : 0o700)
    const { password } = new URL(urls.database)
    expect(password.length).toBeGreaterThan(16)
    expect(commandLines().filter((args) => args.includes(password))).toEqual([])
    expect((await fetch(urls.temporalUi)).status).toBe(200)

    const saga = await sagas.run()
    expect(saga.status).toBe('COMPLETED')
    expect(await sagas.rows(saga.sagaId)).toEqual(everywhere)
    expect(saga.links.temporal).toContain(urls.temporalUi)
  },
  SLOW_MS,
)

test(
  'a second start on the same folder says who holds it, and leaves that one alone',
  async () => {
    const { program, urls, sagas } = await running()
    const before = processes()
    const second = start(folder)
    expect(await second.exited).toEqual({ code: 1 })
    expect(lines(second)).toEqual([
      `✖ The data folder ${folder} is in use by pid ${program.pid}, which serves ${urls.api}; DATA_DIR names another one.`,
    ])
    expect(processes()).toEqual(before)
    expect(readUrls()).toEqual(urls)
    expect(await sagas.run()).toMatchObject({ status: 'COMPLETED' })
  },
  SLOW_MS,
)

test.each<[string, Part]>([
  ['API + worker', 'app'],
  ['Temporal', 'temporal'],
  ['PostgreSQL', 'postgres'],
])(
  'after kill -9 of %s it is up again, and the saga in flight ends right',
  async (name, part) => {
    const { program, urls, sagas } = await running()
    const before = processes()
    const sagaId = await sagas.start({ C: { mode: 'first', n: 1, kind: 'hang' } })
    await sagas.logged(sagaId, 'B success 1')
    process.kill(before[part].pid, 'SIGKILL')
    expect(await said(program, `${name} died (signal SIGKILL) and is up again`)).toBeTruthy()
    await ready(sagas)

    // How many of its three tries the outage takes depends on how long it lasts.
    const saga = await sagas.ended(sagaId)
    expect(['COMPLETED', 'COMPENSATED']).toContain(saga.status)
    expect(await sagas.rows(sagaId)).toEqual(saga.status === 'COMPLETED' ? everywhere : nowhere)
    expect(await sagas.run()).toMatchObject({ status: 'COMPLETED' })

    const after = processes()
    expect(after[part]).not.toEqual(before[part])
    expect({ ...after, [part]: undefined }).toEqual({ ...before, [part]: undefined })
    expect(readUrls()).toEqual(urls)
  },
  SLOW_MS,
)

test(
  'after kill -9 of the supervisor its children go, and the next start finds the data',
  async () => {
    const { program, sagas } = await running()
    const saga = await sagas.run()
    const records = Object.values(processes())
    current = undefined
    await program.kill('SIGKILL')
    await allGone(records)
    expect(existsSync(dataPaths(folder).urls)).toBe(false)

    const next = await running()
    expect(await next.sagas.get(saga.sagaId)).toEqual({ ...saga, links: expect.anything() })
    expect(next.program.output()).not.toContain('An earlier run was killed')
  },
  SLOW_MS,
)

test(
  'a start after kill -9 of all of it takes the folder over, and the saga in flight goes on',
  async () => {
    const { program, sagas } = await running()
    const { sagaId } = await sagas.run()
    const inFlight = await sagas.start({ C: { mode: 'first', n: 1, kind: 'hang' } })
    await sagas.logged(inFlight, 'B success 1')
    const records = [supervisor(program), ...Object.values(processes())]
    current = undefined
    for (const { pid } of records) process.kill(pid, 'SIGKILL')
    await program.exited

    const next = await running()
    expect(await next.sagas.get(sagaId)).toMatchObject({ status: 'COMPLETED' })
    expect(await next.sagas.rows(sagaId)).toEqual(everywhere)
    expect(await next.sagas.ended(inFlight)).toMatchObject({ status: 'COMPLETED' })
    expect(await next.sagas.rows(inFlight)).toEqual(everywhere)
    expect(records.filter(isRunning)).toEqual([])
  },
  SLOW_MS,
)

test(
  'a start stops the servers that a killed run has left',
  async () => {
    const { program, sagas } = await running()
    const { sagaId } = await sagas.run()
    const { app, temporal, postgres } = processes()
    current = undefined
    // The supervisor first, and both before the child notices: nobody is left to stop the servers.
    for (const pid of [program.pid, app.pid]) process.kill(pid, 'SIGKILL')
    await until('the child is dead', () => !isRunning(app))
    expect([temporal, postgres].filter(isRunning)).toEqual([temporal, postgres])

    const next = await running()
    expect(lines(next.program)[0]).toBe('• An earlier run was killed; stopping what it left: Temporal, PostgreSQL.')
    expect([temporal, postgres].filter(isRunning)).toEqual([])
    expect(await next.sagas.get(sagaId)).toMatchObject({ status: 'COMPLETED' })
    expect(await next.sagas.run()).toMatchObject({ status: 'COMPLETED' })
  },
  SLOW_MS,
)

test(
  'SIGTERM stops all of it, and the data stays',
  async () => {
    const { program, sagas } = await running()
    const { sagaId } = await sagas.run()
    const records = Object.values(processes())
    current = undefined
    expect(await program.kill('SIGTERM')).toEqual({ code: 0 })
    expect(records.filter(isRunning)).toEqual([])
    expect(namers(folder)).toEqual([])
    expect(existsSync(dataPaths(folder).urls)).toBe(false)
    expect(lines(program).at(-1)).toMatch(/^Stopped in .*; the data stays in /)

    const next = await running()
    expect(await next.sagas.get(sagaId)).toMatchObject({ status: 'COMPLETED' })
  },
  SLOW_MS,
)

test(
  'SIGTERM in the middle of the start stops it, with nothing left running',
  async () => {
    const dataDir = makeFolder()
    const program = start(dataDir)
    await until('PostgreSQL or Temporal runs', () => runningParts(dataDir).length > 0)
    expect(await program.kill('SIGTERM')).toEqual({ code: 0 })
    expect(namers(dataDir)).toEqual([])
  },
  SLOW_MS,
)

test.each(['PORT', 'POSTGRES_PORT', 'TEMPORAL_PORT', 'TEMPORAL_UI_PORT'])(
  '%s in use by another program: one sentence that names the variable, and exit code 1',
  async (variable) => {
    const other = createServer().listen(0, '127.0.0.1')
    await once(other, 'listening')
    const { port } = other.address() as AddressInfo
    const dataDir = makeFolder()
    const program = start(dataDir, { [variable]: String(port) })
    expect(await program.exited).toEqual({ code: 1 })
    expect(lines(program)).toEqual([
      expect.stringMatching(`^✖ Port ${port} is in use by another program; ${variable} moves ours`),
    ])
    expect(namers(dataDir)).toEqual([])
    other.close()
  },
)

test.each([
  ['is not there', '/nowhere/temporal', 'there is no such program'],
  ['is another program', process.execPath, "it is not Temporal's CLI"],
])('a TEMPORAL_CLI that %s: one sentence, and exit code 1', async (_, file, why) => {
  const dataDir = makeFolder()
  const program = start(dataDir, { TEMPORAL_CLI: file })
  expect(await program.exited).toEqual({ code: 1 })
  // PostgreSQL comes up beside it, and may have said so.
  expect(lines(program).filter((line) => !line.startsWith('✔'))).toEqual([
    expect.stringMatching(`^✖ TEMPORAL_CLI names ${file}, which does not work: ${why}.*\\.$`),
  ])
  expect(namers(dataDir)).toEqual([])
})

test('the worker and the API refuse a database without migrations, and npm run migrate is the remedy', async () => {
  const { postgres, temporal, system } = readShared()
  const name = `unmigrated-${process.pid}`
  await query(postgres, `CREATE DATABASE "${name}"`)
  const database = Object.assign(new URL(postgres), { pathname: `/${name}` }).href
  const env = { DATABASE_URL: database, TEMPORAL_ADDRESS: temporal, TEMPORAL_NAMESPACE: system.namespace, PORT: '0' }
  for (const script of ['worker.js', 'api.js']) {
    const program = startProgram(script, `unmigrated-${script}`, env)
    programs.push(program)
    expect(await program.exited).toEqual({ code: 1 })
    expect(program.output()).toMatch(/^The database lacks \d+ of \d+ migrations .*Run `npm run migrate`/m)
  }
  for (const answer of [/^Applied .+\.$/m, /^The database is up to date\.$/m]) {
    const program = startProgram('migrate.js', 'migrate', { DATABASE_URL: database })
    programs.push(program)
    expect(await program.exited).toEqual({ code: 0 })
    expect(program.output()).toMatch(answer)
  }
})

import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Writable } from 'node:stream'
import { promisify } from 'node:util'
import { afterAll, expect, test } from '@jest/globals'
import { Client, Connection } from '@temporalio/client'
import { KeptPart, type WatchTimes } from '../../src/embedded/kept-part.js'
import { Output } from '../../src/system/output.js'
import type { Exit, Server } from '../../src/embedded/servers.js'
import { startTemporal } from '../../src/embedded/temporal.js'
import { TemporalHealth } from '../../src/http/temporal-health.js'
import type { Temporal } from '../../src/temporal.js'
import { readShared } from '../helpers/shared.js'
import { until } from '../helpers/until.js'

const folder = mkdtempSync(join(tmpdir(), 'saga-kept-'))
const parts: KeptPart<Server>[] = []
afterAll(async () => {
  for (const part of parts) await part.stop()
  rmSync(folder, { recursive: true, force: true })
})

const { signal } = new AbortController()
async function keep<S extends Server>(
  start: (signal: AbortSignal) => Promise<S>,
  watch: WatchTimes,
): Promise<{ kept: KeptPart<S>; said: () => string }> {
  const { output, said } = makeOutput()
  const kept = await KeptPart.start('Temporal', { start, output, signal, watch })
  parts.push(kept)
  return { kept, said }
}

/** Keeps every byte of SQLite's lock on a database from all other processes for as long as the process `pid` lives. */
const HOLD = `
import fcntl, os, sys, time
shm = open(sys.argv[1] + '-shm', 'r+b')
left = list(range(120, 128))
while left:
    try:
        fcntl.lockf(shm, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, left[0])
        left.pop(0)
    except OSError:
        time.sleep(0.001)
print('held', flush=True)
while True:
    os.kill(int(sys.argv[2]), 0)
    time.sleep(0.05)
`

function makeOutput(): { output: Output; said: () => string } {
  let text = ''
  const write = (chunk: Buffer, _: string, done: () => void) => {
    text += chunk.toString()
    done()
  }
  return { output: new Output(new Writable({ write }) as NodeJS.WriteStream), said: () => text }
}

test('a Temporal that answers while its store fails every call counts as away, and is ended and started again', async () => {
  const cli = readShared().temporalCli
  const dbFile = join(folder, 'temporal.db')
  const { port } = await startTemporal({ cli, dbFile, port: 0, logFile: join(folder, 'temporal.log') }).then(
    async (first) => {
      await first.stop()
      return first
    },
  )
  const start = (signal: AbortSignal) =>
    startTemporal({ cli, dbFile, port, logFile: join(folder, 'temporal.log'), signal })
  const { kept, said } = await keep(start, { everyMs: 500, timeoutMs: 3_000, failures: 3 })
  const { address, pid } = kept.current
  const connection = await Connection.connect({ address })
  const client = new Client({ connection })
  const health = new TemporalHealth({ client, namespace: 'default' } as Temporal, 'saga')
  await health.start()
  expect(health.isAway).toBe(false)

  const holder = spawn('python3', ['-c', HOLD, dbFile, String(pid)], { stdio: ['ignore', 'pipe', 'ignore'] })
  const gone = once(holder, 'exit')
  await once(holder.stdout, 'data')
  await until('it counts as away', () => health.isAway)
  await promisify(execFile)(cli, ['operator', 'cluster', 'health', '--address', address])
  expect(kept.current.pid).toBe(pid)

  await until('it is up again', () => kept.current.pid !== pid)
  await until('it does not count as away', () => !health.isAway)
  await gone
  expect(said()).toMatch(/Temporal was ended, for it failed 3 checks in a row, and is up again after \d+\.\d s\./)
  health.stop()
  await connection.close()
})

/** A server that answers its checks in turn as told, the last answer for good. */
function makeServer(answers: boolean[]): { server: Server; checks: () => number; stops: () => number } {
  let [checks, stops] = [0, 0]
  let exit: (exit: Exit) => void = () => {}
  const exited = new Promise<Exit>((resolve) => (exit = resolve))
  const server: Server = {
    pid: 1,
    exited,
    async stop() {
      stops += 1
      exit({ code: 0, signal: null })
    },
    async check() {
      const answer = answers[Math.min(checks, answers.length - 1)]
      checks += 1
      if (!answer) throw new Error('no')
    },
  }
  return { server, checks: () => checks, stops: () => stops }
}

const watch = { everyMs: 1, timeoutMs: 1_000, failures: 3 }

test('a server that fails some checks, and never three in a row, is left alone', async () => {
  const slow = makeServer([false, false, true, false, true, true, false, false, true])
  const { said } = await keep(async () => slow.server, watch)
  await until('it was checked often', () => slow.checks() > 20)
  expect({ stops: slow.stops(), said: said() }).toEqual({ stops: 0, said: '' })
})

test('a server that is starting is not checked', async () => {
  const [broken, next] = [makeServer([false]), makeServer([true])]
  let come: (server: Server) => void = () => {}
  const starts = [Promise.resolve(broken.server), new Promise<Server>((resolve) => (come = resolve))]
  await keep(() => starts.shift() as Promise<Server>, watch)
  await until('the next one is being started', () => starts.length === 0)
  expect({ broken: [broken.checks(), broken.stops()], next: next.checks() }).toEqual({ broken: [3, 1], next: 0 })
  come(next.server)
  await until('the next one is checked', () => next.checks() > 0)
})

import { spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { resolve } from 'node:path'
import { createInterface } from 'node:readline'
import { text } from 'node:stream/consumers'
import { pathToFileURL } from 'node:url'
import { afterEach, expect, test } from '@jest/globals'
import { makeServiceDatabase } from '../helpers/services.js'
import { until } from '../helpers/until.js'

const urlOf = (path: string) => JSON.stringify(pathToFileURL(resolve('dist', path)).href)

/** A service whose participant leaves promises alone; what it is told on its stdin is the host's own mistake. */
const program = `
import { pino } from ${JSON.stringify(pathToFileURL(resolve('node_modules/pino/pino.js')).href)}
import { setTimeout as sleep } from 'node:timers/promises'
import { startParticipantServer } from ${urlOf('saga/node/participant-server.js')}
const mistakes = {
  statement: (tx) => void tx.query('INSERT INTO nothing VALUES (1)'),
  promise: () => void Promise.reject(new Error('nobody awaits this')),
  chain: (tx) => void tx.query('SELECT 1').then(() => { throw undefined }),
  late: () => void sleep(100).then(() => { throw new Error('nobody awaits this') }),
}
const participant = {
  name: 'careless',
  async invoke(tx, { sagaId, input }) {
    await tx.query("INSERT INTO table_a (username, saga_id) VALUES ('ada', $1)", [sagaId])
    mistakes[input]?.(tx)
    await tx.query('SELECT 1')
    // Meanwhile it is seen that nobody awaits it.
    await tx.query('SELECT 1')
    return null
  },
  async compensate(tx, { sagaId }) { await tx.query('DELETE FROM table_a WHERE saga_id = $1', [sagaId]) },
  async verify(tx, { sagaId }) {
    const { rows } = await tx.query('SELECT id FROM table_a WHERE saga_id = $1', [sagaId])
    return rows.map(({ id }) => 'table_a ' + id)
  },
}
const { DATABASE_URL: databaseUrl } = process.env
const options = { participant, databaseUrl, host: '127.0.0.1', port: 0, failureInjection: false, logger: pino() }
const { url } = await startParticipantServer(options)
console.log(JSON.stringify({ url }))
process.stdin.once('data', () => void Promise.reject(new Error('a mistake of the host')))
`

const ends: (() => Promise<void>)[] = []
afterEach(async () => {
  for (const end of ends.splice(0)) await end()
})

async function startCareless(name: string) {
  const { PATH = '', HOME = '' } = process.env
  const child = spawn(process.execPath, ['--input-type=module', '--eval', program], {
    env: { PATH, HOME, DATABASE_URL: await makeServiceDatabase(name, 'A') },
  })
  const exited = once(child, 'exit') as Promise<[number | null]>
  ends.push(async () => {
    child.kill('SIGKILL')
    await exited
  })
  const errors = text(child.stderr)
  const lines: string[] = []
  const output = createInterface(child.stdout)
  output.on('line', (line) => lines.push(line))
  const line = await until('it listens', async () => lines.find((one) => one.startsWith('{"url"')))
  const { url } = JSON.parse(line) as { url: string }
  const call = async (operation: string, sagaId: string, body: object) => {
    const headers = { 'content-type': 'application/json', 'saga-id': sagaId, 'saga-step': 'A' }
    const response = await fetch(`${url}/${operation}`, { method: 'POST', headers, body: JSON.stringify(body) })
    return { status: response.status, body: (await response.json()) as Record<string, unknown> }
  }
  return { child, call, exited, errors, lines }
}

test('a rejected promise that a participant does not await is its call, and never ends the process', async () => {
  const { call, lines } = await startCareless('stray-participant')
  for (const mistake of ['statement', 'promise', 'chain']) {
    const sagaId = randomUUID()
    expect({ mistake, ...(await call('invoke', sagaId, { input: mistake })) }).toMatchObject({ mistake, status: 500 })
    expect(await call('verify', sagaId, {})).toEqual({ status: 200, body: { left: [] } })
  }
  // Behind its call it is too late to be that's failure.
  const sagaId = randomUUID()
  expect(await call('invoke', sagaId, { input: 'late' })).toMatchObject({ status: 200 })
  await until('the late one is in the log', async () => lines.find((line) => line.includes('did not await')))
  const logged = JSON.parse(lines.find((line) => line.includes('did not await')) ?? '{}') as object
  expect(logged).toMatchObject({ participant: 'careless', sagaId, level: 50, err: { message: 'nobody awaits this' } })
  expect(await call('invoke', randomUUID(), { input: 'none' })).toMatchObject({ status: 200 })
})

test("a rejected promise of the host's own ends the process, as without a participant", async () => {
  const { child, exited, errors } = await startCareless('stray-host')
  child.stdin.write('now\n')
  expect(await exited).toEqual([1, null])
  expect(await errors).toContain('a mistake of the host')
})

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { resolve } from 'node:path'
import { readShared, type Where } from './shared.js'

/** `npm run audit` on a system: how it ends, and what it prints. */
export async function runAudit(
  { database, namespace }: Where,
  ...args: string[]
): Promise<{ code: number; stdout: string }> {
  const child = spawn(process.execPath, [resolve('dist/audit.js'), ...args], {
    env: {
      ...process.env,
      DATABASE_URL: database,
      TEMPORAL_ADDRESS: readShared().temporal,
      TEMPORAL_NAMESPACE: namespace,
    },
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  let stdout = ''
  child.stdout.on('data', (chunk: Buffer) => (stdout += chunk.toString()))
  const [code] = (await once(child, 'close')) as [number]
  return { code, stdout }
}

import { createRequire } from 'node:module'
import { availableParallelism, totalmem } from 'node:os'
import type { Machine } from './results.js'
import type { BenchServers } from './servers.js'

/** What a bench runs on. */
export function readMachine({ postgres, temporalVersion }: BenchServers): Machine {
  const { version: sdk } = createRequire(import.meta.url)('@temporalio/worker/package.json') as { version: string }
  return {
    cores: availableParallelism(),
    // In a container what that may have.
    memoryGb: Math.round(Math.min(totalmem(), process.constrainedMemory() || Infinity) / 2 ** 30),
    node: process.versions.node,
    postgres: postgres.version,
    temporal: temporalVersion,
    sdk,
  }
}

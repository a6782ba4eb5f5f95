import { spawn } from 'node:child_process'
import { constants } from 'node:os'
import { loadClientConnectConfig } from '@temporalio/envconfig'
import { foreignEnvironment, loadStartConfig } from './config.js'
import { readUrls } from './system/running-system.js'
import { Output } from './system/output.js'
import { StartError } from './system/start-error.js'
import { findTemporal } from './system/temporal-binary.js'

/**
 * `npm run temporal -- workflow list`: the CLI that `npm start` uses, pointed at the running server. An address of the
 * user's own (--address, --profile, TEMPORAL_ADDRESS, a temporal.toml) goes first.
 */

const args = process.argv.slice(2)
const output = new Output(process.stderr)
try {
  process.exitCode = await run()
} catch (error) {
  output.failure(
    error instanceof StartError ? error.message : String(error),
    error instanceof StartError ? error.detail : undefined,
  )
  process.exitCode = 1
}

async function run(): Promise<number> {
  const config = loadStartConfig()
  const urls = readUrls(config.DATA_DIR)
  const ownAddress = hasOwnAddress()
  if (!urls && !ownAddress) {
    throw new StartError(
      `Nothing runs on ${config.DATA_DIR}: run \`npm start\` first, or set TEMPORAL_ADDRESS to a server.`,
    )
  }
  const cli = urls?.temporalCli ?? (await findTemporal({ chosen: config.TEMPORAL_CLI, output })).path
  // In the environment, not as a flag: not every command of the CLI takes --address.
  const ours = ownAddress ? undefined : urls
  const env = {
    // With PAYLOAD_KEYS the API encrypts and decrypts for the CLI, unless the user has it done elsewhere.
    ...(ours?.codec !== undefined && { TEMPORAL_CODEC_ENDPOINT: ours.codec }),
    ...foreignEnvironment(),
    ...(ours && { TEMPORAL_ADDRESS: ours.temporal }),
  }
  return await passThrough(cli, env)
}

function hasOwnAddress(): boolean {
  const flagged = args.some((arg) => /^--(address|profile|env|config-file)(=|$)/.test(arg))
  return flagged || loadClientConnectConfig().connectionOptions.address !== undefined
}

/** Runs the CLI on our own terminal, and returns its exit code. */
async function passThrough(cli: string, env: NodeJS.ProcessEnv): Promise<number> {
  const child = spawn(cli, args, { env, stdio: 'inherit' })
  // Ctrl-C reaches it as well, and it is for it to say when it ends.
  process.on('SIGINT', () => {})
  process.on('SIGTERM', () => child.kill('SIGTERM'))
  return await new Promise((resolve, reject) => {
    child.once('error', (error) => reject(new StartError(`${cli} cannot be run: ${error.message}.`)))
    child.once('exit', (code, signal) => resolve(code ?? 128 + constants.signals[signal!]))
  })
}

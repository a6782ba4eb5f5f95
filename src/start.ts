import { fileURLToPath } from 'node:url'
import { ConfigError, loadStartConfig, startHelp } from './config.js'
import { Output } from './system/output.js'
import { listenToStopSignals } from './embedded/signals.js'
import { StartError } from './system/start-error.js'
import { supervise } from './embedded/supervise.js'

/** `npm start`: the whole system on this machine. Config, wiring, signals; the work is in embedded/. */

const output = new Output(process.stdout)
if (process.argv.includes('--help') || process.argv.includes('-h')) {
  output.line(startHelp())
} else {
  const signals = listenToStopSignals()
  try {
    const appPath = fileURLToPath(new URL('./embedded/app.js', import.meta.url))
    await supervise({ config: loadStartConfig(), appPath, output, ...signals })
  } catch (error) {
    if (error instanceof StartError) output.failure(error.message, error.detail)
    else if (error instanceof ConfigError) output.failure(error.message)
    else output.failure('npm start failed in a way that nobody has foreseen.', (error as Error).stack)
    process.exitCode = 1
  }
  // What is still pending, such as a channel to a child, is of no use to anyone now.
  process.exit()
}

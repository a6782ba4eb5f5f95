import { parseArgs } from 'node:util'
import { failProgram } from './program.js'
import { checkParticipant, type CheckedRule } from './saga/testing/participant-conformance.js'
import type { Json } from './saga/types.js'

/**
 * `npm run conformance -- URL [--input JSON] [--refused-input JSON] [--rounds N]`: whether a participant holds to
 * docs/participant-protocol.md. Prints each rule; exits 1 where one is broken.
 */
try {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      input: { type: 'string', default: '{}' },
      'refused-input': { type: 'string' },
      rounds: { type: 'string', default: '100' },
    },
  })
  const [url] = positionals
  if (url === undefined || !URL.canParse(url)) {
    throw new Error("Which participant? Give its URL: npm run conformance -- http://127.0.0.1:5001 --input '{…}'")
  }
  const rounds = Number(values.rounds)
  if (!Number.isInteger(rounds) || rounds < 1) throw new Error('--rounds must be a number from 1.')
  const refused = values['refused-input']
  const rules = await checkParticipant(
    url,
    {
      input: parsed('--input', values.input),
      ...(refused !== undefined && { refusedInput: parsed('--refused-input', refused) }),
      rounds,
    },
    print,
  )
  const broken = rules.filter((one) => one.broken !== undefined).length
  const skipped = rules.filter((one) => one.skipped !== undefined).length
  console.log(`\n${rules.length - broken - skipped} rules hold, ${broken} are broken, ${skipped} were not checked.`)
  process.exitCode = broken === 0 ? 0 : 1
} catch (error) {
  failProgram(error)
}

function print({ rule, broken, skipped }: CheckedRule): void {
  if (broken !== undefined) console.log(`BROKEN   ${rule}\n         ${broken}`)
  else if (skipped !== undefined) console.log(`skipped  ${rule} (${skipped})`)
  else console.log(`holds    ${rule}`)
}

function parsed(option: string, text: string): Json {
  try {
    return JSON.parse(text) as Json
  } catch {
    throw new Error(`${option} must be JSON, such as '{"username":"ada"}'.`)
  }
}
